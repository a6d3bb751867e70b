//! REGISTER from the wire to the wire: RFC 3261 §10.3 steps 1 to 5 and 8, as whole messages.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // what fails here fails the test; a start is any instant

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::{alice, register, request, udp};
use prometheus::Registry;
use registrar::{Config, Error, Metrics, REGISTRATIONS, Registrar, Store};
use sip_message::{Aor, Framed, HeaderName, Limits, Request, Response, Uri};
use sip_service::{
    Directory, Domains, Endpoint, EndpointConfig, Flow, Hop, Identity, LocateError, Network, SipRequest,
    TransactionUser, Unreachable,
};
use sip_transaction::ClientId;
use tower_service::Service;

/// A network that keeps what is sent.
#[derive(Default)]
struct Wire(Mutex<Vec<Bytes>>);

impl Network for Wire {
    fn send(&self, _: &Flow, bytes: Bytes, _: Option<ClientId>) -> Result<(), Unreachable> {
        self.0.lock().unwrap().push(bytes);
        Ok(())
    }

    fn locate(&self, _: &Uri<'_>, _: usize) -> Result<Hop, LocateError> {
        Err(LocateError::Scheme)
    }

    fn sent_by(&self, _: &Flow) -> Arc<str> {
        "198.51.100.1:5060".into()
    }

    fn is_alive(&self, _: &Flow) -> bool {
        true
    }
}

struct AliceAndBob;

impl Directory for AliceAndBob {
    fn exists(&self, aor: &Aor) -> bool {
        ["alice", "bob"].contains(&aor.user())
    }
}

struct World {
    wire: Arc<Wire>,
    endpoint: Arc<Endpoint>,
    registrar: Registrar,
    registry: Registry,
    now: Instant,
    identity: Option<Identity>,
    branches: AtomicU32,
}

/// Gives each request to the registrar and keeps why it was refused.
struct Stack<'a> {
    world: &'a World,
    refused: Mutex<Option<Error>>,
}

impl TransactionUser for Stack<'_> {
    fn on_request(&self, mut request: SipRequest) {
        request.identity.clone_from(&self.world.identity);
        let answered = self.world.registrar.clone().call(request).into_now().expect("an answer at once");
        *self.refused.lock().unwrap() = answered.err();
    }

    fn on_ack(&self, _: Instant, _: Request, _: &Flow) {}
}

impl World {
    fn new() -> Self {
        let (registry, wire, now) = (Registry::new(), Arc::<Wire>::default(), Instant::now());
        let metrics = sip_service::Metrics::register(&Registry::new()).unwrap();
        let endpoint = Endpoint::new(Arc::clone(&wire) as _, EndpointConfig::default(), metrics, now);
        let store = Store::new(Metrics::register(&registry).unwrap(), Arc::new(|_, _| ()));
        let domains = Domains::new(
            [("example.test", true), ("example.org", false)],
            [("198.51.100.1".to_owned(), 5060)],
        );
        let registrar =
            Registrar::new(store, Arc::new(Config::default()), Arc::new(domains), Arc::new(AliceAndBob))
                .with_wall_clock(|| -> SystemTime { UNIX_EPOCH + Duration::from_secs(1_289_690_940) });
        Self {
            wire,
            endpoint,
            registrar,
            registry,
            now,
            identity: Some(Identity::User(alice())),
            branches: AtomicU32::new(0),
        }
    }

    fn send(&self, request: &Request) -> Result<Response, Error> {
        let framed = Framed::datagram(request.bytes().clone(), &Limits::default());
        let stack = Stack { world: self, refused: Mutex::default() };
        self.endpoint.receive(self.now, framed, &udp(), &stack);
        let sent = std::mem::take(&mut *self.wire.0.lock().unwrap());
        match stack.refused.into_inner().unwrap() {
            Some(error) => Err(error),
            None => Ok(Response::parse(sent.last().unwrap().clone(), &Limits::default()).unwrap()),
        }
    }

    /// The label of the error by which a request with this Request-URI and To fails; `200` if it does not.
    fn outcome(&self, request_uri: &str, to: &str) -> &'static str {
        let request = request(&format!(
            "REGISTER {request_uri} SIP/2.0
             Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{}
             From: <sip:alice@example.test>;tag=1
             To: <{to}>
             Call-ID: 1
             CSeq: 1 REGISTER",
            self.branches.fetch_add(1, Ordering::Relaxed),
        ));
        self.send(&request).map_or_else(|error| error.label(), |_| "200")
    }

    fn counted(&self, outcome: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == REGISTRATIONS).unwrap();
        let counted = family.get_metric().iter().find(|m| m.get_label().iter().any(|l| l.value() == outcome));
        counted.map_or(0, |metric| metric.get_counter().get_value() as u64)
    }
}

// RFC 3261 §10.3 step 8, §10.3 (no Record-Route; 3261-10.3-2), §20.17; RFC 3327 §5.3 (3327-5.3-1).
#[test]
fn the_200_lists_bindings_path_and_date() {
    let world = World::new();
    let headers = "Contact: <sip:a@192.0.2.1>;q=0.5, <sip:b@192.0.2.1>;expires=60 | Path: <sip:p;lr>, <sip:q;lr> | \
                   Supported: path | Record-Route: <sip:bogus.example;lr>";
    let response = world.send(&register("a", 1, headers)).unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let values =
        |name| -> Vec<&str> { response.values(name).map(|v| std::str::from_utf8(v).unwrap()).collect() };
    assert_eq!(
        values(HeaderName::Contact),
        ["<sip:a@192.0.2.1>;q=0.5;expires=3600", "<sip:b@192.0.2.1>;expires=60"]
    );
    assert_eq!(values(HeaderName::Path), ["<sip:p;lr>", "<sip:q;lr>"]);
    assert_eq!(values(HeaderName::Supported), ["path"]);
    assert_eq!(response.text(HeaderName::Date), Some("Sat, 13 Nov 2010 23:29:00 GMT"));
    assert_eq!(response.count(HeaderName::RecordRoute), 0);
    // A fetch has neither Path nor, once all are gone, Contact.
    let response = world.send(&register("a", 2, "Contact: * | Expires: 0")).unwrap();
    assert_eq!((response.count(HeaderName::Contact), response.count(HeaderName::Path)), (0, 0));
    assert_eq!((world.counted("registered"), world.counted("removed"), world.counted("fetched")), (1, 1, 0));
}

