//! The store: what is told when, the exact end of bindings, the order of targets.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // what fails here fails the test; a start is any instant

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{register, udp};
use prometheus::Registry;
use registrar::{BINDINGS, Config, Locations, Metrics, Register, Store};
use sip_message::Aor;
use sip_service::{Directory, Registrations, TargetSet};
use tower_service::Service;

struct World {
    store: Arc<Store>,
    registry: Registry,
    told: Arc<Mutex<Vec<String>>>,
    start: Instant,
}

struct NotBob;

impl Directory for NotBob {
    fn exists(&self, aor: &Aor) -> bool {
        aor.user() != "bob"
    }
}

impl World {
    fn new() -> Self {
        let registry = Registry::new();
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let list = Arc::clone(&told);
        let changes = Arc::new(move |_: Instant, aor: &Aor| list.lock().unwrap().push(aor.user().to_owned()));
        let store = Store::new(Metrics::register(&registry).unwrap(), changes);
        Self { store, registry, told, start: Instant::now() }
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.start + Duration::from_millis(milliseconds)
    }

    fn register(&self, milliseconds: u64, user: &str, call_id: &str, cseq: u32, headers: &str) {
        let request = register(call_id, cseq, headers);
        let (aor, config) = (aor(user), Config { min_expires_seconds: 1, ..Config::default() });
        let register = Register::read(&request, &udp(), &aor, &config).unwrap();
        self.store.register(self.at(milliseconds), &aor, &register, &config, |_| ()).unwrap();
    }

    fn tick(&self, milliseconds: u64) {
        self.store.tick(self.at(milliseconds), 0, 1);
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    /// `rollcall_registrar_bindings` of a domain.
    fn gauge(&self, domain: &str) -> i64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == BINDINGS).unwrap();
        let of_domain =
            |m: &&prometheus::proto::Metric| m.get_label().iter().any(|label| label.value() == domain);
        family.get_metric().iter().find(of_domain).map_or(0, |metric| metric.get_gauge().get_value() as i64)
    }

    fn locate(&self, user: &str) -> TargetSet {
        let mut locations = Locations::new(Arc::clone(&self.store), Arc::new(NotBob));
        locations.call(aor(user)).into_inner().unwrap()
    }

    fn targets(&self, user: &str) -> Vec<String> {
        self.locate(user).targets.iter().map(|target| target.uri.to_string()).collect()
    }
}

fn aor(user: &str) -> Aor {
    Aor::parse(&format!("{user}@example.test")).unwrap()
}

// RFC 3261 §10.3 (3261-10.3-26): a binding ends at its expiry, to the tick, and whoever asks is told.
#[test]
fn bindings_end_at_their_expiry() {
    let world = World::new();
    world.register(0, "alice", "a", 1, "Contact: <sip:a@h>;expires=2, <sip:b@h>;expires=3");
    assert_eq!((world.told(), world.gauge("example.test")), (vec!["alice".to_owned()], 2));
    world.tick(1_999);
    assert_eq!((world.told(), world.gauge("example.test")), (vec![], 2));
    world.tick(2_000);
    assert_eq!((world.told(), world.gauge("example.test")), (vec![], 1));
    assert_eq!(world.targets("alice"), ["sip:b@h"]);
    world.tick(2_999);
    assert!(world.told().is_empty());
    assert!(world.store.is_registered(&aor("alice"), world.at(2_999)));
    // To those who ask by time it has ended even before the tick.
    assert!(!world.store.is_registered(&aor("alice"), world.at(3_000)));
    assert!(world.store.bindings(&aor("alice"), world.at(3_000)).is_empty());
    world.tick(3_000);
    assert_eq!((world.told(), world.gauge("example.test")), (vec!["alice".to_owned()], 0));
    assert!(world.targets("alice").is_empty());
    world.tick(100_000);
    assert!(world.told().is_empty());
}

#[test]
fn many_end_in_the_order_of_time() {
    let world = World::new();
    let users: Vec<String> = (0..1000).map(|i| format!("u{i:03}")).collect();
    for (i, user) in users.iter().enumerate() {
        world.register(0, user, "a", 1, &format!("Contact: <sip:a@h>;expires={}", 1 + i));
    }
    assert_eq!((world.told().len(), world.gauge("example.test")), (1000, 1000));
    for (i, user) in users.iter().enumerate() {
        world.tick(1_000 * i as u64 + 1_000);
        assert_eq!(world.told(), [user.as_str()]);
    }
    assert_eq!(world.gauge("example.test"), 0);
}

#[test]
fn what_is_due_together_ends_together() {
    let world = World::new();
    for i in 0..20_000 {
        world.register(0, &format!("u{i}"), "a", 1, "Contact: <sip:a@h>;expires=10");
    }
    world.told();
    world.tick(10_000);
    assert_eq!((world.told().len(), world.gauge("example.test")), (20_000, 0));
}

#[test]
fn shares_of_a_tick_make_a_whole() {
    let world = World::new();
    for i in 0..500 {
        world.register(0, &format!("u{i}"), "a", 1, "Contact: <sip:a@h>;expires=10");
    }
    world.told();
    world.store.tick(world.at(10_000), 0, 3);
    assert!((1..500).contains(&world.told().len()));
    world.store.tick(world.at(10_000), 1, 3);
    world.store.tick(world.at(10_000), 2, 3);
    assert_eq!(world.gauge("example.test"), 0);
}

