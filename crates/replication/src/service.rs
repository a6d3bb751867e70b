//! The links in operation: a thread that accepts other nodes, keeps connected with them, and drives the replica.
//!
//! All of it runs on that one thread, so that those who serve are not disturbed; changes of other nodes are applied there,
//! too. Nothing else in this crate knows sockets or tasks.

mod accept;
mod backoff;
mod connect;
mod drive;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use self::drive::{Pace, until_true};
use crate::{PARTS, Replica, Tls};

/// Connections at once that have not proved who they are; the oldest gives way to one more.
const HANDSHAKES_MAX: usize = 64;
/// How long such a proof may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the replica is asked what is due. A part is swept each time, so all are within seven seconds.
const TICK: Duration = Duration::from_millis(100);
/// The least time from one group to the next: after a pause a change is sent at once, and in larger groups under load.
const GATHER_INTERVAL: Duration = Duration::from_millis(1);
/// How long a node that stops waits until its peers have all that it changed.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long its connections may take to close after that.
const CLOSING: Duration = Duration::from_secs(2);
/// Threads that look names up: one of them may hang for long.
const LOOKUP_THREADS: usize = 4;

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

/// Links that run. They end, in order, when this is dropped.
pub struct Service {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
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
    /// Something changed here.
    has_changed: Notify,
    is_serving: AtomicBool,
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(LOOKUP_THREADS)
            .build()
            .map_err(ServiceError::Thread)?;
        let (wake, wakes) = watch::channel(());
        let (close, closing) = watch::channel(false);
        let shared = Arc::new(Shared {
            called: peers.iter().map(|_| Notify::new()).collect(),
            telling: peers.iter().map(|_| AtomicBool::new(false)).collect(),
            replica,
            tls,
            peers,
            pace: Pace { wakes, closing, unix_ms },
            has_changed: Notify::new(),
            is_serving: AtomicBool::new(false),
        });
        let waking = Arc::downgrade(&shared);
        shared.replica.set_wake(move || {
            if let Some(shared) = waking.upgrade() {
                shared.has_changed.notify_one();
            }
        });
        let (stop, stopping) = watch::channel(false);
        let running = Running { shared: Arc::clone(&shared), wake, close };
        let thread = std::thread::Builder::new()
            .name("replication".into())
            .spawn(move || running.block(runtime, listener, stopping))
            .map_err(ServiceError::Thread)?;
        Ok(Self { address, shared, stop, thread: Some(thread) })
    }

    /// Where it listens, with the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All is there that this node begins with: from now on it acts for nodes that are gone.
    pub fn serve(&self) {
        self.shared.is_serving.store(true, Ordering::Relaxed);
    }

    /// Tells peers what was changed and not told yet, for a second at most, and ends. It blocks until then; whoever makes
    /// changes should have ended.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.stop.send(true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("replication ended by a panic");
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    /// Whether all who are being told have all.
    fn is_all_told(&self) -> bool {
        let last = self.replica.outlog.last();
        let members = self.replica.members.lock();
        let mut told = members.list.iter().zip(&self.telling);
        told.all(|(member, telling)| !telling.load(Ordering::Relaxed) || member.has >= last)
    }
}

/// What the thread runs.
struct Running {
    shared: Arc<Shared>,
    wake: watch::Sender<()>,
    close: watch::Sender<bool>,
}

impl Running {
    fn block(self, runtime: Runtime, listener: TcpListener, stopping: watch::Receiver<bool>) {
        runtime.block_on(self.run(listener, stopping));
        // A name that is being looked up is waited for no longer.
        runtime.shutdown_background();
    }

    async fn run(self, listener: TcpListener, mut stopping: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => drop(tasks.spawn(accept::accept(Arc::clone(&self.shared), listener))),
            Err(error) => tracing::error!(%error, "no node can connect to this one"),
        }
        for at in 0..self.shared.peers.len() {
            tasks.spawn(connect::keep_connected(Arc::clone(&self.shared), at));
        }
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweeping = (0..PARTS).cycle();
        let mut ticked_at = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let before = std::mem::replace(&mut ticked_at, Instant::now());
                    self.tick(before, ticked_at, sweeping.next().unwrap_or(0));
                }
                () = self.shared.has_changed.notified() => {
                    self.gather();
                    sleep(GATHER_INTERVAL).await;
                }
                Some(Err(error)) = tasks.join_next() => report_panic(error),
                () = until_true(&mut stopping) => break,
            }
        }
        let farewell = async {
            self.gather();
            while !self.shared.is_all_told() {
                sleep(GATHER_INTERVAL).await;
                self.wake.send_replace(());
            }
        };
        if timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("a peer does not have all that was changed here: it will when this node is back");
        }
        self.close.send_replace(true);
        let all_closed = async { while tasks.join_next().await.is_some() {} };
        // They are dropped then.
        let _ = timeout(CLOSING, all_closed).await;
    }

    fn tick(&self, before: Instant, now: Instant, sweeping: usize) {
        let replica = &self.shared.replica;
        // The process was stopped, or the machine: what came meanwhile is yet to be read.
        if now.saturating_duration_since(before) >= replica.options.peer_timeout / 4 {
            tracing::warn!("this node did nothing for a while");
            replica.was_away(now);
        }
        // What owners do for a node that is gone is not ours: a fault there costs that, not the links.
        let ticked = catch_unwind(AssertUnwindSafe(|| {
            if self.shared.is_serving.load(Ordering::Relaxed) {
                replica.tick(now);
            }
            replica.sweep(now, sweeping, PARTS);
        }));
        if ticked.is_err() {
            tracing::error!("acting for a node that is gone ended by a panic");
        }
        self.gather();
    }

    fn gather(&self) {
        self.shared.replica.gather(Instant::now());
        self.wake.send_replace(());
    }
}

fn report_panic(error: JoinError) {
    if error.is_panic() {
        tracing::error!(%error, "a link ended by a panic");
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
