//! Whole calls through the proxy: RFC 3261 §16.7 (responses), §16.8 (Timer C), §16.10 (CANCEL), §16.11 (ACK).

mod common;

use common::{Scene, target};
use sip_message::{HeaderName, StatusCode, Transport};
use sip_service::{DROPPED, Target};
use testkit::Received;

/// A scene in which bob has two phones, bob's and carol's.
fn forked() -> Scene {
    let mut scene = Scene::new();
    scene.register("bob", [target("sip:bob@192.0.2.20"), target("sip:carol@192.0.2.30")]);
    scene
}

fn response(received: Received) -> sip_message::Response {
    let Received::Response(response) = received else { panic!("a response") };
    response
}

// RFC 3261 §16.7, §16.11, §12.2: responses come back, the ACK for the 2xx and requests of both sides follow Record-Route.
#[test]
fn a_call() {
    let mut scene = Scene::new();
    scene.bench.play(
        "  0ms alice> INVITE bob
           0ms alice< 100
           0ms bob< INVITE
          10ms bob> 180
          10ms alice< 180
        2000ms bob> 200
        2000ms alice< 200
        2010ms alice> ACK
        2010ms bob< ACK
        3000ms alice> INVITE
        3000ms alice< 100
        3000ms bob< INVITE
        3010ms bob> 488
        3010ms bob< ACK
        3010ms alice< 488
        3020ms alice> ACK
        4000ms bob> INFO
        4000ms alice< INFO
        4010ms alice> 200 INFO
        4010ms bob< 200 INFO
        5000ms bob> BYE
        5000ms alice< BYE
        5010ms alice> 200 BYE
        5010ms bob< 200 BYE",
    );
    scene.settle(80_000);
}

// RFC 3261 §16.7 steps 3 and 9: our Via goes, all else stays as it came.
#[test]
fn a_response_passes_as_it_came() {
    let mut scene = Scene::new();
    scene.bench.play(
        "0ms alice> INVITE bob
         0ms alice< 100
         0ms bob< INVITE",
    );
    let invite = scene.bench.take("bob").remove(0);
    let vias: Vec<String> = invite
        .message()
        .lines(HeaderName::Via)
        .map(|via| String::from_utf8_lossy(via).into_owned())
        .collect();
    let [ours, theirs] = &vias[..] else { panic!("two Vias") };
    // In one line, as a response may have them (§7.3.1).
    let sent = format!(
        "
        SIP/2.0 183 Bitte warten
        v: {ours} , {theirs}
        X-First: 1
        f: <sip:alice@example.test>;tag=alice-1
        t: <sip:bob@example.test>;tag=b
        i: alice-1
        X-Folded: a
          b
        CSeq: 1 INVITE
        Content-Type: text/plain
        Content-Length: 7

        Hello"
    );
    scene.bench.take("alice");
    scene.bench.send("bob", &sent);
    let received = scene.bench.take("alice").remove(0);
    let expected = testkit::message(&sent.replace(&format!("{ours} , {theirs}"), theirs));
    assert_eq!(
        String::from_utf8_lossy(received.message().bytes()),
        String::from_utf8_lossy(&expected),
        "§16.7 step 9"
    );
}

// RFC 3261 §16.7 step 3: a response with no Via but ours is for nobody.
#[test]
fn a_response_without_another_via() {
    let mut scene = Scene::new();
    scene.bench.play(
        "0ms alice> MESSAGE bob
         0ms bob< MESSAGE",
    );
    let request = scene.bench.take("bob").remove(0);
    let via = request.message().text(HeaderName::Via).expect("a Via").to_owned();
    scene.bench.send(
        "bob",
        &format!(
            "
            SIP/2.0 200 OK
            Via: {via}
            From: <sip:alice@example.test>;tag=alice-1
            To: <sip:bob@example.test>;tag=b
            Call-ID: alice-1
            CSeq: 1 MESSAGE"
        ),
    );
    assert_eq!(scene.bench.take("alice").remove(0).summary(), "502 MESSAGE");
}

// RFC 3261 §16.7 steps 5 and 10: 2xx at once; the losers are cancelled, who has not answered yet as soon as it does (§9.1).
// RFC 3326 §3.1: they learn that it was no missed call.
#[test]
fn a_forked_call() {
    let mut scene = forked();
    scene.bench.show("Reason");
    scene.bench.play(
        "  0ms alice> INVITE bob
           0ms alice< 100
           0ms bob< INVITE
           0ms carol< INVITE
          10ms bob> 180
          10ms alice< 180
         100ms bob> 200
         100ms alice< 200
         110ms alice> ACK
         110ms bob< ACK
         500ms carol< INVITE
         510ms carol> 180
         510ms carol< CANCEL | Reason: SIP;cause=200;text=\"Call completed elsewhere\"
         520ms carol> 200 CANCEL
         530ms carol> 487
         530ms carol< ACK",
    );
    scene.settle(80_000);
}

