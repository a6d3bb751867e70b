//! Whom the transactions of NOTIFYs tell what becomes of them.

use std::sync::{Arc, Weak};
use std::time::Instant;

use sip_message::Response;
use sip_service::{ClientFailure, ClientUser};

use crate::Presence;
use crate::keys::WatcherKey;

/// It does not keep presence alive, which keeps the endpoint that has the transactions.
#[derive(Debug)]
pub(crate) struct Answers(pub(crate) Weak<Presence>);

impl ClientUser for Answers {
    fn on_response(self: Arc<Self>, now: Instant, branch: u32, response: Response) {
        if let Some(presence) = self.0.upgrade().filter(|_| !response.status().is_provisional()) {
            presence.answered(now, WatcherKey(branch), &response);
        }
    }

    fn on_failure(self: Arc<Self>, now: Instant, branch: u32, failure: ClientFailure) {
        if let Some(presence) = self.0.upgrade() {
            presence.failed(now, WatcherKey(branch), failure);
        }
    }
}
