//! CANCEL, and branches that Timer C gives up.

use super::check;

// RFC 3261 §16.10: all branches are cancelled, nothing new begins, what they answer is the answer.
#[test]
fn cancel_from_upstream() {
    check(
        "   0ms caller> INVITE a b c@0.5
            0ms out 100
            0ms out forward a
            0ms out forward b
          100ms a> 180
          100ms out relay 180
         1000ms caller> CANCEL
         1000ms out cancel a: upstream
         1000ms out cancel b: upstream
         1001ms caller> CANCEL
         1100ms a> 487
         1200ms b> 487
         1200ms out best of a
         1200ms out done",
    );
}

// RFC 3261 §9.1: a branch that never answered, or does not answer its CANCEL, ends by a timer of its transaction; to the
// caller, who cancelled, that is a 487.
#[test]
fn cancel_of_silent_branches() {
    check(
        "   0ms caller> INVITE a
            0ms out 100
            0ms out forward a
          100ms caller> CANCEL
          100ms out cancel a: upstream
        32000ms a> fails 408
        32000ms out answer 487
        32000ms out done",
    );
}

// RFC 3261 §9.1, §9.2: the 200 and the CANCEL cross, either way round.
#[test]
fn cancel_and_200_cross() {
    check(
        "   0ms caller> INVITE a
            0ms out 100
            0ms out forward a
          100ms caller> CANCEL
          100ms out cancel a: upstream
          101ms a> 200
          101ms out relay 200",
    );
    check(
        "   0ms caller> INVITE a
            0ms out 100
            0ms out forward a
          100ms a> 200
          100ms out relay 200
          101ms caller> CANCEL",
    );
}

// RFC 3261 §9.1: only an INVITE is cancelled.
#[test]
fn cancel_of_another_request() {
    check(
        "   0ms caller> MESSAGE a
            0ms out forward a
          100ms caller> CANCEL
          200ms a> 404
          200ms out best of a
          200ms out done",
    );
}

// RFC 3261 §16.8: with a provisional response the branch is cancelled; to the caller the callee did not answer in time.
#[test]
fn timer_c() {
    check(
        "     0ms caller> INVITE a b@0.5
              0ms out 100
              0ms out forward a
           1000ms a> 100
         190000ms out cancel a: timer C
         190100ms a> 487
         190100ms out forward b
         380100ms out answer 408
         380100ms out done",
    );
}

// RFC 3261 §16.7 step 2: a provisional response other than 100 begins Timer C anew, for its branch alone.
#[test]
fn timer_c_is_reset() {
    check(
        "     0ms caller> INVITE a b
              0ms out 100
              0ms out forward a
              0ms out forward b
            500ms b> 180
            500ms out relay 180
           1000ms a> 180
           1000ms out relay 180
         100000ms a> 183
         100000ms out relay 183
         190500ms out cancel b: timer C
         190600ms b> 487
         290000ms out cancel a: timer C
         290001ms a> 180
         290001ms out relay 180
         290002ms a> 200
         290002ms out relay 200",
    );
}

// RFC 3261 §16.8: a branch that Timer C gave up without a CANCEL may still be accepted.
#[test]
fn a_2xx_after_timer_c() {
    check(
        "     0ms caller> INVITE a b
              0ms out 100
              0ms out forward a
              0ms out forward b
         189000ms b> 180
         189000ms out relay 180
         200000ms a> 200
         200000ms out relay 200
         200000ms out cancel b: completed elsewhere",
    );
}
