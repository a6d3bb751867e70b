//! Dialogs and the NOTIFYs written in them, as SIP text.

#![allow(clippy::disallowed_methods)] // virtual time begins somewhere

use std::time::Instant;

use bytes::Bytes;
use sip_event::{Dialog, Error, NotifyBody, Output, Permission, Policy, Subscribe, accepted};
use sip_message::{Limits, Request};

fn request(text: &str) -> Request {
    let lines: Vec<&str> = text.trim().lines().map(str::trim).collect();
    let message = format!("{}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n", lines.join("\r\n"));
    Request::parse(Bytes::from(message), &Limits::default()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn subscribe(extra: &str) -> Request {
    request(&format!(
        "SUBSCRIBE sip:alice@example.test SIP/2.0
         Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKa
         From: \"Bob\" <sip:bob@example.test>;tag=w
         To: Alice <sip:alice@example.test>
         Call-ID: c1@192.0.2.2
         CSeq: 7 SUBSCRIBE
         Event: presence
         {}",
        extra.trim()
    ))
}

fn create(request: &Request) -> Result<Dialog, Error> {
    Dialog::create(request, "n", "<sip:alice@192.0.2.1:5060>".into(), "presence")
}

/// The first NOTIFY of a dialog.
fn notify(dialog: &mut Dialog, id: Option<&str>, expires_seconds: u32) -> String {
    let subscribe = Subscribe { id, expires_seconds, permission: Permission::Granted };
    let outputs =
        dialog.subscribe(Instant::now(), &Policy::default(), 1, &subscribe).expect("a subscription");
    let [Output::Notify(notify)] = outputs.as_slice() else { panic!("{outputs:?}") };
    let body = NotifyBody { content_type: "application/pidf+xml", octets: b"<presence/>" };
    let bytes = dialog.render(notify, "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKb", Some(body));
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn lines<'a>(message: &'a str, name: &str) -> Vec<&'a str> {
    message
        .split("\r\n")
        .take_while(|l| !l.is_empty())
        .filter_map(|l| l.strip_prefix(name))
        .map(str::trim)
        .collect()
}

// RFC 6665 §4.2.2, RFC 3261 §8.1.1, §12.1.1, §12.2.1.1: every header field of a NOTIFY.
#[test]
fn a_notify_as_it_is_written() {
    let mut dialog = create(&subscribe("Contact: <sip:bob@192.0.2.2:5070;transport=udp>")).expect("a dialog");
    let text = notify(&mut dialog, Some("x1"), 600);
    assert_eq!(
        text,
        "NOTIFY sip:bob@192.0.2.2:5070;transport=udp SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKb\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@example.test>;tag=n\r\n\
         To: <sip:bob@example.test>;tag=w\r\n\
         Call-ID: c1@192.0.2.2\r\n\
         CSeq: 1 NOTIFY\r\n\
         Contact: <sip:alice@192.0.2.1:5060>\r\n\
         Event: presence;id=x1\r\n\
         Subscription-State: active;expires=600\r\n\
         Content-Type: application/pidf+xml\r\n\
         Content-Length: 11\r\n\r\n\
         <presence/>"
    );
}

// What decides between UDP and TCP (RFC 3261 §18.1.1) is near the truth.
#[test]
fn size_is_known_before_it_is_written() {
    let mut dialog = create(&subscribe("Contact: <sip:bob@192.0.2.2:5070>")).expect("a dialog");
    let guess = dialog.rendered_bytes(11);
    let truth = notify(&mut dialog, None, 600).len();
    assert!(guess.abs_diff(truth) < 100, "{guess} for {truth}");
}

// RFC 3261 §12.1.1, §12.2.1.1: Record-Route in order, over several lines; loose routers keep the target in the
// Request-URI.
#[test]
fn loose_routes() {
    let mut dialog = create(&subscribe(
        "Record-Route: <sip:p2.example.test;lr;x=1>, <sip:p1.example.test;lr>;y=2
         Record-Route: <sip:p0.example.test:5070;lr>
         Contact: <sip:bob@192.0.2.2>",
    ))
    .expect("a dialog");
    assert_eq!(dialog.next_hop(), "sip:p2.example.test;lr;x=1");
    let text = notify(&mut dialog, None, 600);
    assert!(text.starts_with("NOTIFY sip:bob@192.0.2.2 SIP/2.0\r\n"), "{text}");
    assert_eq!(
        lines(&text, "Route:"),
        ["<sip:p2.example.test;lr;x=1>", "<sip:p1.example.test;lr>;y=2", "<sip:p0.example.test:5070;lr>"]
    );
}

// RFC 3261 §12.2.1.1: a strict router gets the request under its own URI, without what no Request-URI may have (§19.1.5);
// the remote target comes last.
#[test]
fn strict_routes() {
    let mut dialog = create(&subscribe(
        "Record-Route: <sip:p2.example.test;method=NOTIFY;x=1?a=b>, <sip:p1.example.test;lr>
         Contact: <sip:bob@192.0.2.2;x=y>",
    ))
    .expect("a dialog");
    assert_eq!(dialog.next_hop(), "sip:p2.example.test;method=NOTIFY;x=1?a=b");
    let text = notify(&mut dialog, None, 600);
    assert!(text.starts_with("NOTIFY sip:p2.example.test;x=1 SIP/2.0\r\n"), "{text}");
    assert_eq!(lines(&text, "Route:"), ["<sip:p1.example.test;lr>", "<sip:bob@192.0.2.2;x=y>"]);
}

// RFC 3261 §8.1.1.8, §12.1.1: exactly one Contact, a SIP URI; otherwise 400.
#[test]
fn contacts_that_begin_no_dialog() {
    for (contact, error) in [
        ("Subject: none", Error::ContactCount { count: 0 }),
        ("Contact: *", Error::ContactCount { count: 0 }),
        ("Contact: <sip:a@192.0.2.2>, <sip:b@192.0.2.2>", Error::ContactCount { count: 2 }),
        ("Contact: <sip:a@192.0.2.2>\n Contact: <sip:b@192.0.2.2>", Error::ContactCount { count: 2 }),
        ("Contact: <mailto:bob@example.test>", Error::Header { header: "Contact", expected: "one SIP URI" }),
        ("Contact: <tel:+15551234>", Error::Header { header: "Contact", expected: "one SIP URI" }),
    ] {
        assert_eq!(create(&subscribe(contact)).err(), Some(error), "{contact}");
    }
}

// RFC 3261 §12.2.2: lower is out of order, equal is not; §12: Call-ID and tags make the dialog.
#[test]
fn requests_within_the_dialog() {
    let mut dialog = create(&subscribe("Contact: <sip:bob@192.0.2.2>")).expect("a dialog");
    let inside = |cseq: u32, call_id: &str, tag: &str, contact: &str| {
        request(&format!(
            "SUBSCRIBE sip:alice@192.0.2.1:5060 SIP/2.0
             Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKc
             From: <sip:bob@example.test>;tag={tag}
             To: <sip:alice@example.test>;tag=n
             Call-ID: {call_id}
             CSeq: {cseq} SUBSCRIBE
             Event: presence
             {contact}"
        ))
    };
    let good = inside(8, "c1@192.0.2.2", "w", "Contact: <sip:bob@192.0.2.3>");
    assert!(dialog.is_of(&good));
    assert!(!dialog.is_of(&inside(8, "c1@192.0.2.2", "W", "Subject: other tag")));
    assert!(!dialog.is_of(&inside(8, "C1@192.0.2.2", "w", "Subject: other Call-ID")));

    assert_eq!(dialog.receive(&good), Ok(()));
    assert_eq!(dialog.receive(&inside(8, "c1@192.0.2.2", "w", "Subject: again")), Ok(()));
    let late = inside(7, "c1@192.0.2.2", "w", "Subject: late");
    assert_eq!(dialog.receive(&late), Err(Error::OutOfOrder { cseq: 7, last: 8 }));

    // §12.2.2: a target refresh; without Contact the target stays; two are refused and change nothing.
    assert_eq!(dialog.remote_target(), "sip:bob@192.0.2.2");
    assert_eq!(dialog.retarget(&good), Ok(()));
    assert_eq!(dialog.retarget(&late), Ok(()));
    let two = inside(9, "c1@192.0.2.2", "w", "Contact: <sip:a@192.0.2.9>, <sip:b@192.0.2.9>");
    assert_eq!(dialog.retarget(&two), Err(Error::ContactCount { count: 2 }));
    assert_eq!(dialog.remote_target(), "sip:bob@192.0.2.3");
}

// RFC 3261 §8.2.2.2: the same request by another way.
#[test]
fn merged_requests() {
    let first = subscribe("Contact: <sip:bob@192.0.2.2>");
    let dialog = create(&first).expect("a dialog");
    assert!(dialog.was_begun_by(&first));
    let text = String::from_utf8(first.bytes().to_vec()).expect("text");
    let other = |from: &str, to: &str| {
        Request::parse(Bytes::from(text.replace(from, to)), &Limits::default()).expect("a request")
    };
    assert!(dialog.was_begun_by(&other("z9hG4bKa", "z9hG4bKz")));
    assert!(!dialog.was_begun_by(&other("CSeq: 7", "CSeq: 8")));
    assert!(!dialog.was_begun_by(&other("tag=w", "tag=v")));
}

// RFC 3261 §12.1.1: an old peer may have no tag; then To has none.
#[test]
fn a_watcher_without_tag() {
    let text = String::from_utf8(subscribe("Contact: <sip:bob@192.0.2.2>").bytes().to_vec()).expect("text");
    let untagged =
        Request::parse(Bytes::from(text.replace(";tag=w", "")), &Limits::default()).expect("a request");
    let mut dialog = create(&untagged).expect("a dialog");
    assert_eq!(dialog.remote_tag(), "");
    assert!(dialog.is_of(&untagged));
    assert_eq!(lines(&notify(&mut dialog, None, 60), "To:"), ["<sip:bob@example.test>"]);
}

// RFC 6665 §7.2, RFC 3261 §20.1, RFC 3856 §6.5.
#[test]
fn what_a_watcher_accepts() {
    const OFFERED: [&str; 1] = ["application/pidf+xml"];
    for (accept, fits) in [
        ("Subject: no Accept", true),
        ("Accept: application/pidf+xml", true),
        ("Accept: Application/PIDF+XML;charset=utf-8", true),
        ("Accept: application/xpidf+xml, application/pidf+xml", true),
        ("Accept: application/xpidf+xml\n Accept: application/pidf+xml", true),
        ("Accept: application/*", true),
        ("Accept: */*;q=0.1", true),
        ("Accept: application/xpidf+xml", false),
        ("Accept: text/*", false),
        ("Accept: application/pidf+xml;q=0", false),
        ("Accept: */*, application/pidf+xml;q=0.0", false),
        ("Accept: application/*;q=0, application/pidf+xml", true),
        ("Accept:", false),
    ] {
        let request = subscribe(&format!("{accept}\n Contact: <sip:bob@192.0.2.2>"));
        assert_eq!(accepted(&request, &OFFERED).is_some(), fits, "{accept}");
    }
    let both = ["application/pidf-diff+xml", "application/pidf+xml"];
    let request = subscribe("Accept: application/pidf+xml\n Contact: <sip:bob@192.0.2.2>");
    assert_eq!(accepted(&request, &both), Some("application/pidf+xml"));
}

// The mark: at most 2 kB per subscription; the dialog is most of it.
#[test]
fn a_dialog_is_small() {
    assert!(size_of::<Dialog>() <= 400, "{}", size_of::<Dialog>());
}
