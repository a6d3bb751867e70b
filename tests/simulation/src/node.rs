//! One node: its disk, and what lives from one start to the next crash.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use presence::{Clock, DomainConfig, Kept, Presence, Settings};
use prometheus::Registry;
use registrar::Store;
use replication::{
    Journal, Metrics, Options, Owner, Pen, Persistence, Replica, ReplicaMetrics, ReplicaOptions, Replicated,
};
use sip_message::Framed;
use sip_service::{Domains, Endpoint, EndpointConfig};

use crate::clock::{self, Ms};
use crate::disk::Disk;
use crate::link::{ReceiverEnd, SenderEnd};
use crate::port::{self, Port};
use crate::setting::Setting;
use crate::stack::{Everybody, Stack};
use crate::world::Event;

/// The domain of all users.
pub(crate) const DOMAIN: &str = "example.test";

/// A machine.
pub(crate) struct Node {
    pub(crate) disk: Disk,
    /// How long a write takes at present.
    pub(crate) disk_delay: Ms,
    /// How far its wall clock is ahead.
    pub(crate) ahead_ms: i64,
    /// Counts its lives; the number of the latest.
    pub(crate) life: u64,
    /// The process, if it runs.
    pub(crate) process: Option<Process>,
    /// It is stopped as by SIGSTOP: what comes is kept for it.
    pub(crate) is_frozen: bool,
    pub(crate) held: Vec<Event>,
    /// SIP datagrams to it, or from it, are lost.
    pub(crate) is_deaf: bool,
    pub(crate) is_mute: bool,
}

/// A process.
pub(crate) struct Process {
    pub(crate) port: Arc<Port>,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) store: Arc<Store>,
    pub(crate) replica: Arc<Replica>,
    /// What writes its journal, if it has a disk.
    pub(crate) pen: Option<Pen>,
    pub(crate) stack: Arc<Stack>,
    pub(crate) registry: Registry,
    is_serving: bool,
    /// Something was appended.
    woken: Arc<AtomicBool>,
    /// NOTIFYs that wait for the disk: how many there were, and until when.
    held: (usize, Ms),
    /// To each peer, by node.
    pub(crate) senders: Vec<Option<SenderEnd>>,
    pub(crate) receivers: Vec<ReceiverEnd>,
}

impl Node {
    pub(crate) fn new(ahead_ms: i64) -> Self {
        Self {
            disk: Disk::default(),
            disk_delay: 0,
            ahead_ms,
            life: 0,
            process: None,
            is_frozen: false,
            held: Vec::new(),
            is_deaf: false,
            is_mute: false,
        }
    }
}

/// The name of a node.
pub(crate) fn name(node: usize) -> String {
    format!("node{}", (b'a' + node as u8) as char)
}

impl Process {
    /// A process that has taken back what is on the disk, and does not serve yet.
    pub(crate) fn start(setting: &Setting, index: usize, life: u64, disk: &Disk) -> Self {
        let now = clock::monotonic();
        let registry = Registry::new();
        let port = Port::new(port::of_node(index));
        let service_metrics = sip_service::Metrics::register(&registry).expect("metrics");
        let endpoint =
            Endpoint::new(Arc::<Port>::clone(&port), EndpointConfig::default(), service_metrics, now);
        let listeners = (0..setting.nodes).map(|node| (port::of_node(node).ip().to_string(), 5060));
        let domains = Arc::new(Domains::new([(DOMAIN, true)], listeners));
        let announced: Arc<OnceLock<Weak<Presence>>> = Arc::default();
        let listener = Arc::clone(&announced);
        let store = Store::new(
            registrar::Metrics::register(&registry).expect("metrics"),
            Arc::new(move |now, aor| {
                if let Some(presence) = listener.get().and_then(Weak::upgrade) {
                    presence.registration_changed(now, aor);
                }
            }),
        );
        let settings = Settings {
            config: presence::Config { min_expires_seconds: 30, ..presence::Config::default() },
            domains: Arc::clone(&domains),
            per_domain: vec![DomainConfig::default()],
            directory: Arc::new(Everybody),
        };
        let presence = Presence::new(
            Arc::clone(&endpoint),
            Arc::<Store>::clone(&store),
            settings,
            presence::Metrics::register(&registry).expect("metrics"),
            Clock { unix_ms: clock::unix_ms, monotonic: clock::monotonic },
            setting.seed.wrapping_mul(1000) + life * 10 + index as u64,
            now,
        );
        announced.get_or_init(|| Arc::downgrade(&presence));
        let peers: Vec<String> = (0..setting.nodes).filter(|peer| *peer != index).map(name).collect();
        let options = ReplicaOptions {
            ack: setting.ack(),
            digest_interval: Duration::from_secs(setting.digest_seconds),
            outlog_bytes_max: if setting.has_short_log { 4_000 } else { 1 << 20 },
            ..ReplicaOptions::default()
        };
        let metrics = ReplicaMetrics::register(&registry).expect("metrics");
        let replica = Replica::new(&name(index), &peers, options, metrics, life, now, clock::unix_ms());
        let recovered = setting.has_disks.then(|| recover(disk, &registry, &store, &presence, &replica));
        let (journal, pen) = recovered.unzip();
        let persistence = Persistence {
            journal: journal.as_ref().map(|journal| (Arc::clone(journal), true)),
            replica: Some(Arc::clone(&replica)),
            unix_ms: clock::unix_ms,
        };
        store.persist(persistence.clone());
        presence.keep(Kept { publications: Some(persistence.clone()), subscriptions: Some(persistence) });
        let bindings: Weak<dyn Replicated> = Arc::downgrade(&(Arc::clone(&store) as Arc<dyn Replicated>));
        let other: Weak<dyn Replicated> = Arc::downgrade(&(Arc::clone(&presence) as Arc<dyn Replicated>));
        replica.set_owners(vec![bindings, other]);
        if let Some(journal) = &journal {
            let owners: [Arc<dyn Owner>; 3] = [
                Arc::<Store>::clone(&store),
                Arc::<Presence>::clone(&presence),
                Arc::<Replica>::clone(&replica),
            ];
            journal.set_owners(owners.iter().map(Arc::downgrade).collect(), Some(Arc::clone(&replica)));
        }
        let woken = Arc::new(AtomicBool::new(true));
        let called = Arc::clone(&woken);
        replica.set_wake(move || called.store(true, Ordering::Relaxed));
        let stack = Arc::new(Stack::new(&store, &presence, domains));
        Self {
            port,
            endpoint,
            presence,
            store,
            replica,
            pen,
            stack,
            registry,
            is_serving: false,
            woken,
            held: (0, 0),
            senders: (0..setting.nodes).map(|_| None).collect(),
            receivers: Vec::new(),
        }
    }