// RFC 3261 §16.7 step 5, RFC 6026 §7.1: each 2xx passes, and each time that it comes; §13.2.2.4: each is acknowledged.
#[test]
fn several_2xx() {
    let mut scene = forked();
    scene.bench.play(
        "  0ms alice> INVITE bob
           0ms alice< 100
           0ms bob< INVITE
           0ms carol< INVITE
          10ms bob> 200
          10ms alice< 200
          15ms alice> ACK
          15ms bob< ACK
          20ms carol> 200
          20ms alice< 200
          25ms alice> ACK
          25ms carol< ACK
         510ms bob> 200
         510ms alice< 200
         600ms carol> BYE
         600ms alice< BYE
         610ms alice> 200 BYE
         610ms carol< 200 BYE",
    );
    scene.settle(80_000);
}

// RFC 3261 §16.7 step 5: a 6xx cancels the others and waits for them.
#[test]
fn declined() {
    let mut scene = forked();
    scene.bench.show("Reason");
    scene.bench.play(
        "  0ms alice> INVITE bob
           0ms alice< 100
           0ms bob< INVITE
           0ms carol< INVITE
          10ms bob> 180
          10ms alice< 180
         100ms carol> 603
         100ms carol< ACK
         100ms bob< CANCEL | Reason: SIP;cause=603;text=\"Decline\"
         110ms bob> 200 CANCEL
         120ms bob> 487
         120ms bob< ACK
         120ms alice< 603
         130ms alice> ACK",
    );
    scene.settle(80_000);
}

// RFC 3261 §16.6, §20.10: by falling q.
#[test]
fn serial_forking() {
    let mut scene = Scene::new();
    let later = Target { q_milli: 500, ..target("sip:carol@192.0.2.30") };
    scene.register("bob", [target("sip:bob@192.0.2.20"), later]);
    scene.bench.play(
        "  0ms alice> INVITE bob
           0ms alice< 100
           0ms bob< INVITE
         100ms bob> 486
         100ms bob< ACK
         100ms carol< INVITE
         200ms carol> 480
         200ms carol< ACK
         200ms alice< 486
         210ms alice> ACK",
    );
    scene.settle(80_000);
}

// RFC 3261 §16.10: the CANCEL is answered at once, and reaches who has answered provisionally; §9.1: who has not, later. Its
// Reason (RFC 3326) passes.
#[test]
fn cancel() {
    let mut scene = forked();
    scene.bench.show("Reason");
    scene.bench.play(
        "  0ms alice> INVITE bob
           0ms alice< 100
           0ms bob< INVITE
           0ms carol< INVITE
          10ms bob> 180
          10ms alice< 180
         100ms alice> CANCEL | Reason: SIP;cause=600;text=\"Enough\"
         100ms alice< 200 CANCEL
         100ms bob< CANCEL | Reason: SIP;cause=600;text=\"Enough\"
         110ms bob> 200 CANCEL
         120ms bob> 487
         120ms bob< ACK
         500ms carol< INVITE
         510ms carol> 100
         510ms carol< CANCEL | Reason: SIP;cause=600;text=\"Enough\"
         520ms carol> 200 CANCEL
         530ms carol> 487
         530ms carol< ACK
         530ms alice< 487
         540ms alice> ACK",
    );
    scene.settle(80_000);
}

// RFC 3261 §9.1: the 200 and the CANCEL cross.
#[test]
fn cancel_and_200_cross() {
    let mut scene = Scene::new();
    scene.bench.play(
        "  0ms alice> INVITE bob
           0ms alice< 100
           0ms bob< INVITE
          10ms bob> 180
          10ms alice< 180
          20ms alice> CANCEL
          20ms alice< 200 CANCEL
          20ms bob< CANCEL
          30ms bob> 200
          30ms alice< 200
          40ms alice> ACK
          40ms bob< ACK
          50ms bob> 481 CANCEL
          60ms alice> BYE
          60ms bob< BYE
          70ms bob> 200 BYE
          70ms alice< 200 BYE",
    );
    scene.settle(80_000);
}

// RFC 3261 §9.1: who does not answer its CANCEL is given up after 64*T1.
#[test]
fn cancel_is_not_answered() {
    let mut scene = Scene::new();
    scene.bench.play(
        "   0ms alice> INVITE bob
            0ms alice< 100
            0ms bob< INVITE
           10ms bob> 180
           10ms alice< 180
          100ms alice> CANCEL
          100ms alice< 200 CANCEL
          100ms bob< CANCEL
          110ms bob> 200 CANCEL
        32100ms alice< 487
        32110ms alice> ACK",
    );
    scene.settle(80_000);
}

