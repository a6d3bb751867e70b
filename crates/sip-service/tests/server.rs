//! Server transactions: every request is answered, or deliberately not.

mod common;

use common::{Fate, bench, bench_with};
use sip_message::HeaderName;
use sip_service::{DROPPED, EndpointConfig, RESPONSES};

#[test]
fn a_dropped_request_is_answered_500_and_counted() {
    for fate in [Fate::Dropped, Fate::NotRescued] {
        let mut bench = bench(fate);
        bench.play(
            "0ms alice> MESSAGE bob
             0ms alice< 500 MESSAGE",
        );
        assert_eq!(bench.metric(DROPPED, "reason=\"unanswered\""), 1.0);
        assert_eq!(bench.metric(RESPONSES, "code=\"500\",method=\"MESSAGE\""), 1.0);
        assert_eq!(bench.endpoint.unanswered(), 0);
    }
}

#[test]
fn a_rescued_request_is_answered_once() {
    let mut bench = bench(Fate::Rescued(403));
    bench.play(
        "0ms alice> MESSAGE bob
         0ms alice< 403 MESSAGE",
    );
    assert_eq!(bench.metric(DROPPED, "unanswered"), 0.0);
    assert_eq!(bench.endpoint.unanswered(), 0);
}

// RFC 4320 §4.2: what may not be answered 408 is not answered at all; its transaction ends all the same.
#[test]
fn an_abandoned_request_is_not_answered() {
    for method in ["MESSAGE", "INVITE"] {
        let mut bench = bench(Fate::Abandoned);
        bench.play(&format!(
            "0ms alice> {method} bob
           500ms alice> again
         31000ms alice> again
         31990ms end> ."
        ));
        assert_eq!(bench.endpoint.transactions(), (1, 0));
        bench.run_to(32_010);
        assert_eq!(bench.endpoint.transactions(), (0, 0), "{method}: nothing is left of it");
        assert_eq!(bench.metric(RESPONSES, "") + bench.metric(DROPPED, ""), 0.0);
    }
}

// RFC 3261 §17.2: what comes again is not told to the user again.
#[test]
fn retransmissions_are_absorbed() {
    let mut bench = bench(Fate::Kept);
    bench.play(
        "0ms alice> INVITE bob
        50ms alice> again",
    );
    bench.user.answer(bench.now(), 180);
    bench.play(
        " 50ms alice< 180
         100ms alice> again
         100ms alice< 180",
    );
    assert_eq!(bench.user.kept.lock().len(), 1);
}

// RFC 3261 §16.11, §17.2.1: the ACK for a 2xx is the user's, one for another final response the transaction's.
#[test]
fn acks() {
    let mut refusing = bench(Fate::Answered(486));
    refusing.play(
        "0ms alice> INVITE bob
         0ms alice< 486
        10ms alice> ACK
        20ms alice> again
      9000ms end> .",
    );
    assert!(refusing.user.acks.lock().is_empty());

    let mut accepting = bench(Fate::Answered(200));
    let invite = "
        INVITE sip:bob@example.test SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1
        From: <sip:alice@example.test>;tag=1
        To: <sip:bob@example.test>
        Call-ID: 1
        CSeq: 1 INVITE";
    accepting.send("alice", invite);
    accepting.send("alice", &invite.replace("INVITE", "ACK").replace("K-1", "K-2"));
    assert_eq!(accepting.user.acks.lock().len(), 1);
}

// RFC 3261 §17.2.1: a final response that nobody acknowledges is counted.
#[test]
fn no_ack() {
    let mut bench = bench(Fate::Answered(486));
    bench.send("alice", &options(1).replace("OPTIONS", "INVITE"));
    bench.run_to(32_010);
    assert_eq!(bench.take("alice").len(), 11, "the first and ten by Timer G");
    assert_eq!(bench.metric(DROPPED, "reason=\"no_ack\""), 1.0);
}

// RFC 3261 §9.2, §16.10.
#[test]
fn a_cancel_is_answered_and_told() {
    let mut bench = bench(Fate::Kept);
    bench.play(
        "0ms alice> INVITE bob
        10ms alice> CANCEL | Reason: SIP;cause=600;text=\"Busy Everywhere\"
        10ms alice< 200 CANCEL
        20ms alice> again
        20ms alice< 200 CANCEL",
    );
    assert_eq!(*bench.user.cancelled.0.lock(), ["SIP;cause=600;text=\"Busy Everywhere\""], "once");
    bench.user.answer(bench.now(), 487);
    bench.play(
        "20ms alice< 487
         30ms alice> ACK",
    );
}

// RFC 3261 §9.2: a CANCEL after the final response is answered 200, and changes nothing.
#[test]
fn a_cancel_that_comes_too_late() {
    let mut bench = bench(Fate::Kept);
    bench.play("0ms alice> INVITE bob");
    bench.user.answer(bench.now(), 486);
    bench.play(
        " 0ms alice< 486
         10ms alice> CANCEL
         10ms alice< 200 CANCEL",
    );
    assert!(bench.user.cancelled.0.lock().is_empty());
}

// RFC 3261 §9.2.
#[test]
fn a_cancel_that_matches_nothing() {
    let mut bench = bench(Fate::Kept);
    bench.send("alice", &options(1).replace("OPTIONS", "CANCEL"));
    assert_eq!(summaries(&mut bench), ["481 CANCEL"]);
}

// `transactions_max`: 503 with Retry-After, which keeps no state.
#[test]
fn too_many_transactions() {
    let config = EndpointConfig { transactions_max: 32, ..EndpointConfig::default() };
    let mut bench = bench_with(Fate::Kept, config);
    for n in 0..100 {
        bench.send("alice", &options(n));
    }
    let refused = bench.take("alice");
    for response in &refused {
        assert_eq!(response.summary(), "503 OPTIONS");
        assert_eq!(response.message().text(HeaderName::RetryAfter), Some("10"));
    }
    let (servers, _) = bench.endpoint.transactions();
    assert!(servers <= 32 && servers + refused.len() == 100, "{servers} transactions");
    assert_eq!(bench.metric(DROPPED, "reason=\"transactions_max\""), refused.len() as f64);
}

// RFC 3261 §8.2, §21.4.1: a malformed request is answered without a transaction, each time it comes; a malformed response
// or ACK is dropped.
#[test]
fn malformed_messages() {
    let mut bench = bench(Fate::Answered(200));
    let malformed = options(1) + "\n        Max-Forwards: many";
    bench.send("alice", &malformed);
    bench.send("alice", &malformed);
    assert_eq!(summaries(&mut bench), ["400 OPTIONS", "400 OPTIONS"]);
    bench.send("alice", &malformed.replace("OPTIONS", "ACK"));
    bench.send("alice", &malformed.replace("OPTIONS sip:bob@example.test SIP/2.0", "SIP/2.0 200 OK"));
    assert!(summaries(&mut bench).is_empty());
    assert_eq!(bench.metric(DROPPED, "reason=\"malformed\""), 4.0);
    assert_eq!(bench.endpoint.transactions(), (0, 0));
}

fn options(n: u32) -> String {
    format!(
        "
        OPTIONS sip:bob@example.test SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-{n}
        From: <sip:alice@example.test>;tag=1
        To: <sip:bob@example.test>
        Call-ID: {n}
        CSeq: 1 OPTIONS"
    )
}

fn summaries(bench: &mut testkit::Bench<common::User>) -> Vec<String> {
    bench.take("alice").iter().map(|received| received.summary()).collect()
}
