//! How many branches there are at a time.

use super::check;

// `branches_max`: further targets wait for their turn.
#[test]
fn branches_max() {
    check(
        "   0ms caller> INVITE a b c branches=2
            0ms out 100
            0ms out forward a
            0ms out forward b
          100ms b> 486
          100ms out forward c
          200ms a> 486
          300ms c> 486
          300ms out best of a
          300ms out done",
    );
}

// RFC 5393 §5.3.3: the branches alive share the Max-Breadth of the request.
#[test]
fn max_breadth() {
    check(
        "   0ms caller> INVITE a b c breadth=7
            0ms out 100
            0ms out forward a breadth 2
            0ms out forward b breadth 2
            0ms out forward c breadth 3",
    );
    check(
        "   0ms caller> INVITE a b c@0.5 breadth=1
            0ms out 100
            0ms out forward a breadth 1
          100ms a> 486
          100ms out forward b breadth 1
          200ms b> 486
          200ms out forward c breadth 1",
    );
    check(
        "   0ms caller> MESSAGE a b c breadth=2
            0ms out forward a breadth 1
            0ms out forward b breadth 1
          100ms b> fails 408
          100ms out forward c breadth 1",
    );
}

// RFC 5626 §7: one flow of an instance at a time; the next after a failure of the flow, none after the instance answered.
#[test]
fn one_flow_of_an_instance() {
    for failure in ["430", "408", "fails 430", "fails 408", "fails 503"] {
        check(&format!(
            "0ms caller> INVITE a/x b/x c
             0ms out 100
             0ms out forward a
             0ms out forward c
           100ms a> {failure}
           100ms out forward b
           200ms b> 200
           200ms out relay 200
           200ms out cancel c: completed elsewhere"
        ));
    }
    for answer in ["486", "404", "500", "302"] {
        check(&format!(
            "0ms caller> INVITE a/x b/x
             0ms out 100
             0ms out forward a
           100ms a> {answer}
           100ms out best of a
           100ms out done"
        ));
    }
    check(
        "0ms caller> MESSAGE a/x b/y c/x
         0ms out forward a
         0ms out forward b
       100ms a> 486
       200ms b> 430
       200ms out best of a
       200ms out done",
    );
}
