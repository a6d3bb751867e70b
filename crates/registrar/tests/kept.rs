//! Bindings that are written to a journal: what comes back, and what a full disk refuses.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // what fails here fails the test; a start is any instant

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{alice, register, udp};
use prometheus::Registry;
use registrar::{Bindings, Config, Error, Metrics, Outcome, Register, Store};
use replication::{
    Directory, Files, Journal, Options, Persistence, Replica, ReplicaMetrics, ReplicaOptions, SegmentFile,
    Unkept,
};

/// The directory of a disk without room.
struct Full(Directory);

impl Files for Full {
    fn list(&self) -> io::Result<Vec<u64>> {
        self.0.list()
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        self.0.read(number)
    }

    fn create(&self, _: u64, _: u64) -> io::Result<Box<dyn SegmentFile>> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.0.remove(number)
    }

    fn set_aside(&self, number: u64) -> io::Result<()> {
        self.0.set_aside(number)
    }
}

/// A store over what a journal holds.
struct World {
    store: Arc<Store>,
    journal: Arc<Journal>,
    now: Instant,
}

impl World {
    fn open(files: impl Files, unix_ms: fn() -> i64) -> Self {
        let store = Store::new(Metrics::register(&Registry::new()).unwrap(), Arc::new(|_, _| ()));
        let (now, metrics) = (Instant::now(), replication::Metrics::register(&Registry::new()).unwrap());
        let (journal, _) =
            Journal::open_files(Arc::new(files), Options::default(), metrics, unix_ms(), |record| {
                store.restore(&record, now, unix_ms()).unwrap();
            })
            .unwrap();
        store.persist(Persistence::on_disk(Arc::clone(&journal), false, unix_ms));
        Self { store, journal, now }
    }

    fn register(&self, cseq: u32, headers: &str) -> Result<Outcome, Error> {
        register_at(&self.store, self.now, cseq, headers)
    }

    /// The contacts and their seconds.
    fn contacts(&self) -> Vec<String> {
        let bindings = self.store.bindings(&alice(), self.now);
        let mut contacts: Vec<_> =
            bindings.iter().map(|b| format!("{} {}", b.uri, b.expires_seconds(self.now))).collect();
        contacts.sort();
        contacts
    }
}

fn register_at(store: &Store, now: Instant, cseq: u32, headers: &str) -> Result<Outcome, Error> {
    let request = register("a@192.0.2.1", cseq, headers);
    let config = Config::default();
    let register = Register::read(&request, &udp(), &alice(), &config).unwrap();
    store.register(now, &alice(), &register, &config, |_| ()).map(|done| done.outcome)
}

fn directory(path: &Path) -> Directory {
    Directory::open(path).unwrap()
}

// RFC 3261 §10.3 step 7: CSeq of what was before still orders what comes after.
#[test]
fn bindings_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(directory(folder.path()), || 1_000_000);
    for (cseq, contact) in [
        (1, "Contact: <sip:a@h1>;expires=600, <sip:a@h2>;expires=600, <sip:a@h3>;expires=90"),
        (2, "Contact: <sip:a@h1>;expires=1200"),
        (3, "Contact: <sip:a@h2>;expires=0"),
    ] {
        world.register(cseq, contact).unwrap();
    }
    world.journal.close();
    drop(world);

    // Ten minutes later.
    let world = World::open(directory(folder.path()), || 1_600_000);
    assert_eq!(world.contacts(), ["sip:a@h1 600"]);
    assert_eq!(world.register(2, "Contact: <sip:a@h1>;expires=0"), Err(Error::OutOfOrder));
    assert_eq!(world.register(4, "Contact: *|Expires: 0"), Ok(Outcome::Removed));
    world.journal.close();
    drop(world);

    let world = World::open(directory(folder.path()), || 1_600_001);
    assert_eq!(world.contacts(), [""; 0]);
    world.journal.close();
}

// Each binding ends at its time, and no earlier.
#[test]
fn what_came_back_ends_at_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(directory(folder.path()), || 0);
    world.register(1, "Contact: <sip:a@h1>;expires=600").unwrap();
    world.journal.close();
    drop(world);
    let world = World::open(directory(folder.path()), || 500_000);
    let after = |seconds| world.now + Duration::from_secs(seconds);
    world.store.tick(after(99), 0, 1);
    assert_eq!(world.store.bindings(&alice(), after(99)).len(), 1);
    world.store.tick(after(100), 0, 1);
    assert_eq!(world.store.bindings(&alice(), after(100)), []);
    world.journal.close();
}

#[test]
fn a_full_disk_refuses_what_begins_and_takes_what_ends() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(directory(folder.path()), || 0);
    world.register(1, "Contact: <sip:a@h1>;expires=600, <sip:a@h2>;expires=600").unwrap();
    world.journal.close();
    drop(world);

    let world = World::open(Full(directory(folder.path())), || 0);
    let before = world.contacts();
    for contact in ["Contact: <sip:a@h3>", "Contact: <sip:a@h1>;expires=900"] {
        assert_eq!(world.register(2, contact), Err(Error::Storage(Unkept::Full)));
        assert_eq!(world.contacts(), before);
    }
    assert_eq!(world.register(2, "-"), Ok(Outcome::Fetched));
    assert_eq!(world.register(3, "Contact: <sip:a@h1>;expires=0"), Ok(Outcome::Removed));
    assert_eq!(world.contacts(), ["sip:a@h2 600"]);
    world.journal.close();
}

// RFC 3261 §10.2.2: who leaves has left, also at a node that had not heard of the binding yet.
#[test]
fn what_is_removed_where_it_is_not_known_is_told_to_the_others() {
    let (mut bindings, now) = (Bindings::default(), Instant::now());
    let mut decide = |cseq, headers| {
        let request = register("1@host", cseq, headers);
        let config = Config::default();
        let register = Register::read(&request, &udp(), &alice(), &config).unwrap();
        let change = bindings.decide(now, &register, &config).unwrap();
        let absent: Vec<String> = change.absent.iter().map(|binding| binding.uri.to_string()).collect();
        bindings.apply(change);
        absent
    };
    assert_eq!(decide(1, "Contact: <sip:a@h1>"), [""; 0]);
    assert_eq!(decide(2, "Contact: <sip:a@h1>;expires=0, <sip:a@h2>;expires=0"), ["sip:a@h2"]);
    assert_eq!(decide(3, "Contact: <sip:a@h1>;expires=0"), ["sip:a@h1"]);
}

// RFC 3261 §10.3 step 7: another node may have refreshed what has expired by what was heard here. So its end is nobody's change.
#[test]
fn what_has_expired_is_not_removed_elsewhere() {
    let store = Store::new(Metrics::register(&Registry::new()).unwrap(), Arc::new(|_, _| ()));
    let (now, metrics) = (Instant::now(), ReplicaMetrics::register(&Registry::new()).unwrap());
    let replica = Replica::new("a", &["b".into()], ReplicaOptions::default(), metrics, 1, now, 0);
    store.persist(Persistence { journal: None, replica: Some(Arc::clone(&replica)), unix_ms: || 0 });
    register_at(&store, now, 1, "Contact: <sip:a@h1>;expires=60").unwrap();
    let before = replica.digest();
    let later = now + Duration::from_secs(61);
    assert_eq!(register_at(&store, later, 2, "-"), Ok(Outcome::Fetched));
    assert_eq!(store.bindings(&alice(), later), []);
    assert_eq!(replica.digest(), before);
}
