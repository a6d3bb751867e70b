//! Whom the endpoint tells of what comes back.

use std::sync::Arc;
use std::time::Instant;

use sip_message::Response;

/// The owner of client transactions: a response context, a notifier.
///
/// Called from the thread that received the message or ran the timer, with no lock of the endpoint held. An
/// implementation may call the endpoint; the endpoint never calls back from within such a call.
pub trait ClientUser: Send + Sync + 'static {
    /// A response: every provisional one (100 too), the final one once, every further 2xx of an INVITE.
    fn on_response(self: Arc<Self>, now: Instant, branch: u32, response: Response);

    /// The transaction ended without a final response.
    fn on_failure(self: Arc<Self>, now: Instant, branch: u32, failure: ClientFailure);
}

/// How a client transaction ends without a final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFailure {
    /// Timer B or F (RFC 3261 §17.1): to be taken as a 408 (§16.8, §8.1.3.1).
    Timeout,
    /// The transport failed: to be taken as a 503 (§17.1.4, §8.1.3.1).
    Unreachable,
}

/// Whoever asked to be woken with [`crate::Endpoint::schedule`].
pub trait TimerUser: Send + Sync + 'static {
    /// The time has come. A timer is never cancelled: one that is no longer meant is to be ignored.
    fn on_timer(self: Arc<Self>, now: Instant, token: u64);
}