#[test]
fn only_transitions_are_told() {
    let world = World::new();
    world.register(0, "alice", "a", 1, "-");
    world.register(0, "alice", "a", 2, "Contact: <sip:a@h>;expires=0");
    assert!(world.told().is_empty());
    world.register(0, "alice", "a", 3, "Contact: <sip:a@h>;expires=10");
    assert_eq!(world.told(), ["alice"]);
    world.register(5_000, "alice", "a", 4, "Contact: <sip:a@h>;expires=10");
    world.register(6_000, "alice", "b", 1, "Contact: <sip:b@h>;expires=10");
    world.tick(10_000);
    world.register(11_000, "alice", "a", 5, "Contact: <sip:a@h>;expires=0");
    assert!(world.told().is_empty());
    world.register(12_000, "alice", "a", 6, "Contact: * | Expires: 0");
    assert_eq!((world.told(), world.gauge("example.test")), (vec!["alice".to_owned()], 0));
    world.tick(60_000);
    assert!(world.told().is_empty());
}

/// Between its expiry and the tick a binding is seen as ended by the request that comes first.
#[test]
fn a_request_finds_what_has_expired_before_the_tick_does() {
    let world = World::new();
    world.register(0, "alice", "a", 1, "Contact: <sip:a@h>;expires=10");
    world.told();
    world.register(10_000, "alice", "b", 1, "-");
    assert_eq!((world.told(), world.gauge("example.test")), (vec!["alice".to_owned()], 0));
    world.register(20_000, "alice", "a", 2, "Contact: <sip:a@h>;expires=10");
    world.told();
    // Nobody saw it away: nobody is told that it is back.
    world.register(30_000, "alice", "a", 3, "Contact: <sip:a@h>;expires=10");
    world.tick(30_001);
    assert_eq!((world.told(), world.gauge("example.test")), (vec![], 1));
}

/// A lifetime that becomes shorter ends earlier, one that becomes longer later.
#[test]
fn a_refresh_moves_the_end() {
    let world = World::new();
    world.register(0, "alice", "a", 1, "Contact: <sip:a@h>;expires=100");
    world.register(0, "alice", "a", 2, "Contact: <sip:a@h>;expires=5");
    world.told();
    world.tick(5_000);
    assert_eq!(world.told(), ["alice"]);
    world.register(6_000, "alice", "a", 3, "Contact: <sip:a@h>;expires=5");
    world.register(7_000, "alice", "a", 4, "Contact: <sip:a@h>;expires=100");
    world.told();
    world.tick(11_000);
    world.tick(106_999);
    assert!(world.told().is_empty());
    world.tick(107_000);
    assert_eq!(world.told(), ["alice"]);
}

// RFC 3261 §16.5, §16.6, RFC 5627 §6.1.
#[test]
fn targets_come_by_falling_q_then_the_most_recent_first() {
    let world = World::new();
    let user = "alice";
    world.register(0, user, "a", 1, "Contact: <sip:low@h>;q=0.1;expires=100, <sip:old@h>;q=0.5;expires=600");
    world.register(1_000, user, "b", 1, "Contact: <sip:none@h>;expires=100, <sip:one@h>;q=1;expires=100");
    world.register(2_000, user, "c", 1, "Contact: <sip:new@h>;q=0.5;expires=100, <sip:zero@h>;q=0");
    assert_eq!(
        world.targets(user),
        ["sip:none@h", "sip:one@h", "sip:new@h", "sip:old@h", "sip:low@h", "sip:zero@h"]
    );
    assert_eq!(
        world.locate(user).targets.iter().map(|t| t.q_milli).collect::<Vec<_>>(),
        [1000, 1000, 500, 500, 100, 0]
    );
}

// RFC 3261 §21.4.18, §21.4.5: known without bindings, and unknown.
#[test]
fn known_and_unknown_users() {
    let world = World::new();
    assert!(world.locate("alice").known);
    assert!(!world.locate("bob").known);
    // A user who was deleted is called no more.
    world.register(0, "bob", "a", 1, "Contact: <sip:a@h>");
    assert!(world.targets("bob").is_empty());
}

#[test]
fn what_a_target_carries() {
    let world = World::new();
    let contact = "Contact: <sip:a@h;ob>;+sip.instance=\"<urn:uuid:1>\";reg-id=1;q=0.3";
    world.register(0, "alice", "a", 1, &format!("Path: <sip:p;lr>, <sip:q;lr> | {contact}"));
    let set = world.locate("alice");
    let [target] = &set.targets[..] else { panic!("{set:?}") };
    assert_eq!((&*target.uri, target.q_milli, target.flow), ("sip:a@h;ob", 300, None));
    assert_eq!(target.path.iter().map(|p| &**p).collect::<Vec<_>>(), ["<sip:p;lr>", "<sip:q;lr>"]);
    assert_eq!(target.instance.as_deref(), Some("urn:uuid:1"));
}

// RFC 3261 §10.3 (3261-10.3-24): requests at the same time, for one AOR and for others, all count.
#[test]
fn requests_in_parallel() {
    let world = World::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let world = &world;
            scope.spawn(move || {
                for i in 0..200 {
                    let contact = format!("Contact: <sip:a@h{thread}.test>;expires=60");
                    world.register(i, "alice", &format!("all{thread}"), i as u32 + 1, &contact);
                    world.register(i, &format!("own{thread}-{i}"), "own", 1, &contact);
                    world.tick(i);
                }
            });
        }
    });
    assert_eq!(world.store.bindings(&aor("alice"), world.at(200)).len(), 4);
    assert_eq!((world.told().len(), world.gauge("example.test")), (801, 804));
    world.tick(60_200);
    assert_eq!((world.told().len(), world.gauge("example.test")), (801, 0));
}