    /// Whether it serves.
    pub(crate) fn is_serving(&self) -> bool {
        self.is_serving
    }

    /// A datagram comes.
    pub(crate) fn receive(&self, now: Instant, from: SocketAddr, framed: Framed) {
        self.endpoint.receive(now, framed, &self.port.flow(from), &*self.stack);
    }

    /// NOTIFYs that began to wait since the last call do not leave before `synced_at`.
    pub(crate) fn hold_new(&mut self, synced_at: Ms) {
        self.stack.hold_new(synced_at);
        let held = self.presence.held();
        if held > self.held.0 {
            self.held.1 = synced_at;
        }
        self.held.0 = held;
    }

    /// What is to be done from time to time. Returns whether it serves from now on.
    pub(crate) fn tick(&mut self, now: Instant, now_ms: Ms) -> bool {
        // Before anything is appended: what was is written.
        if self.held.1 <= now_ms {
            self.presence.send_held(now);
        }
        self.replica.tick(now);
        self.replica.sweep(now, 0, 1);
        self.store.tick(now, 0, 1);
        if self.is_serving() {
            self.endpoint.tick(now, 0, 1);
            self.presence.tick(now, 0, 1);
            return false;
        }
        if !self.replica.is_caught_up(now) {
            return false;
        }
        self.is_serving = true;
        self.presence.resume(now);
        true
    }

    /// Whether something was appended since this was last asked.
    pub(crate) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::Relaxed)
    }

    /// A gauge or counter, summed over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let metrics = families.iter().filter(|family| family.name() == name).flat_map(|f| f.get_metric());
        metrics.map(|metric| metric.get_gauge().get_value() + metric.get_counter().get_value()).sum()
    }
}

fn recover(
    disk: &Disk,
    registry: &Registry,
    store: &Arc<Store>,
    presence: &Arc<Presence>,
    replica: &Arc<Replica>,
) -> (Arc<Journal>, Pen) {
    let options = Options {
        segment_bytes: 256 << 10,
        commit_interval: Duration::ZERO,
        relaxed_delay: Duration::ZERO,
        // The state is never written anew: when that happens depends on real time.
        compact_bytes_min: 1 << 40,
    };
    let metrics = Metrics::register(registry).expect("metrics");
    let (now, unix_ms) = (clock::monotonic(), clock::unix_ms());
    let restore = |record: replication::Record<'_>| {
        let part = match record.kind {
            registrar::BINDING => store.restore(&record, now, unix_ms).ok(),
            _ => presence.restore(now, &record, Some(replica.node())).ok().flatten(),
        };
        let part = part.unwrap_or_else(|| panic!("a record that is not taken back: {record:?}"));
        replica.restore(now, unix_ms, part, &record);
    };
    let (journal, pen, recovery) =
        Journal::open_by_hand(Arc::new(disk.clone()), options, metrics, unix_ms, restore).expect("a journal");
    assert_eq!(recovery.damaged_bytes, 0, "nothing damaged it");
    (journal, pen)
}
