//! The copy that is forwarded, octet for octet (RFC 3261 §16.4, §16.6).

mod common;

use common::{Scene, target, target_by};
use proxy::Config;
use sip_message::{HeaderName, Transport};

/// A MESSAGE to a URI, with further header fields.
fn message(uri: &str, fields: &str) -> String {
    format!(
        "
        MESSAGE {uri} SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1
        Max-Forwards: 70
        From: <sip:alice@example.test>;tag=a
        To: <sip:bob@example.test>
        Call-ID: 1
        CSeq: 1 MESSAGE
        {fields}Content-Length: 0"
    )
}

/// The copy of that MESSAGE.
fn copy(uri: &str, fields: &str) -> String {
    format!(
        "
        MESSAGE {uri} SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.1:5060;branch=BRANCH;rport
        {fields}Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1
        Max-Forwards: 69
        From: <sip:alice@example.test>;tag=a
        To: <sip:bob@example.test>
        Call-ID: 1
        CSeq: 1 MESSAGE
        Content-Length: 0
        Max-Breadth: 60"
    )
}

/// Header field lines for a message that is indented like those above.
fn fields(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n        ")).collect()
}

// RFC 3261 §16.6 steps 2, 3, 4 and 8; RFC 3581 §3 and §4.
#[test]
fn an_invite() {
    Scene::new().check_forwarded(
        "
        INVITE sip:bob@example.test SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1;rport
        Max-Forwards: 70
        From: <sip:alice@example.test>;tag=a
        To: <sip:bob@example.test>
        Call-ID: 1
        CSeq: 1 INVITE
        Contact: <sip:alice@192.0.2.10>
        Content-Type: text/plain
        Content-Length: 7

        Hello",
        "bob",
        "
        INVITE sip:bob@192.0.2.20:5060 SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.1:5060;branch=BRANCH;rport
        Record-Route: <sip:TOKEN@192.0.2.1:5060;lr>
        Via: SIP/2.0/UDP 192.0.2.10:5060;received=192.0.2.10;branch=z9hG4bK-1;rport=5060
        Max-Forwards: 69
        From: <sip:alice@example.test>;tag=a
        To: <sip:bob@example.test>
        Call-ID: 1
        CSeq: 1 INVITE
        Contact: <sip:alice@192.0.2.10>
        Content-Type: text/plain
        Content-Length: 7
        Max-Breadth: 60

        Hello",
    );
}

// RFC 3261 §16.6 step 1: fields that no step names "MUST NOT be removed", and the copy "SHOULD maintain the ordering of the
// header fields"; here names, folding and spaces stay as they came, too.
#[test]
fn what_does_not_concern_a_proxy_stays_as_it_came() {
    Scene::new().check_forwarded(
        "
        MESSAGE sip:bob@example.test SIP/2.0
        X-First:   1
        vIA   :  SIP / 2.0 / UDP
            192.0.2.10:5060 ;branch=z9hG4bK-1
        t: \"Bob,
            the builder\" <sip:bob@example.test;x=%61> ;y
        f:Alice <sip:alice@example.test>;tag=a
        MAX-FORWARDS: 0070
        i: 1@[2001:db8::1]
        Subject:
        s: again
        X-Folded: a
         b
          \tc
        CSeq: 0001
          MESSAGE
        X-Umlaut: Größe
        Supported: , 100rel ,
        x-first: 2
        c: application/octet-stream
        l: 0",
        "bob",
        "
        MESSAGE sip:bob@192.0.2.20:5060 SIP/2.0
        X-First:   1
        Via: SIP/2.0/UDP 192.0.2.1:5060;branch=BRANCH;rport
        vIA   :  SIP / 2.0 / UDP
            192.0.2.10:5060 ;branch=z9hG4bK-1
        t: \"Bob,
            the builder\" <sip:bob@example.test;x=%61> ;y
        f:Alice <sip:alice@example.test>;tag=a
        MAX-FORWARDS: 69
        i: 1@[2001:db8::1]
        Subject:
        s: again
        X-Folded: a
         b
          \tc
        CSeq: 0001
          MESSAGE
        X-Umlaut: Größe
        Supported: , 100rel ,
        x-first: 2
        c: application/octet-stream
        l: 0
        Max-Breadth: 60",
    );
}

