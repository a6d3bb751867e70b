//! Where an AOR can be reached: what the proxy asks a location service for (RFC 3261 §16.5).

use std::sync::Arc;

use crate::Flow;

/// One binding as a target.
#[derive(Clone, Debug)]
pub struct Target {
    /// The Contact URI: becomes the Request-URI.
    pub uri: Arc<str>,
    /// Thousandths, 0 to 1000 (RFC 3261 §20.10); 1000 if the Contact had none.
    pub q_milli: u16,
    /// Path values (RFC 3327), each a `Route` header field value, first hop first.
    pub path: Vec<Arc<str>>,
    /// The flow to use instead of locating the URI: the connection that the binding was registered by, or the address
    /// behind a NAT.
    pub flow: Option<Flow>,
    /// `+sip.instance` and `reg-id` (RFC 5626): of the targets with one instance only one is tried at a time.
    pub instance: Option<Arc<str>>,
}

/// The answer to "where is this AOR": a location service is a `Service<Aor, Response = TargetSet>`.
#[derive(Clone, Debug, Default)]
pub struct TargetSet {
    /// Whether such a user exists: without targets, 480 if so (§21.4.18), 404 if not (§21.4.5).
    pub known: bool,
    /// Targets, by falling q.
    pub targets: Vec<Target>,
}
