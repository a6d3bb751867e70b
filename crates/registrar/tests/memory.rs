//! What a binding costs, all in: measured as what the process grows by, with the allocator of the server.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // what fails here fails the test; a start is any instant
#![cfg(target_os = "linux")]

mod common;

use std::sync::Arc;
use std::time::Instant;

use common::{flow, request};
use prometheus::Registry;
use registrar::{Config, Metrics, Register, Store};
use sip_message::{Aor, Transport};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AORS: usize = 100_000;
const BYTES_PER_BINDING_MAX: usize = 700;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn register(store: &Store, now: Instant, transport: Transport, user: usize, contact: &str) {
    let request = request(&format!(
        "REGISTER sip:example.test SIP/2.0
         Via: SIP/2.0/{transport} 192.0.2.1:5060;branch=z9hG4bK1
         From: <sip:user{user:06}@example.test>;tag=1
         To: <sip:user{user:06}@example.test>
         Call-ID: 1b9d6bcd-bbfd-4b2d-9b5d-{user:012}@192.168.100.123
         CSeq: 1 REGISTER
         Contact: {contact}"
    ));
    let (aor, config) = (Aor::of(&request.to().uri().unwrap()).unwrap(), Config::default());
    let source = flow(transport, "192.0.2.1:5060");
    let register = Register::read(&request, &source, &aor, &config).unwrap();
    store.register(now, &aor, &register, &config, |_| ()).unwrap();
}

#[test]
fn a_binding_costs_less_than_700_bytes() {
    let now = Instant::now();
    for (transport, what, params) in [
        (Transport::Udp, "UDP", ""),
        (
            Transport::Tcp,
            "TCP, instance, flow",
            ";+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\";reg-id=1",
        ),
    ] {
        let store = Store::new(Metrics::register(&Registry::new()).unwrap(), Arc::new(|_, _| ()));
        let before = resident_bytes();
        for user in 0..AORS {
            let contact =
                format!("<sip:user{user:06}@192.0.2.1:5060;transport={}>{params}", transport.token());
            register(&store, now, transport, user, &contact);
        }
        let per_binding = (resident_bytes() - before) / AORS;
        println!("{what}: {per_binding} bytes per binding");
        assert!(per_binding <= BYTES_PER_BINDING_MAX, "{what}: {per_binding} bytes per binding");
        // The next round is measured with this one still there: what was freed would be used again.
        std::mem::forget(store);
    }
}
