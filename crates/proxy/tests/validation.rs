//! What is not forwarded (RFC 3261 §16.3, §16.5), and who may have requests forwarded at all.

mod common;

use common::{Scene, target};
use sip_message::HeaderName;

const INVITE: &str = "
    INVITE sip:bob@example.test SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1
    Max-Forwards: 70
    From: <sip:alice@example.test>;tag=a
    To: <sip:bob@example.test>
    Call-ID: 1
    CSeq: 1 INVITE
    Contact: <sip:alice@192.0.2.10>";

/// The final response to that INVITE once it was changed, which reaches nobody else.
fn check(changes: &[(&str, &str)], code: &str) {
    let changed = changes.iter().fold(INVITE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let mut scene = Scene::new();
    assert_eq!(scene.outcome(&changed), [code], "{changed}");
    for other in ["bob", "carol", "far"] {
        assert!(scene.bench.take(other).is_empty(), "{other} got something: {changed}");
    }
    scene.settle(33_000);
}

/// The same with one more header field.
fn check_with(field: &str, code: &str) {
    check(&[("Contact:", &format!("{field}\n    Contact:"))], code);
}

// RFC 3261 §16.3 step 1.
#[test]
fn reasonable_syntax() {
    check(&[("Max-Forwards: 70", "Max-Forwards: many")], "400");
    check_with("Route: <sip:192.0.2.1;lr", "400");
    check_with("Max-Breadth: wide", "400");
}

// RFC 3261 §16.3 step 2.
#[test]
fn uri_scheme() {
    for uri in ["tel:+358-555-1234567", "urn:service:sos", "http://example.test/"] {
        check(&[("sip:bob@example.test SIP", &format!("{uri} SIP"))], "416");
    }
}

// RFC 3261 §16.3 step 3.
#[test]
fn max_forwards() {
    check(&[("Max-Forwards: 70", "Max-Forwards: 0")], "483");
}

// RFC 3261 §16.3 step 4, RFC 5393 §4.2: what comes back unchanged loops.
#[test]
fn loop_detection() {
    let mut scene = Scene::new();
    scene.register("bob", [target("sip:carol@example.test")]);
    scene.register("carol", [target("sip:bob@example.test")]);
    scene.bench.play(
        "0ms alice> INVITE bob
         0ms alice< 100
         0ms alice< 482
        10ms alice> ACK",
    );
    // At bob and at carol: at bob again, it is seen.
    assert_eq!(scene.bench.metric("rollcall_proxy_forwarded_total", "INVITE"), 2.0);
    scene.settle(40_000);
}

// RFC 3261 §16.3 step 4: only a Via with a sent-by of ours says that the request was here. Another proxy of this kind, which
// forwarded it unchanged, wrote the same hash into its own.
#[test]
fn another_proxy_of_this_kind_is_no_loop() {
    let mut scene = Scene::new();
    scene.trust();
    assert_eq!(
        scene.outcome(&INVITE.replace("sip:bob@example.test SIP", "sip:friend@203.0.113.5 SIP")),
        ["100"]
    );
    let copy = scene.bench.take("far").remove(0);
    let copy = String::from_utf8(copy.message().bytes().to_vec()).expect("text");
    scene.bench.send_bytes("far", copy.replace("UDP 192.0.2.1:5060", "UDP 203.0.113.5:5060").into());
    let answers: Vec<String> = scene.bench.take("far").iter().map(|received| received.summary()).collect();
    assert_eq!(answers, ["100", "INVITE"], "it is forwarded, to far itself");
    scene.bench.send_bytes("far", copy.replace("UDP 192.0.2.1:5060", "UDP 192.0.2.1").into());
    assert_eq!(scene.bench.metric("rollcall_responses_total", "code=\"482\""), 1.0);
}

// RFC 3261 §16.3 step 4: what comes back with another Request-URI spirals, and passes.
#[test]
fn spiral() {
    let mut scene = Scene::new();
    scene.register("bob", [target("sip:carol@example.test")]);
    scene.bench.play(
        "0ms alice> INVITE bob
         0ms alice< 100
         0ms carol< INVITE
        10ms carol> 180
        10ms alice< 180
        20ms carol> 200
        20ms alice< 200
        30ms alice> ACK
        30ms carol< ACK
        40ms carol> BYE
        40ms alice< BYE
        50ms alice> 200 BYE
        50ms carol< 200 BYE",
    );
    let invite = scene.bench.take("carol").remove(0);
    assert_eq!(invite.message().values(HeaderName::Via).count(), 3);
    assert_eq!(invite.message().text(HeaderName::MaxForwards), Some("68"));
    scene.settle(70_000);
}

// RFC 3261 §16.3 step 5.
#[test]
fn proxy_require() {
    let mut scene = Scene::new();
    let request =
        INVITE.replace("Contact:", "Proxy-Require: foo,\n     bar\n    Proxy-Require: baz\n    Contact:");
    scene.bench.send("alice", &request);
    let response = scene.bench.take("alice").remove(0);
    assert_eq!(response.summary(), "420");
    assert_eq!(response.message().text(HeaderName::Unsupported), Some("foo, bar, baz"));
}

// RFC 5393 §5.3.3.
#[test]
fn max_breadth() {
    check_with("Max-Breadth: 0", "440");
}

// RFC 3261 §16.5, §21.4.5, §21.4.18: nobody, and somebody who is not there.
#[test]
fn users() {
    check(&[("sip:bob@example.test SIP", "sip:nobody@example.test SIP")], "404");
    check(&[("sip:bob@example.test SIP", "sip:dave@example.test SIP")], "480");
    // The server itself, and an address of ours that is no domain, have no users.
    check(&[("sip:bob@example.test SIP", "sip:example.test SIP")], "404");
    check(&[("sip:bob@example.test SIP", "sip:bob@192.0.2.1 SIP")], "404");
}

// RFC 3261 §16.5, RFC 5630 §5.3: a SIPS request goes to SIPS contacts only.
#[test]
fn sips() {
    check(&[("sip:bob@example.test SIP", "sips:bob@example.test SIP")], "480");
}

// No open relay: whatever Route, maddr or To tag a stranger writes.
#[test]
fn no_open_relay() {
    let away = ("sip:bob@example.test SIP", "sip:victim@203.0.113.5 SIP");
    check(&[away], "403");
    check(&[away, ("To: <sip:bob@example.test>", "To: <sip:bob@example.test>;tag=b")], "403");
    check(&[away, ("Contact:", "Route: <sip:192.0.2.1;lr>\n    Contact:")], "403");
    check(
        &[away, ("Contact:", "Route: <sip:00112233445566778899aabbccddeeff@192.0.2.1;lr>\n    Contact:")],
        "403",
    );
    check_with("Route: <sip:203.0.113.5;lr>", "403");
    check_with("Route: <sip:192.0.2.1;lr>, <sip:203.0.113.5;lr>", "403");
    // A strict router's form (§16.4) gives no more.
    check(
        &[
            ("sip:bob@example.test SIP", "sip:192.0.2.1;lr SIP"),
            ("Contact:", "Route: <sip:victim@203.0.113.5>\n    Contact:"),
        ],
        "403",
    );
}

// The token of one dialog opens no other.
#[test]
fn a_token_is_of_its_dialog() {
    let mut scene = Scene::new();
    scene.bench.play(
        "0ms alice> INVITE bob
         0ms alice< 100
         0ms bob< INVITE
        10ms bob> 200
        10ms alice< 200
        20ms alice> ACK
        20ms bob< ACK",
    );
    let invite = scene.bench.take("bob").remove(0);
    let route = invite.message().text(HeaderName::RecordRoute).expect("a Record-Route").to_owned();
    let away = INVITE
        .replace("sip:bob@example.test SIP", "sip:victim@203.0.113.5 SIP")
        .replace("Contact:", &format!("Route: {route}\n    Contact:"));
    scene.bench.take("alice");
    assert_eq!(scene.outcome(&away), ["403"], "another Call-ID");
    let same = away.replace("Call-ID: 1", "Call-ID: alice-1").replace("K-1", "K-2");
    assert_eq!(scene.outcome(&same), ["403"], "another tag");
    let same = same.replace("tag=a", "tag=alice-1").replace("K-2", "K-3");
    assert_eq!(scene.outcome(&same), ["100"], "its own");
    assert_eq!(scene.bench.take("far").len(), 1);
}

// Whom we know may call anybody.
#[test]
fn a_known_sender_is_relayed() {
    let mut scene = Scene::new();
    scene.trust();
    let away = INVITE.replace("sip:bob@example.test SIP", "sip:friend@203.0.113.5 SIP");
    assert_eq!(scene.outcome(&away), ["100"]);
    assert_eq!(scene.bench.take("far").len(), 1);
    // RFC 3261 §16.6 step 7: a name that nobody can resolve.
    let nowhere = away.replace("203.0.113.5", "nowhere.example").replace("K-1", "K-2");
    assert_eq!(scene.outcome(&nowhere), ["100", "502"]);
}