// RFC 3261 §17.2.1, §17.1.1.2: each hop repeats for itself; the 100 and a final response again for an INVITE that comes again.
#[test]
fn retransmissions() {
    let mut scene = Scene::new();
    scene.bench.play(
        "   0ms alice> INVITE bob
            0ms alice< 100
            0ms bob< INVITE
          100ms alice> again
          100ms alice< 100
          500ms bob< INVITE
         1500ms bob< INVITE
         1600ms bob> 180
         1600ms alice< 180
         1700ms alice> again
         1700ms alice< 180
         9000ms bob> 486
         9000ms bob< ACK
         9000ms alice< 486
         9100ms bob> 486
         9100ms bob< ACK
         9200ms alice> again
         9200ms alice< 486
         9500ms alice< 486
        10500ms alice< 486
        10600ms alice> ACK
        10700ms alice> again",
    );
    scene.settle(80_000);
}

// RFC 4320 §4.1: no 100 before 3.5 s; RFC 3261 §17.2.2: the final response again for what comes again.
#[test]
fn a_message() {
    let mut scene = Scene::new();
    scene.bench.play(
        "   0ms alice> MESSAGE bob
            0ms bob< MESSAGE
          400ms bob> 100 MESSAGE
          500ms bob< MESSAGE
          500ms alice> again
         3500ms alice< 100 MESSAGE
         3600ms bob> 202 MESSAGE
         3600ms alice< 202 MESSAGE
         3700ms alice> again
         3700ms alice< 202 MESSAGE
         3800ms bob> 200 MESSAGE",
    );
    scene.settle(80_000);
}

// RFC 4320 §4.2: nobody answers, and no 408 says so.
#[test]
fn a_message_to_nobody() {
    let mut scene = Scene::new();
    scene.register("bob", [target("sip:bob@192.0.2.99")]);
    scene.bench.play(
        "   0ms alice> MESSAGE bob
         3500ms alice< 100 MESSAGE
        79000ms end> .",
    );
    scene.settle(80_000);
}

// RFC 3261 §16.7 step 6, §16.8: Timer B of an INVITE that nobody answers is a 408; the next target is tried.
#[test]
fn an_invite_to_nobody() {
    let mut scene = Scene::new();
    let later = Target { q_milli: 500, ..target("sip:carol@192.0.2.30") };
    scene.register("bob", [target("sip:bob@192.0.2.99"), later]);
    scene.bench.play(
        "    0ms alice> INVITE bob
             0ms alice< 100
         32000ms carol< INVITE
         32010ms carol> 404
         32010ms carol< ACK
         32010ms alice< 404
         32020ms alice> ACK",
    );
    scene.register("bob", [target("sip:bob@192.0.2.99")]);
    scene.bench.play(
        "70000ms alice> INVITE bob
         70000ms alice< 100
        102000ms alice< 408
        102010ms alice> ACK",
    );
    scene.settle(150_000);
}

// RFC 3261 §16.8: a phone that rings for longer than Timer C is cancelled.
#[test]
fn timer_c() {
    let mut scene = Scene::new();
    scene.bench.show("Reason");
    scene.bench.play(
        "     0ms alice> INVITE bob
              0ms alice< 100
              0ms bob< INVITE
             10ms bob> 180
             10ms alice< 180
         100000ms bob> 183
         100000ms alice< 183
         290000ms bob< CANCEL | Reason: SIP;cause=408;text=\"Request Timeout\"
         290010ms bob> 200 CANCEL
         290020ms bob> 487
         290020ms bob< ACK
         290020ms alice< 408
         290030ms alice> ACK",
    );
    scene.settle(380_000);
}

// RFC 3261 §16.7 step 6: that a next hop cannot serve does not mean that we cannot.
#[test]
fn a_503_becomes_a_500() {
    let mut scene = Scene::new();
    scene.bench.play(
        "0ms alice> INVITE bob
         0ms alice< 100
         0ms bob< INVITE
        10ms bob> 503 | Retry-After: 3600
        10ms bob< ACK
        10ms alice< 500
        20ms alice> ACK",
    );
    let response = response(scene.bench.take("alice").pop().expect("a response"));
    assert_eq!(response.status(), StatusCode::SERVER_INTERNAL_ERROR);
    assert!(response.header(HeaderName::RetryAfter).is_none());
}

