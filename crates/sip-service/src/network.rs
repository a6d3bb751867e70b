//! What the endpoint needs of the transports.

use std::sync::Arc;

use bytes::Bytes;
use sip_message::Uri;
use sip_transaction::ClientId;

use crate::{Flow, Hop};

/// The transports, as the transaction user sees them. `sip-transport` has the real ones, `testkit` a simulated network.
pub trait Network: Send + Sync + 'static {
    /// Hands octets to a transport; never blocks. Failure that shows later is reported to
    /// [`crate::Endpoint::unreachable`] under `client`.
    ///
    /// # Errors
    /// The flow's connection is gone or its queue is full; nothing was sent.
    fn send(&self, flow: &Flow, bytes: Bytes, client: Option<ClientId>) -> Result<(), Unreachable>;

    /// Finds the next hop for a URI (RFC 3263). `octets` is the size of the request to go there: above 1300 it goes by TCP
    /// where the target has both (RFC 3261 §18.1.1).
    ///
    /// # Errors
    /// The URI names no address that our transports reach.
    fn locate(&self, uri: &Uri<'_>, octets: usize) -> Result<Hop, LocateError>;

    /// What our Via says on a flow: the `host:port` under which the peer reaches us.
    fn sent_by(&self, flow: &Flow) -> Arc<str>;

    /// Whether a flow can still be sent on: always for a datagram, while it is open for a connection.
    fn is_alive(&self, flow: &Flow) -> bool;
}

/// A flow that cannot be sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// The peer reads too slowly: `connection_queue_bytes_max`.
    #[error("the connection's queue is full")]
    QueueFull,
    /// No socket of ours speaks that transport or address family.
    #[error("no listener for this transport and address family")]
    NoSocket,
}

/// A URI that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// Not a `sip` or `sips` URI (416).
    #[error("unsupported URI scheme")]
    Scheme,
    /// A host name: names are resolved by RFC 3263, which this build cannot do yet (502).
    #[error("host name {host} cannot be resolved")]
    Unresolved {
        /// The name.
        host: String,
    },
    /// A transport that no listener of ours speaks (503).
    #[error("no listener for the transport that the URI wants")]
    Transport,
}
