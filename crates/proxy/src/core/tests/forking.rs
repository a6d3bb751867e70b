//! Whom a request goes to, one after another or at once, and which response goes upstream.

use super::{check, check_best};

// RFC 3261 §16.6 and §16.7 step 5: equal targets in parallel; the first 2xx goes upstream at once, the others are cancelled.
#[test]
fn parallel_forking() {
    check(
        "   0ms caller> INVITE a b
            0ms out 100
            0ms out forward a
            0ms out forward b
           10ms a> 100
           20ms a> 180
           20ms out relay 180
           30ms b> 183
           30ms out relay 183
         4000ms b> 200
         4000ms out relay 200
         4000ms out cancel a: completed elsewhere
         4010ms a> 487",
    );
}

// RFC 3261 §16.7 step 5, RFC 6026 §7.1: every 2xx of an INVITE goes upstream, each time it comes; nothing else does any more.
#[test]
fn several_2xx() {
    check(
        "   0ms caller> INVITE a b c
            0ms out 100
            0ms out forward a
            0ms out forward b
            0ms out forward c
          100ms a> 200
          100ms out relay 200
          100ms out cancel b: completed elsewhere
          100ms out cancel c: completed elsewhere
          101ms b> 180
          102ms c> 603
          103ms b> 200
          103ms out relay 200
          600ms a> 200
          600ms out relay 200",
    );
}

// RFC 3261 §16.6, §20.10: by falling q, each group when the one before it has ended.
#[test]
fn serial_forking() {
    check(
        "   0ms caller> INVITE a b@0.5 c@0.5 d@0.1
            0ms out 100
            0ms out forward a
          100ms a> 486
          100ms out forward b
          100ms out forward c
          200ms b> 404
          300ms c> 480
          300ms out forward d
          400ms d> 486
          400ms out best of a
          400ms out done",
    );
}

#[test]
fn a_2xx_ends_the_search() {
    check(
        "   0ms caller> INVITE a b@0.5
            0ms out 100
            0ms out forward a
          100ms a> 200
          100ms out relay 200",
    );
}

// RFC 3261 §16.7 step 6.
#[test]
fn the_best_response() {
    for (ends, expected) in [
        // The lowest class; of equal ones the first.
        (&["404", "302"] as &[&str], "best of b"),
        (&["500", "486"], "best of b"),
        (&["486", "486"], "best of a"),
        // 6xx before all.
        (&["302", "486", "603"], "best of c"),
        // Within 4xx what helps to try again.
        (&["404", "401"], "best of b"),
        (&["404", "407"], "best of b"),
        (&["486", "415"], "best of b"),
        (&["486", "420"], "best of b"),
        (&["486", "484"], "best of b"),
        (&["415", "407"], "best of b"),
        // What a callee said before what a timer or a flow said.
        (&["fails 408", "404"], "best of b"),
        (&["408", "480"], "best of b"),
        (&["fails 408", "408"], "best of b"),
        (&["fails 430", "404"], "best of b"),
        (&["fails 503", "500"], "best of b"),
        // What we answer of our own.
        (&["fails 408"], "answer 408"),
        // RFC 5626 §11.5: endpoints never receive a 430.
        (&["fails 430"], "answer 480"),
        (&["430"], "answer 480"),
        (&["fails 502"], "answer 502"),
        (&["503", "fails 408"], "answer 408"),
        // A 503 says that a server cannot serve: not that we cannot.
        (&["503"], "answer 500"),
        (&["fails 503"], "answer 500"),
        (&["503", "500"], "best of b"),
    ] {
        check_best("INVITE", ends, expected);
    }
}

// RFC 3261 §16.7 step 7: the challenges of all branches join the one that is chosen.
#[test]
fn challenges_are_merged() {
    check_best("INVITE", &["401", "407"], "best of a with b");
    check_best("INVITE", &["404", "401", "407"], "best of b with c");
    check_best("MESSAGE", &["407", "fails 408", "407"], "best of a with c");
}

// RFC 3261 §16.7 step 5: a 6xx cancels the others and ends the search, but goes upstream only when they have ended; a 2xx
// that comes meanwhile is preferred.
#[test]
fn a_6xx_ends_the_search() {
    check(
        "   0ms caller> INVITE a b c@0.5
            0ms out 100
            0ms out forward a
            0ms out forward b
          100ms b> 180
          100ms out relay 180
          200ms a> 603
          200ms out cancel b: declined 603
          300ms b> 183
          300ms out relay 183
          400ms b> 487
          400ms out best of a
          400ms out done",
    );
    check(
        "   0ms caller> INVITE a b
            0ms out 100
            0ms out forward a
            0ms out forward b
          200ms a> 600
          200ms out cancel b: declined 600
          300ms b> 200
          300ms out relay 200",
    );
}

// What comes twice, or on a branch that has ended, changes nothing.
#[test]
fn what_comes_too_late() {
    check(
        "   0ms caller> INVITE a b
            0ms out 100
            0ms out forward a
            0ms out forward b
          100ms a> 486
          101ms a> 486
          102ms a> 180
          103ms a> fails 408
          200ms b> 404
          200ms out best of a
          200ms out done
          300ms caller> CANCEL
          301ms b> 200",
    );
}
