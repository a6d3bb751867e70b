//! The store against a naive model, under a long random sequence of requests and ticks. A failure prints its seed.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // what fails here fails the test; a start is any instant

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{request, udp};
use prometheus::Registry;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use registrar::{BINDINGS, Config, Error, Metrics, Register, Store};
use sip_message::Aor;
use sip_service::Registrations;

const USERS: usize = 12;
const ADDRESSES: usize = 5;

/// A binding as the model knows it: times in seconds since the start.
#[derive(Clone, Debug)]
struct Model {
    address: usize,
    uri: String,
    flow: Option<(usize, usize)>,
    call_id: usize,
    cseq: u32,
    expires_at: u64,
}

/// One Contact value.
#[derive(Clone, Debug)]
struct Asked {
    address: usize,
    uri: String,
    flow: Option<(usize, usize)>,
    expires: Option<u64>,
}

impl Asked {
    fn random(rng: &mut StdRng) -> Self {
        let address = rng.random_range(0..ADDRESSES);
        // Four spellings of one URI (RFC 3261 §19.1.4).
        let uri = match rng.random_range(0..4) {
            0 => format!("sip:a{address}@h{address}.test;transport=tcp"),
            1 => format!("sip:a{address}@H{address}.TEST;Transport=TCP"),
            2 => format!("sip:%61{address}@h{address}.test;transport=tcp;x"),
            _ => format!("SIP:a%3{address}@h{address}.test;y=1;transport=Tcp"),
        };
        let flow = rng.random_bool(0.3).then(|| (rng.random_range(0..2), rng.random_range(1..3)));
        let expires = rng.random_bool(0.8).then(|| [0, 0, 5, 10, 30, 90][rng.random_range(0..6)]);
        Self { address, uri, flow, expires }
    }

    fn value(&self) -> String {
        let mut value = format!("<{}>", self.uri);
        if let Some((instance, reg_id)) = self.flow {
            value.push_str(&format!(";+sip.instance=\"<urn:uuid:{instance}>\";reg-id={reg_id}"));
        }
        if let Some(expires) = self.expires {
            value.push_str(&format!(";expires={expires}"));
        }
        value
    }

    fn names(&self, binding: &Model) -> bool {
        match (self.flow, binding.flow) {
            (Some(a), Some(b)) => a == b,
            _ => self.address == binding.address,
        }
    }
}

/// RFC 3261 §10.3 as it is written: a copy is changed contact by contact, and kept if nothing fails.
fn model_register(
    now: u64,
    bindings: &mut Vec<Model>,
    (call_id, cseq): (usize, u32),
    asked: &[Asked],
    config: &Config,
) -> Result<(), &'static str> {
    let lives = |asked: &&Asked| asked.expires != Some(0);
    if asked.iter().filter(lives).count() > 1 && asked.iter().filter(lives).any(|a| a.flow.is_some()) {
        return Err("bad_request");
    }
    let before = bindings.iter().filter(|b| b.expires_at > now).cloned().collect::<Vec<_>>();
    let mut after = before.clone();
    for contact in asked {
        if before.iter().any(|b| contact.names(b) && b.call_id == call_id && b.cseq >= cseq) {
            return Err("out_of_order");
        }
        after.retain(|binding| !contact.names(binding));
        if lives(&contact) {
            let lifetime = contact.expires.unwrap_or(config.default_expires_seconds.into());
            after.push(Model {
                address: contact.address,
                uri: contact.uri.clone(),
                flow: contact.flow,
                call_id,
                cseq,
                expires_at: now + lifetime,
            });
        }
    }
    if after.len() > config.bindings_per_aor_max && after.len() > before.len() {
        return Err("too_many_bindings");
    }
    *bindings = after;
    Ok(())
}

struct Run {
    store: Arc<Store>,
    registry: Registry,
    config: Config,
    start: Instant,
    /// Who is registered, by what the store told of changes.
    told: Arc<Mutex<BTreeSet<Aor>>>,
    model: BTreeMap<usize, Vec<Model>>,
}

