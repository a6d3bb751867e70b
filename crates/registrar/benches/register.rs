//! What a REGISTER costs the registrar: read, decided, carried out and listed, without parsing and sending the messages.

#![allow(clippy::disallowed_methods)] // a start is any instant

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use prometheus::Registry;
use registrar::{Config, Locations, Metrics, Register, Store};
use sip_message::{Aor, HeaderName, Limits, ReplyBuilder, Request, StatusCode, Transport};
use sip_service::{Connection, Directory, Flow};
use tower_service::Service;

const AORS: usize = 100_000;

struct Everyone;

impl Directory for Everyone {
    fn exists(&self, _: &Aor) -> bool {
        true
    }
}

fn request(user: usize, cseq: u32) -> Request {
    let text = format!(
        "REGISTER sip:example.test SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-524287-1---74b1cbcd;rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:user{user:06}@example.test>;tag=fa673c9f\r\n\
         To: <sip:user{user:06}@example.test>\r\n\
         Call-ID: 1b9d6bcd-bbfd-4b2d-9b5d-{user:012}@192.168.100.123\r\n\
         CSeq: {cseq} REGISTER\r\n\
         Contact: <sip:user{user:06}@192.0.2.1:5060;transport=udp>;+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-{user:012}>\";reg-id=1\r\n\
         Supported: path, outbound\r\n\
         Expires: 3600\r\n\
         Content-Length: 0\r\n\r\n"
    );
    Request::parse(Bytes::from(text), &Limits::default()).expect("a valid request")
}

fn benches(c: &mut Criterion) {
    let registry = Registry::new();
    let store = Store::new(Metrics::register(&registry).expect("first"), Arc::new(|_, _| ()));
    let config = Config::default();
    let (local, remote) = ("198.51.100.1:5060", "192.0.2.1:5060");
    let (local, remote) = (local.parse().expect("an address"), remote.parse().expect("an address"));
    let source = Flow { transport: Transport::Udp, local, remote, connection: Connection::NONE };
    let mut now = Instant::now();
    let run = |now: Instant, request: &Request| {
        let aor = request.to().uri().ok().and_then(|uri| Aor::of(&uri)).expect("an AOR");
        let register = Register::read(request, &source, &aor, &config).expect("readable");
        let reply = store.register(now, &aor, &register, &config, |bindings| {
            let mut reply = ReplyBuilder::new(request, StatusCode::OK, "1a2b3c4d5e6f7a8b");
            for binding in bindings.iter() {
                reply = reply.header(HeaderName::Contact, binding.listed(now));
            }
            reply.finish()
        });
        reply.expect("registered").answer
    };
    for user in 0..AORS {
        run(now, &request(user, 1));
    }
    // A refresh keeps the request as it is but for what orders it: the Call-ID of another boot.
    let refreshes: Vec<[Request; 2]> = (0..1000)
        .map(|i| {
            let user = i * 97 % AORS;
            let text = request(user, 1);
            let other = String::from_utf8_lossy(text.bytes()).replace("1b9d6bcd", "2c9d6bcd");
            [Request::parse(Bytes::from(other), &Limits::default()).expect("a valid request"), text]
        })
        .collect();
    let mut turns = (0..).map(|turn: usize| (turn % refreshes.len(), turn / refreshes.len() % 2));
    c.bench_function("refresh among 100,000 AORs", |b| {
        b.iter(|| {
            let (index, which) = turns.next().expect("endless");
            now += Duration::from_micros(10);
            black_box(run(now, &refreshes[index][which]))
        });
    });
    let mut locations = Locations::new(Arc::clone(&store), Arc::new(Everyone));
    let users: Vec<Aor> = (0..1000)
        .map(|i| Aor::parse(&format!("user{:06}@example.test", i * 97 % AORS)).expect("an AOR"))
        .collect();
    let mut turns = (0..).map(|turn: usize| turn % users.len());
    c.bench_function("look-up among 100,000 AORs", |b| {
        b.iter(|| black_box(locations.call(users[turns.next().expect("endless")].clone())));
    });
}

criterion_group!(all, benches);
criterion_main!(all);