// RFC 3261 §16.7 step 7: the caller sees the challenges of all branches, each as it came.
#[test]
fn challenges_are_merged() {
    let mut scene = forked();
    scene.bench.play(
        "0ms alice> INVITE bob
         0ms alice< 100
         0ms bob< INVITE
         0ms carol< INVITE
        10ms bob> 401 | WWW-Authenticate: Digest realm=\"b\", nonce=\"1\" | Proxy-Authenticate: Digest realm=\"x\", nonce=\"2\"
        10ms bob< ACK
        20ms carol> 407 | Proxy-Authenticate: Digest realm=\"c\", nonce=\"3\"
        20ms carol< ACK
        20ms alice< 401
        30ms alice> ACK",
    );
    let response = response(scene.bench.take("alice").pop().expect("a response"));
    let lines = |name| -> Vec<String> {
        response.lines(name).map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    };
    assert_eq!(lines(HeaderName::WwwAuthenticate), ["Digest realm=\"b\", nonce=\"1\""]);
    assert_eq!(
        lines(HeaderName::ProxyAuthenticate),
        ["Digest realm=\"x\", nonce=\"2\"", "Digest realm=\"c\", nonce=\"3\""]
    );
}

// RFC 5658 §4: with one phone on UDP and one on TCP, requests within the dialog change over, either way.
#[test]
fn a_call_across_transports() {
    let mut scene = Scene::new();
    scene.bench.add_agent("erin", Transport::Tcp, "192.0.2.40:5060");
    let contact = scene.bench.agent("erin").contact();
    scene.register("erin", [target(&contact)]);
    scene.bench.play(
        "  0ms alice> INVITE erin
           0ms alice< 100
           0ms erin< INVITE
          10ms erin> 200
          10ms alice< 200
          20ms alice> ACK
          20ms erin< ACK
          30ms erin> INVITE
          30ms erin< 100
          30ms alice< INVITE
          40ms alice> 200
          40ms erin< 200
          50ms erin> ACK
          50ms alice< ACK
          60ms alice> BYE
          60ms erin< BYE
          70ms erin> 200 BYE
          70ms alice< 200 BYE",
    );
    scene.settle(80_000);
}

// RFC 6665 §4.3: the NOTIFY of a record-routed SUBSCRIBE comes back through us.
#[test]
fn a_subscription_between_phones() {
    let mut scene = Scene::new();
    scene.bench.play(
        "  0ms alice> SUBSCRIBE bob | Event: dialog
           0ms bob< SUBSCRIBE
          10ms bob> 200 SUBSCRIBE
          10ms alice< 200 SUBSCRIBE
          20ms bob> NOTIFY | Event: dialog | Subscription-State: active
          20ms alice< NOTIFY
          30ms alice> 200 NOTIFY
          30ms bob< 200 NOTIFY",
    );
    scene.settle(80_000);
}

// RFC 3261 §16.11: a stray ACK goes to users of ours and along dialogs of ours, nowhere else; it is never answered.
#[test]
fn a_stray_ack() {
    let ack = "
        ACK sip:bob@example.test SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1
        Max-Forwards: 70
        From: <sip:alice@example.test>;tag=a
        To: <sip:bob@example.test>;tag=b
        Call-ID: 1
        CSeq: 1 ACK";
    let mut scene = forked();
    assert!(scene.outcome(ack).is_empty());
    let reached = scene.bench.take("bob").len() + scene.bench.take("carol").len();
    assert_eq!(reached, 1, "one dialog has one remote target");
    scene.trust();
    for uri in ["sip:victim@203.0.113.5", "sip:nobody@example.test"] {
        assert!(scene.outcome(&ack.replace("sip:bob@example.test SIP", &format!("{uri} SIP"))).is_empty());
    }
    assert!(scene.bench.take("far").is_empty());
    assert_eq!(scene.bench.metric(DROPPED, "reason=\"stray_ack\""), 2.0);
    assert_eq!(scene.bench.endpoint.transactions(), (0, 0));
}

// RFC 5626 §7: of the flows of one instance the next is tried when the first is gone, at once or by its answer.
#[test]
fn flows_of_an_instance() {
    let mut scene = Scene::new();
    scene.bench.add_agent("erin", Transport::Tcp, "198.51.100.7:40000");
    let dead = scene.bench.agent("erin").flow;
    scene.bench.network.close(dead.connection);
    let flow = |uri: &str, flow| Target { flow, instance: Some("urn:uuid:1".into()), ..target(uri) };
    scene.register(
        "bob",
        [
            flow("sip:bob@bob.invalid;transport=tcp", Some(dead)),
            flow("sip:bob@192.0.2.20", None),
            flow("sip:carol@192.0.2.30", None),
        ],
    );
    scene.bench.play(
        "  0ms alice> INVITE bob
           0ms alice< 100
           0ms bob< INVITE
          10ms bob> 430
          10ms bob< ACK
          10ms carol< INVITE
          20ms carol> 486
          20ms carol< ACK
          20ms alice< 486
          30ms alice> ACK",
    );
    scene.settle(80_000);
}