// RFC 3261 §10.3 steps 1 and 5 (3261-10.3-5, -9); repro's defect D3, also for a fetch.
#[test]
fn whose_bindings() {
    let mut world = World::new();
    world.identity = Some(Identity::TrustedPeer);
    for (request_uri, to, outcome) in [
        ("sip:example.test", "sip:alice@example.test", "200"),
        ("sip:EXAMPLE.test:5060", "sips:alice@Example.Test:5061", "200"),
        ("sip:198.51.100.1", "sip:alice@example.org", "200"),
        ("sip:example.test", "sip:alice@example.org", "foreign_domain"),
        ("sip:198.51.100.1", "sip:alice@elsewhere.example", "foreign_domain"),
        ("sip:elsewhere.example", "sip:alice@elsewhere.example", "foreign_domain"),
        ("sip:elsewhere.example", "sip:alice@example.test", "foreign_domain"),
        ("sip:example.test", "sip:nobody@example.test", "not_found"),
        ("sip:example.test", "sip:example.test", "not_found"),
        ("sip:example.test", "tel:+12015550123", "bad_request"),
        ("sip:example.test", "pres:alice@example.test", "bad_request"),
    ] {
        assert_eq!(world.outcome(request_uri, to), outcome, "{request_uri} {to}");
    }
}

// RFC 3261 §10.3 steps 3 and 4.
#[test]
fn who_may_change_them() {
    let user = |user: &str| Some(Identity::User(Aor::parse(user).unwrap()));
    for (identity, to, outcome) in [
        (user("alice@example.test"), "sip:alice@example.test", "200"),
        (user("alice@example.test"), "sip:%61lice@EXAMPLE.test;x=y", "200"),
        (user("alice@example.test"), "sip:bob@example.test", "forbidden"),
        (user("alice@example.org"), "sip:alice@example.test", "forbidden"),
        // Whether another's AOR exists is not told.
        (user("alice@example.test"), "sip:nobody@example.test", "forbidden"),
        (user("alice@example.test"), "sip:alice@elsewhere.example", "forbidden"),
        (Some(Identity::TrustedPeer), "sip:bob@example.test", "200"),
        (Some(Identity::Anyone), "sip:bob@example.test", "200"),
        (Some(Identity::Anyone), "sip:nobody@example.test", "not_found"),
        (None, "sip:alice@example.test", "forbidden"),
    ] {
        let mut world = World::new();
        world.identity.clone_from(&identity);
        assert_eq!(world.outcome("sip:example.test", to), outcome, "{identity:?} {to}");
    }
}

// RFC 3261 §10.3 step 2, §8.2.2.3 (3261-10.3-6): before the sender is looked at.
#[test]
fn required_extensions() {
    let mut world = World::new();
    world.identity = None;
    let refused = world.send(&register("a", 1, "Require: path, foo | Require: Bar, PATH")).unwrap_err();
    assert_eq!(refused, Error::BadExtension { unsupported: vec!["foo".into(), "Bar".into()] });
    assert_eq!(world.send(&register("a", 2, "Require: a b")).unwrap_err().label(), "bad_request");
    world.identity = Some(Identity::Anyone);
    assert!(world.send(&register("a", 3, "Require: Path")).is_ok());
    assert_eq!((world.counted("bad_extension"), world.counted("fetched")), (1, 1));
}

// RFC 3261 §8.2.3 (3261-8.2.3-1, -3), §20.11.
#[test]
fn bodies() {
    let world = World::new();
    let send = |cseq: u32, disposition: &str| {
        let request = request(&format!(
            "REGISTER sip:example.test SIP/2.0
             Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{cseq}
             From: <sip:alice@example.test>;tag=1
             To: <sip:alice@example.test>
             Call-ID: 1
             CSeq: {cseq} REGISTER
             Content-Type: application/x-unknown
             {disposition}\n\nbody"
        ));
        world.send(&request).map(|_| ())
    };
    assert_eq!(send(1, "X-Other: y"), Err(Error::UnsupportedBody));
    assert_eq!(send(2, "Content-Disposition: session;handling=required"), Err(Error::UnsupportedBody));
    assert_eq!(send(3, "Content-Disposition: session; Handling = Optional"), Ok(()));
}

// RFC 3261 §10.3 step 7: each failure is counted by what it is.
#[test]
fn refusals_are_counted() {
    let world = World::new();
    world.send(&register("a", 1, "Contact: <sip:a@h>")).unwrap();
    assert_eq!(world.send(&register("a", 0, "Contact: <sip:a@h>")).unwrap_err(), Error::OutOfOrder);
    let brief = Error::IntervalTooBrief { min_expires_seconds: 60 };
    assert_eq!(world.send(&register("b", 1, "Contact: <sip:a@h>;expires=1")).unwrap_err(), brief);
    for (outcome, times) in [("registered", 1), ("out_of_order", 1), ("interval_too_brief", 1)] {
        assert_eq!(world.counted(outcome), times, "{outcome}");
    }
}