fn aor(user: usize) -> Aor {
    Aor::parse(&format!("u{user}@example.test")).unwrap()
}

impl Run {
    fn new() -> Self {
        let registry = Registry::new();
        let told: Arc<Mutex<BTreeSet<Aor>>> = Arc::default();
        let toggled = Arc::clone(&told);
        let changes = Arc::new(move |_: Instant, aor: &Aor| {
            let mut toggled = toggled.lock().unwrap();
            if !toggled.remove(aor) {
                toggled.insert(aor.clone());
            }
        });
        Self {
            store: Store::new(Metrics::register(&registry).unwrap(), changes),
            registry,
            config: Config {
                min_expires_seconds: 1,
                default_expires_seconds: 60,
                bindings_per_aor_max: 4,
                ..Config::default()
            },
            start: Instant::now(),
            told,
            model: BTreeMap::new(),
        }
    }

    fn register(&mut self, now: u64, user: usize, id: (usize, u32), asked: &[Asked]) {
        let contacts: String = asked.iter().map(|a| format!("Contact: {}\n", a.value())).collect();
        let (call_id, cseq) = id;
        let request = request(&format!(
            "REGISTER sip:example.test SIP/2.0
             Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
             From: <sip:u@example.test>;tag=1
             To: <sip:u@example.test>
             Call-ID: {call_id}
             CSeq: {cseq} REGISTER
             {contacts}"
        ));
        let at = self.start + Duration::from_secs(now);
        let listed = Register::read(&request, &udp(), &aor(user), &self.config).and_then(|register| {
            let list = |bindings: &registrar::Bindings| -> BTreeSet<(String, u64)> {
                bindings.iter().map(|b| (b.uri.to_string(), b.expires_seconds(at))).collect()
            };
            self.store.register(at, &aor(user), &register, &self.config, list).map(|done| done.answer)
        });
        let bindings = self.model.entry(user).or_default();
        let want = model_register(now, bindings, id, asked, &self.config).map(|()| {
            bindings
                .iter()
                .filter(|b| b.expires_at > now)
                .map(|b| (b.uri.clone(), b.expires_at - now))
                .collect()
        });
        assert_eq!(
            listed.as_ref().map_err(Error::label),
            want.as_ref().map_err(|e: &&str| *e),
            "{now} {user} {asked:?}"
        );
    }

    fn check(&self, now: u64, ticked: bool) {
        let at = self.start + Duration::from_secs(now);
        let mut alive = 0;
        for user in 0..USERS {
            let live =
                self.model.get(&user).map_or(0, |list| list.iter().filter(|b| b.expires_at > now).count());
            alive += live;
            assert_eq!(self.store.is_registered(&aor(user), at), live > 0, "{now} {user}");
            assert_eq!(self.store.bindings(&aor(user), at).len(), live, "{now} {user}");
            if ticked {
                assert_eq!(self.told.lock().unwrap().contains(&aor(user)), live > 0, "{now} {user}");
            }
        }
        if ticked {
            let gauge: f64 = self
                .registry
                .gather()
                .iter()
                .filter(|family| family.name() == BINDINGS)
                .flat_map(|family| family.get_metric())
                .map(|metric| metric.get_gauge().get_value())
                .sum();
            assert_eq!(gauge as usize, alive, "{now}");
        }
    }
}

#[test]
fn the_store_does_what_a_naive_registrar_does() {
    for seed in 0..40 {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut run = Run::new();
    let mut now = 0;
    for _ in 0..600 {
        now += rng.random_range(0..4);
        let user = rng.random_range(0..USERS);
        let id = (rng.random_range(0..3), rng.random_range(1..200) + u32::try_from(now).unwrap());
        let asked: Vec<Asked> =
            (0..[0, 1, 1, 1, 2, 3][rng.random_range(0..6)]).map(|_| Asked::random(&mut rng)).collect();
        run.register(now, user, id, &asked);
        let ticks = rng.random_bool(0.3);
        if ticks {
            run.store.tick(run.start + Duration::from_secs(now), 0, 1);
        }
        run.check(now, ticks);
    }
}
