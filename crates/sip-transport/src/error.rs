//! Why the transports could not be set up.

use std::io;
use std::net::SocketAddr;

use sip_message::Transport;

/// A listener or a limit that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address could not be bound: another process has it, it is not ours, or we may not.
    #[error("cannot listen on {} {address}: {source}", transport.token())]
    Bind {
        /// The transport.
        transport: Transport,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// TLS, WS and WSS are not part of this build.
    #[error("cannot listen on {} {address}: this build speaks udp and tcp only", transport.token())]
    TransportUnsupported {
        /// The transport.
        transport: Transport,
        /// The address.
        address: SocketAddr,
    },
    /// A certificate or key on a transport that does not encrypt.
    #[error("{} {address}: certificate and key belong to tls and wss", transport.token())]
    CertificateUnused {
        /// The transport.
        transport: Transport,
        /// The address.
        address: SocketAddr,
    },
    /// `advertise` is neither a host nor host:port.
    #[error("{} {address}: advertise = \"{value}\": expected host or host:port, an IPv6 address in brackets", transport.token())]
    Advertise {
        /// The transport.
        transport: Transport,
        /// The address.
        address: SocketAddr,
        /// What stood there.
        value: String,
    },
    /// A limit that would stop everything.
    #[error("{name}: expected at least {min}")]
    Limit {
        /// The key.
        name: &'static str,
        /// The least that works.
        min: u64,
    },
    /// The addresses of the interfaces, which a wildcard address stands for, could not be read.
    #[error("cannot read the addresses of the interfaces: {0}")]
    Interfaces(#[source] io::Error),
    /// A socket could not be given to the worker's runtime.
    #[error("cannot run {} {address}: {source}", transport.token())]
    Run {
        /// The transport.
        transport: Transport,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}
