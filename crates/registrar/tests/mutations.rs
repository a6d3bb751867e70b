//! Contact and Path values with random faults: nothing panics, and what is bound comes back as a Contact value that says
//! the same. A failure prints its seed.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // what fails here fails the test; a start is any instant

mod common;

use bytes::Bytes;
use common::{alice, register, udp};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use registrar::{Bindings, Config, Register};
use sip_message::{Limits, NameAddr, Request};

const HEADERS: [&str; 7] = [
    "Contact: <sip:a@192.0.2.1:5060;transport=udp>;q=0.5;expires=60",
    "Contact: \"Alice \\\"A\\\" <b>\" <sip:a;x=y@h?Route=%3Csip:p%3E>;x=\"a;b,\\\"c\";y, sips:b@h;expires=0, <tel:+1-2>",
    "Contact: sip:a@[2001:db8::1]:5060;+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\";reg-id=1",
    "Contact: <sip:a@h>;+sip.instance=\"<urn:x:y>\";pub-gruu=\"sip:x\";methods=\"A,B\" | Expires: 100",
    "m: \"x\r\n y\" <sip:a@h>\r\n ;q=1.0\r\n\t;foo = \"b\r\n ar\";bar",
    "Path: <sip:p;lr>;x=\"y\r\n z\", <sip:q;lr> | Path: Name <sips:r> | Contact: <sip:a@x.invalid;transport=ws>",
    "Contact: * | Expires: 0",
];
const FRAGMENTS: [&str; 22] = [
    "\"",
    "\\",
    ";",
    ",",
    "<",
    ">",
    "=",
    " ",
    "\r\n ",
    "\t",
    "*",
    "%",
    "%41",
    "\u{e9}",
    "\0",
    ":",
    "@",
    ";q=",
    ";expires=",
    "sips:",
    ";reg-id=2",
    ";+sip.instance=",
];

fn mutate(text: &str, rng: &mut StdRng) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..rng.random_range(0..4) {
        let at = rng.random_range(0..characters.len());
        match rng.random_range(0..3) {
            0 => drop(characters.remove(at)),
            1 => characters[at] = FRAGMENTS[rng.random_range(0..FRAGMENTS.len())].chars().next().unwrap(),
            _ => drop(characters.splice(at..at, FRAGMENTS[rng.random_range(0..FRAGMENTS.len())].chars())),
        }
    }
    characters.into_iter().collect()
}

/// Registers what a mutated message says; how many bindings came of it.
fn run(seed: u64) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    let headers = mutate(HEADERS[rng.random_range(0..HEADERS.len())], &mut rng);
    let text = format!(
        "REGISTER sips:example.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\n\
         From: <sip:alice@example.test>;tag=1\r\nTo: <sip:alice@example.test>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n\
         {}\r\nContent-Length: 0\r\n\r\n",
        headers.replace(" | ", "\r\n")
    );
    let Ok(request) = Request::parse(Bytes::from(text), &Limits::default()) else { return 0 };
    let (config, now) = (Config::default(), std::time::Instant::now());
    let Ok(register) = Register::read(&request, &udp(), &alice(), &config) else { return 0 };
    let mut bindings = Bindings::default();
    let Ok(change) = bindings.decide(now, &register, &config) else { return 0 };
    bindings.apply(change);
    for binding in bindings.iter() {
        let listed = binding.listed(now).to_string();
        assert!(!listed.bytes().any(|b| b.is_ascii_control()), "{listed:?}");
        let value = NameAddr::parse(listed.as_bytes(), "Contact").unwrap_or_else(|e| panic!("{e}: {listed}"));
        assert_eq!(
            (value.uri_text, value.display),
            (&*binding.uri, binding.display.as_deref().unwrap_or("")),
            "{listed}"
        );
        for path in binding.path.iter().flat_map(|path| path.iter()) {
            assert!(NameAddr::parse(path.as_bytes(), "Path").and_then(|path| path.uri()).is_ok(), "{path}");
        }
    }
    // What is listed, registered again by the next boot of the device, is the same bindings.
    let listed: Vec<String> = bindings.iter().map(|binding| binding.listed(now).to_string()).collect();
    if !listed.is_empty() {
        let again = register_again(&listed);
        let config = Config { min_expires_seconds: 0, ..Config::default() };
        let register =
            Register::read(&again, &udp(), &alice(), &config).unwrap_or_else(|e| panic!("{e}: {listed:?}"));
        let change = bindings.decide(now, &register, &config).unwrap();
        assert_eq!((change.removed.len(), change.stored.len()), (listed.len(), listed.len()), "{listed:?}");
        bindings.apply(change);
        assert_eq!(bindings.iter().map(|b| b.listed(now).to_string()).collect::<Vec<_>>(), listed);
    }
    listed.len()
}

fn register_again(listed: &[String]) -> Request {
    let request = register("2", 1, &format!("Contact: {}", listed.join(", ")));
    let text = String::from_utf8_lossy(request.bytes()).replace("REGISTER sip:", "REGISTER sips:");
    Request::parse(Bytes::from(text), &Limits::default()).unwrap()
}

#[test]
fn what_is_bound_comes_back_as_it_was_meant() {
    let mut bound = 0;
    for seed in 0..30_000 {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(bindings) => bound += bindings,
            Err(_) => panic!("seed {seed}"),
        }
    }
    assert!(bound > 10_000, "only {bound} mutations were bound: they test little");
}