// RFC 3261 §16.6 step 3, RFC 5393 §5.3.3: what is missing is added.
#[test]
fn max_forwards_and_max_breadth() {
    for (sent, received) in
        [("", "70"), ("Max-Forwards: 1\n        ", "0"), ("Max-Forwards: 255\n        ", "254")]
    {
        let mut scene = Scene::new();
        let request = message("sip:bob@example.test", "Max-Breadth: 9\n        ");
        scene.outcome(&request.replace("Max-Forwards: 70\n        ", sent));
        let copy = scene.bench.take("bob").remove(0);
        assert_eq!(copy.message().text(HeaderName::MaxForwards), Some(received));
        assert_eq!(copy.message().text(HeaderName::MaxBreadth), Some("9"));
    }
}

// RFC 3261 §16.6 step 4: what begins a dialog is record-routed (INVITE, SUBSCRIBE, REFER), nothing else.
#[test]
fn record_route() {
    let record_routes = |config: Config, method: &str, to_tag: &str| {
        let mut scene = Scene::with(config);
        let request = message("sip:bob@example.test", "Contact: <sip:alice@192.0.2.10>\n        ");
        let request = request
            .replace("MESSAGE", method)
            .replace("To: <sip:bob@example.test>", &format!("To: <sip:bob@example.test>{to_tag}"));
        scene.outcome(&request);
        scene.bench.take("bob").remove(0).message().count(HeaderName::RecordRoute)
    };
    let with = Config::default();
    let without = Config { record_route: false, ..with };
    for (method, expected) in [
        ("INVITE", 1),
        ("SUBSCRIBE", 1),
        ("REFER", 1),
        ("MESSAGE", 0),
        ("OPTIONS", 0),
        ("NOTIFY", 0),
        ("FOO", 0),
    ] {
        assert_eq!(record_routes(with, method, ""), expected, "{method}");
        assert_eq!(record_routes(with, method, ";tag=b"), 0, "{method} in a dialog: the route set stands");
        assert_eq!(record_routes(without, method, ""), 0, "{method} without record_route");
    }
}

// RFC 5658 §4: where the transport changes, one value for each side, ours towards the callee on top.
#[test]
fn double_record_route() {
    let mut scene = Scene::new();
    scene.bench.add_agent("erin", Transport::Tcp, "192.0.2.40:5060");
    let contact = scene.bench.agent("erin").contact();
    scene.register("erin", [target(&contact)]);
    scene.check_forwarded(
        "
        INVITE sip:erin@example.test SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1
        Max-Forwards: 70
        From: <sip:alice@example.test>;tag=a
        To: <sip:erin@example.test>
        Call-ID: 1
        CSeq: 1 INVITE
        Contact: <sip:alice@192.0.2.10>
        Content-Length: 0",
        "erin",
        "
        INVITE sip:erin@192.0.2.40:5060;transport=tcp SIP/2.0
        Via: SIP/2.0/TCP 192.0.2.1:5060;branch=BRANCH
        Record-Route: <sip:TOKEN@192.0.2.1:5060;lr;transport=tcp>
        Record-Route: <sip:TOKEN@192.0.2.1:5060;lr>
        Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1
        Max-Forwards: 69
        From: <sip:alice@example.test>;tag=a
        To: <sip:erin@example.test>
        Call-ID: 1
        CSeq: 1 INVITE
        Contact: <sip:alice@192.0.2.10>
        Content-Length: 0
        Max-Breadth: 60",
    );
}

// RFC 3261 §16.4, RFC 5658 §4: Route values of ours are taken away, one or two of them.
#[test]
fn our_routes_are_popped() {
    let bob = "sip:bob@example.test";
    for route in [
        &["Route: <sip:192.0.2.1;lr>"] as &[&str],
        &["Route: <sip:192.0.2.1:5060;lr>", "Route: <sip:192.0.2.1;transport=tcp;lr>"],
        &["Route: \"us\" <sip:example.test;lr>;x=1 , <sip:192.0.2.1;lr>"],
    ] {
        Scene::new().check_forwarded(
            &message(bob, &fields(route)),
            "bob",
            &copy("sip:bob@192.0.2.20:5060", ""),
        );
    }
}

