//! Flows: the way a message came, and the way one can go.

use std::net::SocketAddr;
use std::sync::Arc;

use sip_message::Transport;

/// One connection of a stream transport, unique in the life of the process; `NONE` for datagrams and for flows that
/// name a peer to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection(pub u64);

impl Connection {
    /// No particular connection.
    pub const NONE: Self = Self(0);
}

/// Transport, our address, the peer's address, and the connection if there is one (RFC 5626 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The transport.
    pub transport: Transport,
    /// Our address: of the socket that received, or that shall send.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection.
    pub connection: Connection,
}

/// A next hop: the flow to it and what our Via says there.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Where the request goes.
    pub flow: Flow,
    /// `host:port` for the sent-by of our Via and for our Record-Route, Path and Contact on that flow.
    pub sent_by: Arc<str>,
}
