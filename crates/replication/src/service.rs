//! The links in operation: a thread that accepts other nodes, keeps connected with them, and drives the replica.
//!
//! All of it runs on that one thread, so that those who serve are not disturbed; changes of other nodes are applied there,
//! too. Nothing else in this crate knows sockets or tasks.

mod accept;
mod connect;
mod drive;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::driver::{Driver, Driving, Pace};
use crate::{Replica, Tls};

/// Connections at once that have not proved who they are; the oldest gives way to one more.
const HANDSHAKES_MAX: usize = 64;
/// How long such a proof may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Where another node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub node: String,
    /// A name or an IP address, the latter without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Peer {
    /// A node at `host:port`, IPv6 addresses in brackets; `None` if that is no such thing.
    pub fn new(node: &str, address: &str) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-_.:%".contains(&b);
        let is_valid = !bare.is_empty() && bare.bytes().all(is_host);
        is_valid.then(|| Self { node: node.into(), host: bare.into(), port })
    }
}

/// What a service goes by.
pub struct ServiceOptions {
    /// Where other nodes connect to.
    pub listen: SocketAddr,
    /// The other nodes, in the order in which the replica was told of them.
    pub peers: Vec<Peer>,
    /// How nodes know each other.
    pub tls: Tls,
    /// The wall clock, in milliseconds since 1970 UTC.
    pub unix_ms: fn() -> i64,
}

/// A service that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The socket cannot be had.
    #[error("{address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A thread cannot be had.
    #[error("a thread could not be started: {0}")]
    Thread(io::Error),
}

/// Links that run. They end, in order, when this is dropped: peers are told what was changed and not told yet, for a second at
/// most. It blocks until then; whoever makes changes should have ended.
pub struct Service {
    address: SocketAddr,
    driving: Driving,
}

/// What all tasks have.
struct Shared {
    replica: Arc<Replica>,
    tls: Tls,
    peers: Vec<Peer>,
    pace: Pace,
    /// By peer: it is there, and is to be connected to now.
    called: Vec<Notify>,
    /// By peer: it is being told what changes here.
    telling: Vec<AtomicBool>,
}

impl Service {
    /// Begins to listen, to connect, and to drive `replica`.
    ///
    /// # Errors
    /// The socket or a thread cannot be had.
    pub fn start(replica: Arc<Replica>, options: ServiceOptions) -> Result<Self, ServiceError> {
        let ServiceOptions { listen, peers, tls, unix_ms } = options;
        let named = |source| ServiceError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).map_err(named)?;
        listener.set_nonblocking(true).map_err(named)?;
        let address = listener.local_addr().map_err(named)?;
        let (driver, pace) = Driver::new(Arc::clone(&replica), unix_ms);
        let shared = Arc::new(Shared {
            called: peers.iter().map(|_| Notify::new()).collect(),
            telling: peers.iter().map(|_| AtomicBool::new(false)).collect(),
            replica,
            tls,
            peers,
            pace,
        });
        let begun = Arc::clone(&shared);
        let begin = move |tasks: &mut JoinSet<()>| begun.begin(listener, tasks);
        let driving =
            driver.start("replication", begin, move || shared.is_all_told()).map_err(ServiceError::Thread)?;
        Ok(Self { address, driving })
    }

    /// Where it listens, with the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All is there that this node begins with: from now on it acts for nodes that are gone.
    pub fn serve(&self) {
        self.driving.serve();
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    fn begin(self: Arc<Self>, listener: TcpListener, tasks: &mut JoinSet<()>) {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => drop(tasks.spawn(accept::accept(Arc::clone(&self), listener))),
            Err(error) => tracing::error!(%error, "no node can connect to this one"),
        }
        for at in 0..self.peers.len() {
            tasks.spawn(connect::keep_connected(Arc::clone(&self), at));
        }
    }

    /// Whether all who are being told have all.
    fn is_all_told(&self) -> bool {
        let last = self.replica.outlog.last();
        let members = self.replica.members.lock();
        let mut told = members.list.iter().zip(&self.telling);
        told.all(|(member, telling)| !telling.load(Ordering::Relaxed) || member.has >= last)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_at_a_host_and_port() {
        for (address, expected) in [
            ("b.example.test:5070", Some(("b.example.test", 5070))),
            ("192.0.2.2:5070", Some(("192.0.2.2", 5070))),
            ("[2001:db8::2]:5070", Some(("2001:db8::2", 5070))),
            ("2001:db8::2:5070", None),
            ("[2001:db8::2:5070", None),
            ("b.example.test", None),
            (":5070", None),
            ("b.example.test:0", None),
            ("b.example.test:70000", None),
            ("b example:5070", None),
            ("tls://b:5070", None),
        ] {
            let peer = Peer::new("b", address);
            let found = peer.as_ref().map(|peer| (peer.host.as_str(), peer.port));
            assert_eq!(found, expected, "{address}");
        }
    }
}
