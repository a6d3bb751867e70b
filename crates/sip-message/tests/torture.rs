//! RFC 4475 and RFC 5118: every message gets its verdict, and what is accepted is forwarded untouched.

use std::path::PathBuf;

use bytes::Bytes;
use serde_json::Value;
use sip_message::{Edit, Framed, HeaderName, Limits, Method, Request, Uri};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn message(name: &str) -> Bytes {
    std::fs::read(fixtures().join("torture").join(format!("{name}.dat"))).expect("a fixture").into()
}

fn read(name: &str) -> Framed {
    Framed::datagram(message(name), &Limits::default())
}

fn request(name: &str) -> Request {
    match read(name) {
        Framed::Request(request) => request,
        other => panic!("{name}: {other:?}"),
    }
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join(name)).expect("a fixture")).expect("JSON")
}

/// Statuses that are the application's to give: the message itself is read.
const BY_THE_APPLICATION: [u64; 6] = [404, 405, 415, 416, 420, 483];

#[test]
fn every_message_gets_its_verdict() {
    let verdicts = json("torture/verdicts.json");
    let verdicts = verdicts.as_object().expect("an object");
    assert_eq!(verdicts.len(), 62);
    for (name, verdict) in verdicts {
        let proxy = verdict["proxy"].as_array().expect("a list");
        let allows = |what: &str| proxy.iter().any(|v| v == what);
        let codes: Vec<u64> = proxy.iter().filter_map(Value::as_u64).collect();
        match read(name) {
            Framed::Request(_) => {
                let accepted = allows("route") || codes.iter().any(|c| BY_THE_APPLICATION.contains(c));
                assert!(accepted, "{name} was accepted, expected {proxy:?}");
            }
            Framed::Response(_) => {
                // RFC 4475 §3.3.10: what is wrong with bcast is that it is stray.
                assert!(allows("forward-response") || name == "4475/bcast", "{name}: {proxy:?}");
            }
            Framed::Malformed(malformed) => {
                let code = u64::from(malformed.error.code.as_u16());
                let refused = codes.contains(&code) || allows("drop") || allows("error");
                assert!(refused, "{name} was refused with {code}, expected {proxy:?}");
                let answers = codes.contains(&code) && !allows("drop");
                assert!(!answers || malformed.request.is_some(), "{name}: {malformed} cannot be answered");
                // Only what the RFC calls invalid, or lets an element refuse, may be refused.
                assert_ne!(proxy.as_slice(), [Value::from("route")], "{name}: {malformed}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn what_is_accepted_leaves_as_it_came() {
    for name in json("torture/verdicts.json").as_object().expect("an object").keys() {
        if let Framed::Request(request) = read(name) {
            let written = Edit::new(&request).finish();
            assert!(message(name).starts_with(&written), "{name}");
            let pushed = Edit::new(&request)
                .push(HeaderName::Via, format_args!("SIP/2.0/UDP us;branch=z9hG4bK1"))
                .finish();
            let again = Request::parse(pushed, &Limits::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(again.body(), request.body(), "{name}");
            assert_eq!(again.fields().count(), request.fields().count() + 1, "{name}");
        }
    }
}

// RFC 4475 §3.1.1.1.
#[test]
fn a_short_tortuous_invite() {
    let wsinv = request("4475/wsinv");
    assert_eq!(wsinv.uri_text(), "sip:vivekg@chair-dnrc.example.com;unknownparam");
    assert_eq!((wsinv.cseq().number, wsinv.cseq().method), (9, Method::Invite));
    assert_eq!(wsinv.number(HeaderName::MaxForwards), Some(Ok(68)));
    assert_eq!(wsinv.values(HeaderName::Via).count(), 3);
    assert_eq!(wsinv.via().host, "192.0.2.2");
    assert_eq!(wsinv.to().tag(), Some("1918181833n"));
    assert_eq!(wsinv.from().tag(), Some("98asjd8"));
    assert_eq!(wsinv.body().len(), 150);
    let routes: Vec<_> = wsinv.values(HeaderName::Route).collect();
    assert_eq!(routes, [&b"<sip:services.example.com;lr;unknownwith=value;unknown-no-value>"[..]]);
}

// RFC 4475 §3.1.1.2, §3.1.1.5: any token is a method, `%` in it is no escape.
#[test]
fn unknown_methods() {
    assert_eq!(
        request("4475/intmeth").method(),
        Method::Extension("!interesting-Method0123456789_*+`.%indeed'~")
    );
    assert_eq!(request("4475/esc02").method(), Method::Extension("RE%47IST%45R"));
    assert_eq!(request("4475/esc02").values(HeaderName::Contact).count(), 2);
}

// RFC 4475 §3.1.1.8: what follows Content-Length in a datagram is discarded.
#[test]
fn two_requests_in_one_datagram() {
    let first = request("4475/dblreq");
    assert_eq!((first.method(), first.body().len()), (Method::Register, 0));
}

// RFC 5118 §4.5: an IPv6 address in `received` with and without brackets.
#[test]
fn received_with_ipv6() {
    let bare = request("5118/via-received-param-no-delim");
    assert_eq!(bare.via().params.value("received"), Some("2001:db8::9:255"));
    let bracketed = request("5118/via-received-param-with-delim");
    assert_eq!(bracketed.via().params.value("received"), Some("[2001:db8::9:255]"));
}

// RFC 3261 §19.1.4, RFC 5954 §4.2.
#[test]
fn uri_equality() {
    let vectors = json("uri-equality.json");
    for (list, expected) in [("equal", true), ("not_equal", false)] {
        for pair in vectors[list].as_array().expect("a list") {
            let text = |i: usize| pair[i].as_str().expect("a URI");
            let uri =
                |i: usize| Uri::parse(text(i).as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", text(i)));
            assert_eq!(uri(0).equivalent(&uri(1)), expected, "{} and {}", text(0), text(1));
        }
    }
}
