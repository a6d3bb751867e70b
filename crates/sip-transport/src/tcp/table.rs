//! All connections: by name, by peer, and their number.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use prometheus::IntGauge;
use sip_message::Transport;
use sip_service::Flow;
use tokio::net::TcpStream;

use super::Connection;
use crate::Config;

/// Shards of each index: sends on different connections seldom meet.
const SHARDS: usize = 16;

/// Names are unique in the life of the process, over all [`crate::Transports`]; 0 is [`sip_service::Connection::NONE`].
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// The connections of one transport, in both directions.
pub(crate) struct Connections {
    transport: Transport,
    by_name: [RwLock<HashMap<u64, Arc<Connection>>>; SHARDS],
    /// For reuse (RFC 3261 §18.1.1): the newest connection with a peer's address and port.
    by_peer: [Mutex<HashMap<SocketAddr, Arc<Connection>>>; SHARDS],
    /// Accepted connections by source.
    by_source: Mutex<HashMap<IpAddr, usize>>,
    len: AtomicUsize,
    max: usize,
    per_source_max: usize,
    queue_bytes_max: usize,
    gauge: IntGauge,
}

/// The name of a limit that is reached.
pub(crate) type Limit = &'static str;

impl Connections {
    pub(crate) fn new(transport: Transport, config: &Config, gauge: IntGauge) -> Self {
        Self {
            transport,
            by_name: Default::default(),
            by_peer: Default::default(),
            by_source: Mutex::default(),
            len: AtomicUsize::new(0),
            max: config.tcp_connections_max,
            per_source_max: config.connections_per_source_max,
            queue_bytes_max: config.connection_queue_bytes_max,
            gauge,
        }
    }

    /// Enters a connection that a peer opened.
    pub(crate) fn accepted(
        &self,
        worker: usize,
        local: SocketAddr,
        remote: SocketAddr,
        stream: &Arc<TcpStream>,
    ) -> Result<Arc<Connection>, Limit> {
        self.reserve()?;
        {
            let mut sources = self.by_source.lock();
            let count = sources.entry(remote.ip()).or_default();
            if *count >= self.per_source_max {
                if *count == 0 {
                    sources.remove(&remote.ip());
                }
                self.release();
                return Err("connections_per_source_max");
            }
            *count += 1;
        }
        let connection = self.connection(worker, local, remote, Some(Arc::clone(stream)));
        self.peers(remote).lock().insert(remote, Arc::clone(&connection));
        Ok(connection)
    }

    /// The connection with a peer, and whether it is new and must be opened.
    pub(crate) fn reuse_or_begin(
        &self,
        worker: impl FnOnce() -> usize,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(Arc<Connection>, bool), Limit> {
        let mut peers = self.peers(remote).lock();
        if let Some(connection) = peers.get(&remote).filter(|connection| connection.is_alive()) {
            return Ok((Arc::clone(connection), false));
        }
        self.reserve()?;
        let connection = self.connection(worker(), local, remote, None);
        peers.insert(remote, Arc::clone(&connection));
        Ok((connection, true))
    }

    /// The connection of that name, if it is still there.
    pub(crate) fn find(&self, name: sip_service::Connection) -> Option<Arc<Connection>> {
        self.names(name.0).read().get(&name.0).cloned()
    }

    /// Takes a connection out. Once is enough; a second time nothing happens.
    pub(crate) fn remove(&self, connection: &Connection) {
        let Flow { remote, connection: name, .. } = connection.flow;
        if self.names(name.0).write().remove(&name.0).is_none() {
            return;
        }
        let mut peers = self.peers(remote).lock();
        if peers.get(&remote).is_some_and(|newest| newest.flow.connection == name) {
            peers.remove(&remote);
        }
        drop(peers);
        if connection.accepted {
            let mut sources = self.by_source.lock();
            if let Some(count) = sources.get_mut(&remote.ip()) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    sources.remove(&remote.ip());
                }
            }
        }
        self.release();
    }

    /// Those that a worker serves.
    pub(crate) fn of_worker(&self, worker: usize) -> Vec<Arc<Connection>> {
        let all = self.by_name.iter().flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>());
        all.filter(|connection| connection.worker == worker).collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn connection(
        &self,
        worker: usize,
        local: SocketAddr,
        remote: SocketAddr,
        stream: Option<Arc<TcpStream>>,
    ) -> Arc<Connection> {
        let name = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
        let flow =
            Flow { transport: self.transport, local, remote, connection: sip_service::Connection(name) };
        let connection = Arc::new(Connection::new(flow, worker, stream, self.queue_bytes_max));
        self.names(name).write().insert(name, Arc::clone(&connection));
        connection
    }

    fn reserve(&self) -> Result<(), Limit> {
        let more = |len| (len < self.max).then_some(len + 1);
        self.len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|_| "tcp_connections_max")?;
        self.gauge.inc();
        Ok(())
    }

    fn release(&self) {
        self.len.fetch_sub(1, Ordering::Relaxed);
        self.gauge.dec();
    }

    fn names(&self, name: u64) -> &RwLock<HashMap<u64, Arc<Connection>>> {
        &self.by_name[name as usize % SHARDS]
    }

    fn peers(&self, peer: SocketAddr) -> &Mutex<HashMap<SocketAddr, Arc<Connection>>> {
        // Ports differ where addresses do not, as behind a NAT; and the last octet where ports do not.
        let last = match peer.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        &self.by_peer[(usize::from(peer.port()) + usize::from(last)) % SHARDS]
    }
}
