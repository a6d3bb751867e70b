//! A repro as one more node: what it says becomes changes of the replicated map, and what changes here it is told, over its own
//! wire (presence-and-replication §6; crate `repro-sync`).
//!
//! All of it runs on a thread of its own, on which nothing else waits. What changes is noted by the observer of the replica
//! ([`agenda`]); one task reads what there is to be said of it ([`scribe`]) into the sessions of those who read ([`listen`]).
//! Another task is a reader of the peer itself ([`connect`]), whose words are taken by [`import`].

mod agenda;
mod connect;
mod contacts;
mod import;
mod listen;
mod memory;
mod owners;
mod scribe;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use presence::Presence;
use registrar::Store;
use replication::{NodeId, PARTS, Peer, Replica};
use repro_sync::Limits;
use sip_service::Domains;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use self::agenda::{Agenda, Job};
use self::import::Importer;
use self::listen::{Complaints, Reader};
use self::owners::Owners;
use self::scribe::{Occasion, Scribe};
use crate::state::unix_ms;

/// How often the map is swept and metrics are set. A part is swept each time.
const TICK: Duration = Duration::from_millis(100);
/// For a name to be looked up, and for each of its addresses to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node that stops waits until its readers have what is due: longer than anything is put off.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long its connections may take to close after that.
const CLOSING: Duration = Duration::from_secs(2);
/// How often is looked whether the peer has told all, at the start.
const LOOK: Duration = Duration::from_millis(10);
/// A connection on which nothing came is asked for after so long, and given up when it does not answer: the wire has no
/// keep-alives that are answered (§6.7).
const SILENCE: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Octets that are read at a time.
const READ_BYTES: usize = 65_536;

/// Where the peer is, and who may be it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerOptions {
    /// Its name among the nodes.
    pub(crate) node: String,
    /// Where it listens; `None`: it is not read.
    pub(crate) address: Option<Peer>,
    /// Where it is listened for; `None`: it is not told.
    pub(crate) listen: Option<SocketAddr>,
    /// The host whose connections are taken.
    pub(crate) from: Option<String>,
    /// Whether addresses may be public.
    pub(crate) is_insecure: bool,
    /// Whether publications are told and taken.
    pub(crate) has_publications: bool,
    /// Whether nobody else sweeps the map.
    pub(crate) is_alone: bool,
}

/// The links with a repro. They end, in order, when this is dropped.
pub(crate) struct Bridge {
    shared: Arc<Shared>,
    address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What all tasks have.
struct Shared {
    options: PeerOptions,
    owners: Owners,
    agenda: Arc<Agenda>,
    scribe: Scribe,
    importer: Importer,
    limits: Limits,
    readers: Mutex<Vec<Arc<Reader>>>,
    complaints: Complaints,
    /// The peer has told all it had when this node connected.
    is_reading: AtomicBool,
    /// The first attempt to have that came to an end, whichever.
    has_tried: AtomicBool,
    closing: watch::Receiver<bool>,
}

/// What a bridge is between.
pub(crate) struct Ends {
    pub(crate) replica: Arc<Replica>,
    pub(crate) bindings: Arc<Store>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) registrar: registrar::Config,
    pub(crate) domains: Arc<Domains>,
}

