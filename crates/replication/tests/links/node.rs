//! Nodes with a table each, and real sockets between them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus::Registry;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use replication::{
    ClusterSecret, Credentials, Peer, Replica, ReplicaMetrics, ReplicaOptions, Service, ServiceOptions, Tls,
};
use tempfile::TempDir;

use crate::table::{Table, Time};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);
const LIFETIME: Duration = Duration::from_secs(600);

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "it does not within {LIMIT:?}");
        std::thread::yield_now();
    }
}

fn now() -> Time {
    (Instant::now(), unix_ms())
}

fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

/// A node whose links run.
pub(crate) struct Node {
    replica: Arc<Replica>,
    table: Arc<Table>,
    registry: Registry,
    _service: Service,
}

impl Node {
    pub(crate) fn put(&self, name: &str, text: &str) {
        self.table.learn(now());
        drop(self.table.put(name, text, LIFETIME));
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.live().into_iter().find(|(other, _)| other == name).map(|(_, text)| text)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.live().into_iter().map(|(name, _)| name).collect()
    }

    fn live(&self) -> Vec<(String, String)> {
        self.table.live(Instant::now())
    }

    pub(crate) fn is_caught_up(&self) -> bool {
        self.replica.is_caught_up(Instant::now())
    }

    /// The sum of a counter.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let of =
            families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        of.map(|metric| metric.get_counter().get_value()).sum()
    }
}

/// Where nodes are, and how they know each other.
#[derive(Clone)]
pub(crate) struct Network {
    addresses: Rc<RefCell<BTreeMap<String, SocketAddr>>>,
    tls: Tls,
}

impl Network {
    pub(crate) fn of_secret() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cluster.key");
        fs::write(&path, [7; 32]).expect("written");
        let secret = ClusterSecret::read(&path).expect("a secret");
        let tls = Tls::new(&Credentials::Secret(secret)).expect("both sides");
        Self { addresses: Rc::default(), tls }
    }

    pub(crate) fn of_authority(authority: &Authority) -> Self {
        Self { addresses: Rc::default(), tls: authority.tls() }
    }

    /// The same places, where another CA signs.
    pub(crate) fn with(&self, authority: &Authority) -> Self {
        Self { tls: authority.tls(), ..self.clone() }
    }

    /// Where a node is, or will be.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        *self.addresses.borrow_mut().entry(name.into()).or_insert_with(|| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            listener.local_addr().expect("its address")
        })
    }

    pub(crate) fn start(&self, name: &str, peers: &[&str]) -> Node {
        static LIVES: AtomicU64 = AtomicU64::new(1);
        let registry = Registry::new();
        let metrics = ReplicaMetrics::register(&registry).expect("a new registry");
        let names: Vec<String> = peers.iter().map(|peer| (*peer).into()).collect();
        let options = ReplicaOptions { peer_timeout: LIMIT, ..ReplicaOptions::default() };
        let life = LIVES.fetch_add(1, Ordering::Relaxed);
        let replica = Replica::new(name, &names, options, metrics, life, Instant::now(), unix_ms());
        let table = Table::new(&replica, unix_ms, now());
        let at = |peer: &&str| Peer::new(peer, &format!("localhost:{}", self.address(peer).port()));
        let options = ServiceOptions {
            listen: self.address(name),
            peers: peers.iter().filter_map(at).collect(),
            tls: self.tls.clone(),
            unix_ms,
        };
        let service = Service::start(Arc::clone(&replica), options).expect("a service");
        service.serve();
        Node { replica, table, registry, _service: service }
    }
}

/// A CA, and the certificate of `localhost` that it signed.
pub(crate) struct Authority {
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&key).expect("signed");
        let issuer = Issuer::new(params, key);
        let pair = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".into()]).expect("parameters");
        let node = params.signed_by(&pair, &issuer).expect("signed");
        for (name, pem) in
            [("ca.pem", ca.pem()), ("node.pem", node.pem()), ("node.key", pair.serialize_pem())]
        {
            fs::write(folder.path().join(name), pem).expect("written");
        }
        Self { folder }
    }

    fn tls(&self) -> Tls {
        let path = |name: &str| -> PathBuf { self.folder.path().join(name) };
        let (certificate, key, ca) = (path("node.pem"), path("node.key"), path("ca.pem"));
        Tls::new(&Credentials::Certificates { certificate, key, ca }).expect("both sides")
    }
}
