//! Requests other than INVITE.

use super::{check, check_best};

// RFC 4320 §4.1: no 100 before the client's Timer E reaches T2, then one; no other provisional response at all.
#[test]
fn provisional_responses_to_another_request() {
    check(
        "   0ms caller> MESSAGE a
            0ms out forward a
          100ms a> 100
          200ms a> 180
         3500ms out 100
         9000ms a> 200
         9000ms out relay 200
         9000ms out done",
    );
    check(
        "   0ms caller> MESSAGE a
            0ms out forward a
          100ms a> 200
          100ms out relay 200
          100ms out done
         9000ms a> 200",
    );
}

// RFC 4320 §4.2: a 408 never answers another request than INVITE, neither ours nor a callee's.
#[test]
fn no_408_to_another_request() {
    check(
        "   0ms caller> MESSAGE a
            0ms out forward a
         3500ms out 100
        32000ms a> fails 408
        32000ms out abandon
        32000ms out done",
    );
    check_best("MESSAGE", &["408"], "abandon");
    check_best("MESSAGE", &["408", "fails 408"], "abandon");
    check_best("MESSAGE", &["fails 408", "500"], "best of b");
    check_best("MESSAGE", &["408", "404"], "best of b");
}

// RFC 3261 §16.7 step 5: the first 2xx answers another request than INVITE; there is no cancelling, and nothing more.
#[test]
fn a_forked_message() {
    check(
        "   0ms caller> MESSAGE a b
            0ms out forward a
            0ms out forward b
          100ms a> 404
          200ms b> 202
          200ms out relay 202
          200ms out done
          300ms a> 200",
    );
    check(
        "   0ms caller> MESSAGE a b
            0ms out forward a
            0ms out forward b
          100ms a> 603
          200ms b> 200
          200ms out relay 200
          200ms out done",
    );
}