impl Bridge {
    /// Begins to listen and to connect. From now on the map knows of the peer.
    pub(crate) fn start(options: PeerOptions, ends: Ends) -> io::Result<Self> {
        let Ends { replica, bindings, presence, registrar, domains } = ends;
        let listener = options.listen.map(TcpListener::bind).transpose()?;
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
        }
        let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
        let peer = NodeId::of(&options.node);
        let agenda = Arc::new(Agenda::new(peer));
        let observing: Weak<Agenda> = Arc::downgrade(&agenda);
        replica.attach(
            peer,
            Box::new(move |_, records| {
                if let Some(agenda) = observing.upgrade() {
                    agenda.observe(Instant::now(), records);
                }
            }),
        );
        let has_publications = options.has_publications;
        let owners = Owners { peer, replica, bindings, presence, has_publications };
        let (close, closing) = watch::channel(false);
        let shared = Arc::new(Shared {
            scribe: Scribe::new(owners.clone()),
            importer: Importer::new(owners.clone(), registrar, domains),
            owners,
            agenda,
            limits: Limits::default(),
            readers: Mutex::default(),
            complaints: Complaints::default(),
            is_reading: AtomicBool::new(false),
            has_tried: AtomicBool::new(options.address.is_none()),
            closing,
            options,
        });
        let (stop, stopping) = watch::channel(false);
        let running = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("repro".into())
            .spawn(move || block(runtime, running, listener, close, stopping))?;
        Ok(Self { shared, address, stop, thread: Some(thread) })
    }

    /// Where the peer is listened for, with the port that it got.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Waits until the peer has told all that it has, or cannot be had, or it is enough.
    pub(crate) async fn catch_up(&self, enough: Duration) {
        let began = Instant::now();
        while !self.shared.has_tried.load(Ordering::Relaxed) {
            if began.elapsed() >= enough {
                tracing::warn!(peer = %self.shared.options.node, "repro has not told all that it has: what is missing comes while this node serves");
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.stop.send(true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("synchronisation with repro ended by a panic");
        }
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").field("address", &self.address).finish_non_exhaustive()
    }
}

fn block(
    runtime: Runtime,
    shared: Arc<Shared>,
    listener: Option<TcpListener>,
    close: watch::Sender<bool>,
    stopping: watch::Receiver<bool>,
) {
    runtime.block_on(shared.run(listener, close, stopping));
    // A name that is being looked up is waited for no longer.
    runtime.shutdown_background();
}

impl Shared {
    async fn run(
        self: Arc<Self>,
        listener: Option<TcpListener>,
        close: watch::Sender<bool>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut tasks = JoinSet::new();
        match listener.map(tokio::net::TcpListener::from_std) {
            Some(Ok(listener)) => drop(tasks.spawn(listen::accept(Arc::clone(&self), listener))),
            Some(Err(error)) => tracing::error!(%error, "repro cannot connect to this node"),
            None => {}
        }
        if self.options.address.is_some() {
            tasks.spawn(connect::keep_connected(Arc::clone(&self)));
        }
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweeping = (0..PARTS).cycle();
        loop {
            self.tell_all();
            let due = self.agenda.due();
            tokio::select! {
                _ = ticks.tick() => self.tick(sweeping.next().unwrap_or(0)),
                () = self.agenda.changed.notified() => {}
                () = at(due) => {}
                Some(Err(error)) = tasks.join_next() => {
                    if error.is_panic() {
                        tracing::error!(%error, "a link with repro ended by a panic");
                    }
                }
                () = until_true(&mut stopping) => break,
            }
        }
        let farewell = async {
            loop {
                self.tell_all();
                if self.is_all_told() {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        if timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!(peer = %self.options.node, "repro does not have all that was changed here: it will when this node is back");
        }
        close.send_replace(true);
        let all_closed = async { while tasks.join_next().await.is_some() {} };
        // They are dropped then.
        let _ = timeout(CLOSING, all_closed).await;
    }

    /// Tells what is due; a fault in one thing costs that one.
    fn tell_all(&self) {
        let now = Instant::now();
        while catch_unwind(AssertUnwindSafe(|| self.tell(now))).is_err() {
            tracing::error!("telling repro of a change ended by a panic");
        }
    }

    /// Tells all readers what is due.
    fn tell(&self, now: Instant) {
        while let Some(job) = self.agenda.next(now) {
            match job {
                Job::Cut => {
                    tracing::warn!(peer = %self.options.node, "too much changed at once to be told: repro is to ask for all");
                    self.readers.lock().iter().for_each(|reader| reader.cut());
                }
                Job::Touch(touch) => self.owners.touch(now, &touch),
                Job::Tell(subject) => {
                    let text = self.scribe.write(now, unix_ms(), &subject, Occasion::Change);
                    let readers = self.readers.lock();
                    for event in &text.events {
                        readers.iter().for_each(|reader| reader.tell(event));
                    }
                    if let Some(again_at) = text.again_at {
                        self.agenda.tell_later(again_at, subject);
                    }
                }
            }
        }
    }

    fn tick(&self, sweeping: usize) {
        let now = Instant::now();
        if self.options.is_alone {
            self.owners.replica.sweep(now, sweeping, PARTS);
        }
        if sweeping == 0 {
            self.importer.sweep(now);
            let is_read = self.readers.lock().iter().any(|reader| reader.is_live());
            self.scribe.sweep(now, unix_ms(), is_read);
        }
        let is_told =
            self.options.listen.is_none() || self.readers.lock().iter().any(|reader| reader.is_granted());
        let is_read = self.options.address.is_none() || self.is_reading.load(Ordering::Relaxed);
        let lag = if self.options.listen.is_some() { self.agenda.lag(now) } else { Duration::ZERO };
        self.owners.replica.metrics().peer(&self.options.node, lag, is_told && is_read);
    }

    /// Whether all who read have all that is due.
    fn is_all_told(&self) -> bool {
        self.agenda.due().is_none() && self.readers.lock().iter().all(|reader| reader.is_idle())
    }

    /// The addresses of a host at which the peer may be.
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = timeout(CONNECT_TIMEOUT, lookup_host((host, port))).await??;
        let is_allowed = |address: &SocketAddr| self.options.is_insecure || is_local(address.ip());
        let (allowed, others): (Vec<_>, Vec<_>) = found.partition(is_allowed);
        if allowed.is_empty() && !others.is_empty() {
            let why =
                "its address is public, and this wire has no security: `insecure = true` would allow it";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(allowed)
    }
}

/// Whether an address is of this machine or of a network of our own: loopback, RFC 1918, RFC 4193, link-local.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Makes a connection that is gone known.
fn watch_over(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(PROBE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Resolves then; never without a time.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

async fn until_true(receiver: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is an end, too.
    let _ = receiver.wait_for(|is_true| *is_true).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_our_own() {
        for (ip, expected) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("192.168.0.1", true),
            ("169.254.1.1", true),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("::ffff:10.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("172.32.0.1", false),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_local(ip.parse().expect("an address")), expected, "{ip}");
        }
    }
}
