//! Who takes what the transports receive.

use std::time::Instant;

use sip_message::Framed;
use sip_service::Flow;
use sip_transaction::ClientId;

/// Takes messages and events, on the worker's thread. May call [`sip_service::Network::send`]: what is sent over UDP
/// meanwhile leaves in one system call afterwards. Must not block.
pub trait Handler: Send + Sync + 'static {
    /// A message, or one that cannot be used. Keep-alives are dealt with below and never come here.
    fn on_message(&self, now: Instant, framed: Framed, source: &Flow);

    /// What was sent for a client transaction did not reach its peer: the connection could not be opened or broke, or an
    /// ICMP error came back (RFC 3261 §18.4).
    fn on_unreachable(&self, now: Instant, client: ClientId);

    /// Every 10 ms, on each worker; a handler that does a share of something is given to each worker as a value of its own.
    fn on_tick(&self, now: Instant);

    /// A connection that had been open ended.
    fn on_closed(&self, _now: Instant, _flow: &Flow) {}
}