// RFC 3261 §16.6 steps 6 and 7: a loose router is the next hop, the Request-URI stays.
#[test]
fn a_loose_route_is_followed() {
    let routes =
        fields(&["Route: <sip:192.0.2.1;lr>, <sip:203.0.113.5;lr>", "Route: <sip:after.example;lr>"]);
    let left = fields(&["Route: <sip:203.0.113.5;lr>", "Route: <sip:after.example;lr>"]);
    // A Request-URI that we would not know is for the next hop to understand (§16.3 step 2).
    for uri in
        ["sip:bob@example.test", "sip:somebody@somewhere.example", "tel:+358-555-1234567", "urn:service:sos"]
    {
        let mut scene = Scene::new();
        scene.trust();
        let expected =
            copy(uri, "").replace("MESSAGE\n        Content", &format!("MESSAGE\n        {left}Content"));
        scene.check_forwarded(&message(uri, &routes), "far", &expected);
    }
}

// RFC 3261 §16.6 step 6: a strict router finds itself in the Request-URI, the target last in Route.
#[test]
fn a_strict_route_is_followed() {
    let routes = fields(&["Route: <sip:192.0.2.1;lr>, <sip:203.0.113.5>, <sip:after.example;lr>"]);
    let left = fields(&["Route: <sip:after.example;lr>"]);
    let mut scene = Scene::new();
    scene.trust();
    let expected = copy("sip:203.0.113.5", "")
        .replace("MESSAGE\n        Content", &format!("MESSAGE\n        {left}Content"));
    let last = "Content-Length: 0\n        Max-Breadth: 60";
    let expected = expected.replace(last, &format!("{last}\n        Route: <sip:friend@203.0.113.9>"));
    scene.check_forwarded(&message("sip:friend@203.0.113.9", &routes), "far", &expected);
}

// RFC 3261 §16.4: a strict router before us left our Record-Route value in the Request-URI, and the real one last in Route.
#[test]
fn a_strict_router_before_us_is_undone() {
    for routes in [
        &["Route: <sip:bob@example.test>"] as &[&str],
        &["Route: <sip:192.0.2.1;lr>, <sip:bob@example.test>"],
        &["Route: <sip:192.0.2.1;lr>", "Route: <sip:bob@example.test>"],
    ] {
        let request = message("sip:192.0.2.1:5060;lr", &fields(routes));
        Scene::new().check_forwarded(&request, "bob", &copy("sip:bob@192.0.2.20:5060", ""));
    }
}

// RFC 3327 §5.3: the Path of the binding becomes the Route.
#[test]
fn path() {
    let mut scene = Scene::new();
    scene
        .register("bob", [target_by("sip:bob@10.0.0.1", &["<sip:203.0.113.5;lr>", "<sip:edge.example;lr>"])]);
    let expected =
        copy("sip:bob@10.0.0.1", &fields(&["Route: <sip:203.0.113.5;lr>", "Route: <sip:edge.example;lr>"]));
    scene.check_forwarded(&message("sip:bob@example.test", ""), "far", &expected);

    // A strict router in it (RFC 3261 §16.6 step 6).
    let mut scene = Scene::new();
    scene.register("bob", [target_by("sip:bob@10.0.0.1", &["<sip:203.0.113.5>", "<sip:edge.example;lr>"])]);
    scene.bench.send("alice", &message("sip:bob@example.test", ""));
    let received = scene.bench.take("far").remove(0);
    let testkit::Received::Request(received) = received else { panic!("a request") };
    assert_eq!(received.uri_text(), "sip:203.0.113.5");
    let routes: Vec<&[u8]> = received.values(HeaderName::Route).collect();
    assert_eq!(routes, [b"<sip:edge.example;lr>" as &[u8], b"<sip:bob@10.0.0.1>"]);
}

// RFC 3261 §16.5: with a maddr that is not ours, the Request-URI is the only target.
#[test]
fn maddr() {
    let uri = "sip:bob@example.test;maddr=203.0.113.5";
    let mut scene = Scene::new();
    scene.bench.network.add_host("example.test", "203.0.113.5");
    scene.trust();
    scene.check_forwarded(&message(uri, ""), "far", &copy(uri, ""));
    Scene::new().check_forwarded(
        &message("sip:bob@example.test;maddr=192.0.2.1", ""),
        "bob",
        &copy("sip:bob@192.0.2.20:5060", ""),
    );
}

// RFC 3261 §22.3: credentials for a realm of ours have done their work, others are not ours to remove.
#[test]
fn proxy_authorization() {
    let credentials = |realm: &str| {
        format!(
            "Proxy-Authorization: Digest username=\"alice\", realm=\"{realm}\", nonce=\"n\", uri=\"sip:x\", response=\"r\""
        )
    };
    let (ours, theirs) = (credentials("example.test"), credentials("far.example"));
    let authorization = ours.replace("Proxy-", "");
    let sent = fields(&[&ours, &theirs, &authorization, &ours]);
    let expected = copy("sip:bob@192.0.2.20:5060", "").replace(
        "MESSAGE\n        Content",
        &format!("MESSAGE\n        {}Content", fields(&[&theirs, &authorization])),
    );
    Scene::new().check_forwarded(&message("sip:bob@example.test", &sent), "bob", &expected);
}

// RFC 3261 §18.2.1, RFC 3581 §4: the sender's address joins its Via where that says something else, or where `rport` asks.
#[test]
fn received_and_rport() {
    let via = "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1";
    for (sent, received) in [
        (via, via),
        (
            "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK-1",
            "Via: SIP/2.0/UDP 10.0.0.1;received=192.0.2.10;branch=z9hG4bK-1",
        ),
        (
            "Via: SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK-1",
            "Via: SIP/2.0/UDP 10.0.0.1;received=192.0.2.10;rport=5060;branch=z9hG4bK-1",
        ),
        // What the sender wrote into `received` itself counts for nothing.
        (
            "Via: SIP/2.0/UDP 10.0.0.1;received=203.0.113.9;branch=z9hG4bK-1",
            "Via: SIP/2.0/UDP 10.0.0.1;received=192.0.2.10;branch=z9hG4bK-1",
        ),
    ] {
        let request = message("sip:bob@example.test", "").replace(via, sent);
        let expected = copy("sip:bob@192.0.2.20:5060", "").replace(via, received);
        Scene::new().check_forwarded(&request, "bob", &expected);
    }
}

// RFC 3261 §16.6 step 9, §18.3: on a stream Content-Length must be there; a datagram may come without.
#[test]
fn content_length() {
    let mut scene = Scene::new();
    let request = message("sip:bob@example.test", "Content-Type: text/plain\n        ");
    let text = String::from_utf8(testkit::message(&request).to_vec()).expect("text");
    let without = text.replace("Content-Length: 0\r\n", "") + "Hello";
    scene.bench.send_bytes("alice", without.into());
    let copy = scene.bench.take("bob").remove(0);
    assert_eq!(copy.message().text(HeaderName::ContentLength), Some("5"));
    assert_eq!(copy.message().body(), b"Hello");
}

// RFC 5626 §7: a binding's own flow is the way to it, while it lives.
#[test]
fn the_flow_of_a_binding() {
    let mut scene = Scene::new();
    scene.bench.add_agent("erin", Transport::Tcp, "198.51.100.7:40000");
    let flow = scene.bench.agent("erin").flow;
    let behind_nat = common::target("sip:erin@erin.invalid;transport=tcp");
    scene.register("erin", [sip_service::Target { flow: Some(flow), ..behind_nat }]);
    scene.outcome(&message("sip:erin@example.test", ""));
    assert_eq!(scene.bench.take("erin").len(), 1);
    // RFC 5626 §11.5: that the flow is gone is not for the caller.
    scene.bench.network.close(flow.connection);
    assert_eq!(scene.outcome(&message("sip:erin@example.test", "").replace("K-1", "K-2")), ["480 MESSAGE"]);
}

// RFC 3261 §18.1.1: a request that does not fit a datagram goes by TCP.
#[test]
fn a_large_request_goes_by_tcp() {
    let mut scene = Scene::new();
    scene.bench.add_agent("bob by TCP", Transport::Tcp, "192.0.2.20:5060");
    scene.outcome(&message("sip:bob@example.test", &format!("X-Large: {}\n        ", "x".repeat(1200))));
    assert!(scene.bench.take("bob").is_empty());
    let copy = scene.bench.take("bob by TCP").remove(0);
    assert!(
        copy.message()
            .text(HeaderName::Via)
            .expect("a Via")
            .starts_with("SIP/2.0/TCP 192.0.2.1:5060;branch=")
    );
}
