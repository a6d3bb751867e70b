//! RFC 3261 §10.3, steps 6 to 8: what a REGISTER does to the bindings of an AOR.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // what fails here fails the test; a start is any instant

mod common;

use common::{Script, check, register};
use registrar::{Config, Error};

// RFC 3261 §10.2.3, §10.3 step 6 (conformance 3261-10.3-11).
#[test]
fn without_contact_the_bindings_are_listed_and_stay() {
    check(
        "
         0s  a/1  -                                           => nothing
         1s  a/2  Contact: <sip:a@192.0.2.1> | Expires: 100   => <sip:a@192.0.2.1>;expires=100
        11s  b/1  -                                           => <sip:a@192.0.2.1>;expires=90
        21s  b/2  Expires: 0                                  => <sip:a@192.0.2.1>;expires=80
    ",
    );
}

// RFC 3261 §10.3 step 7 (3261-10.3-15): the parameter wins over the header field, that over the default.
#[test]
fn whose_lifetime_counts() {
    check(
        "
        0s a/1 Contact: <sip:a@h>;expires=100, <sip:b@h> | Contact: <sip:c@h> | Expires: 200 => <sip:a@h>;expires=100 and <sip:b@h>;expires=200 and <sip:c@h>;expires=200
    ",
    );
    check("0s a/1  Contact: <sip:a@h>  => <sip:a@h>;expires=3600");
}

// RFC 3261 §10.3 step 7 (3261-10.3-16, -17): bounds.
#[test]
fn lifetimes_are_bounded() {
    check(
        "
        0s  a/1  Contact: <sip:a@h>;expires=59              => interval_too_brief
        0s  a/2  Contact: <sip:a@h> | Expires: 1            => interval_too_brief
        0s  a/3  Contact: <sip:a@h>;expires=60              => <sip:a@h>;expires=60
        0s  a/4  Contact: <sip:a@h>;expires=60000           => <sip:a@h>;expires=7200
        0s  a/5  Contact: <sip:a@h>;expires=99999999999999  => <sip:a@h>;expires=7200
    ",
    );
    let mut script = Script::default();
    let refused = script.register(script.start, &register("a", 1, "Contact: <sip:a@h>;expires=30"));
    assert_eq!(refused, Err(Error::IntervalTooBrief { min_expires_seconds: 60 }));
}

// RFC 3261 §10.2, §20.10 (3261-10.3-18): what is malformed counts for 3600.
#[test]
fn malformed_lifetimes_count_for_an_hour() {
    check(
        "
        0s  a/1  Contact: <sip:a@h>;expires=abc            => <sip:a@h>;expires=3600
        0s  a/2  Contact: <sip:a@h>;expires=-1             => <sip:a@h>;expires=3600
        0s  a/3  Contact: <sip:a@h>;expires                => <sip:a@h>;expires=3600
        0s  a/4  Contact: <sip:a@h>;expires=70             => <sip:a@h>;expires=70
        0s  a/5  Contact: <sip:a@h> | Expires: soon        => <sip:a@h>;expires=3600
        0s  a/6  Contact: * | Expires: soon                => bad_request
    ",
    );
}

// RFC 3261 §10.3 step 8 (3261-10.3-17): what is left, never more than was granted and never zero.
#[test]
fn remaining_seconds_are_rounded_up() {
    check(
        "
            0s  a/1  Contact: <sip:a@h>;expires=60  => <sip:a@h>;expires=60
          0.2s  b/1  -                              => <sip:a@h>;expires=60
          1.0s  b/2  -                              => <sip:a@h>;expires=59
         59.1s  b/3  -                              => <sip:a@h>;expires=1
       59.999s  b/4  -                              => <sip:a@h>;expires=1
           60s  b/5  -                              => nothing
    ",
    );
}

// RFC 3261 §10.2.4, §19.1.4: a refresh is found by URI equality, and leaves one binding with the newer spelling.
#[test]
fn refreshes() {
    check(
        "
         0s  a/1  Contact: <sip:a@Example.COM;transport=tcp>;expires=100;q=0.5  => <sip:a@Example.COM;transport=tcp>;q=0.5;expires=100
        10s  a/2  Contact: <sip:%61@example.com;Transport=TCP>;expires=200      => <sip:%61@example.com;Transport=TCP>;expires=200
        20s  a/3  Contact: <sip:a@example.com>;expires=100  => <sip:a@example.com>;expires=100 and <sip:%61@example.com;Transport=TCP>;expires=190
        30s  a/4  Contact: <sip:A@example.com>;expires=0    => <sip:a@example.com>;expires=90 and <sip:%61@example.com;Transport=TCP>;expires=180
        40s  a/5  Contact: <sip:a@example.com:5060>;expires=0    => <sip:a@example.com>;expires=80 and <sip:%61@example.com;Transport=TCP>;expires=170
    ",
    );
}

// RFC 3261 §19.1.4 is not transitive: what equals two bindings replaces both, and removes both.
#[test]
fn an_address_that_equals_two_bindings_stands_for_both() {
    let two = "0s a/1  Contact: <sip:a@h;x=1>, <sip:a@h;x=2> => <sip:a@h;x=1>;expires=3600 and <sip:a@h;x=2>;expires=3600\n";
    check(&format!("{two} 1s a/2 Contact: <sip:a@h> => <sip:a@h>;expires=3600"));
    check(&format!("{two} 1s a/2 Contact: <sip:a@h>;expires=0 => nothing"));
}

// RFC 3261 §10.2.2 (3261-10.3-22).
#[test]
fn removal_of_one() {
    check(
        "
        0s  a/1  Contact: <sip:a@h>, <sip:b@h>       => <sip:a@h>;expires=3600 and <sip:b@h>;expires=3600
        1s  a/2  Contact: <sip:a@h>;expires=0        => <sip:b@h>;expires=3599
        2s  a/3  Contact: <sip:a@h>;expires=0        => <sip:b@h>;expires=3598
        3s  b/1  Contact: <sip:b@h> | Expires: 0     => nothing
    ",
    );
}

// RFC 3261 §10.2.2, §10.3 step 6 (3261-10.3-12).
#[test]
fn removal_of_all() {
    check(
        "
        0s  a/1  Contact: <sip:a@h>, <sip:b@h>       => <sip:a@h>;expires=3600 and <sip:b@h>;expires=3600
        1s  a/2  Contact: *                          => bad_request
        1s  a/3  Contact: * | Expires: 10            => bad_request
        1s  a/4  Contact: *, <sip:a@h> | Expires: 0  => bad_request
        1s  a/5  Contact: * | Contact: <sip:a@h> | Expires: 0 => bad_request
        1s  a/6  Contact: *;expires=0                => bad_request
        1s  b/1  Contact: * | Expires: 0             => nothing
        1s  b/2  Contact: * | Expires: 0             => nothing
    ",
    );
}

// RFC 3261 §10.3 steps 6 and 7 (3261-10.3-19): under one Call-ID only a higher CSeq counts.
#[test]
fn order_of_requests() {
    check(
        "
        0s  a/5  Contact: <sip:a@h>;expires=100    => <sip:a@h>;expires=100
        0s  a/5  Contact: <sip:a@h>;expires=200    => out_of_order
        0s  a/4  Contact: <sip:a@h>;expires=200    => out_of_order
        0s  a/4  Contact: <sip:a@h>;expires=0      => out_of_order
        0s  a/5  Contact: * | Expires: 0           => out_of_order
        0s  a/4  -                                 => <sip:a@h>;expires=100
        0s  b/1  Contact: <sip:a@h>;expires=300    => <sip:a@h>;expires=300
        0s  a/4  Contact: <sip:a@h>;expires=400    => <sip:a@h>;expires=400
        0s  a/3  Contact: <sip:b@h>;expires=400    => <sip:a@h>;expires=400 and <sip:b@h>;expires=400
        0s  a/4  Contact: * | Expires: 0           => out_of_order
        0s  a/5  Contact: * | Expires: 0           => nothing
        0s  a/1  Contact: <sip:a@h>;expires=100    => <sip:a@h>;expires=100
    ",
    );
}

// RFC 3261 §10.3 step 6: `*` of another Call-ID removes whatever its CSeq.
#[test]
fn another_call_id_removes_all() {
    check(
        "
        0s  a/9  Contact: <sip:a@h>        => <sip:a@h>;expires=3600
        0s  b/1  Contact: * | Expires: 0   => nothing
    ",
    );
}

// RFC 3261 §10.3: an expired binding is none, also for the order of requests.
#[test]
fn what_has_expired_counts_for_nothing() {
    check(
        "
         0s  a/9  Contact: <sip:a@h>;expires=60   => <sip:a@h>;expires=60
        60s  a/1  Contact: <sip:a@h>;expires=60   => <sip:a@h>;expires=60
    ",
    );
}

// RFC 3261 §10.3 (3261-10.3-4, 3261-8.2-1): atomic. `Script::run` asserts that a refused request changes nothing.
#[test]
fn a_request_is_carried_out_whole_or_not_at_all() {
    check(
        "
        0s  a/1  Contact: <sip:a@h>                                         => <sip:a@h>;expires=3600
        1s  b/1  Contact: <sip:b@h>, <sip:c@h>, <sip:d@h>;expires=5         => interval_too_brief
        1s  b/2  Contact: <sip:b@h>, <sip:a@h>;expires=0, <sip:c@h>;q=7     => bad_request
        1s  b/3  Contact: <sip:b@h>, <sip:c@h:port>                         => bad_request
        1s  a/1  Contact: <sip:b@h>, <sip:a@h>                              => out_of_order
        1s  b/4  -                                                          => <sip:a@h>;expires=3599
    ",
    );
}

// RFC 3261 §10.3 step 7: one request adds, refreshes and removes.
#[test]
fn one_request_does_several_things() {
    check(
        "
        0s  a/1  Contact: <sip:a@h>, <sip:b@h>  => <sip:a@h>;expires=3600 and <sip:b@h>;expires=3600
        1s  a/2  Contact: <sip:a@h>;expires=0, <sip:c@h>;expires=100, <sip:b@h>;expires=200 => <sip:b@h>;expires=200 and <sip:c@h>;expires=100
        2s  a/3  Contact: <sip:d@h>;expires=70, <sip:d@h>;expires=80  => <sip:b@h>;expires=199 and <sip:c@h>;expires=99 and <sip:d@h>;expires=80
        3s  a/4  Contact: <sip:e@h>, <sip:e@h>;expires=0  => <sip:b@h>;expires=198 and <sip:c@h>;expires=98 and <sip:d@h>;expires=79
    ",
    );
}

// RFC 3261 §20.10, §10.3 step 8: parameters come back; RFC 4475 §3.3.12, §3.3.13, §3.3.14: and stay where they were.
#[test]
fn parameters_come_back() {
    check(
        r#"
        0s a/1 Contact: "Alice, A." <sip:a@h>;Q=0.250;x="1;2";methods="INVITE";y => "Alice, A." <sip:a@h>;q=0.25;x="1;2";methods="INVITE";y;expires=3600
        0s a/2 Contact: Alice <sip:a@h;y;lr>;q=1.0  => Alice <sip:a@h;y;lr>;q=1;expires=3600
        0s a/3 m: sip:a@h;x;expires=60              => <sip:a@h>;x;expires=60
        0s a/4 Contact: <sip:a@h>;expires=0         => nothing
        0s a/5 Contact: <sip:a@h?Route=%3Csip:h%3E> => <sip:a@h?Route=%3Csip:h%3E>;expires=3600
        0s a/6 Contact: <tel:+1-201-555-0123>;q=0   => <sip:a@h?Route=%3Csip:h%3E>;expires=3600 and <tel:+1-201-555-0123>;q=0;expires=3600
        0s a/7 Contact: <tel:+12015550123>;expires=0, <mailto:a@h> => <sip:a@h?Route=%3Csip:h%3E>;expires=3600 and <mailto:a@h>;expires=3600
    "#,
    );
}

// RFC 3261 §25.1 (3261-10.3-30); RFC 4475 §3.1.2.13.
#[test]
fn illegal_parameters_are_refused() {
    check(
        r#"
        0s  a/1  Contact: <sip:a@h>;q=7                                      => bad_request
        0s  a/1  Contact: <sip:a@h>;q                                        => bad_request
        0s  a/1  Contact: <sip:a@h>;+sip.instance="<urn:x:y>";reg-id=0       => bad_request
        0s  a/1  Contact: <sip:a@h>;+sip.instance="<urn:x:\"y>"              => bad_request
        0s  a/1  Contact: <sip:a b@h>                                        => bad_request
        0s  a/1  Contact: a@h                                                => bad_request
        0s  a/1  Contact: sip:a@h?Route=%3Csip:h%3E                          => bad_request
    "#,
    );
}

// RFC 5627 §5.1 (5627-5.1-3): a contact that is the AOR would loop.
#[test]
fn a_contact_must_lead_elsewhere() {
    check(
        r#"
        0s a/1 Contact: <sip:alice@example.test>                       => forbidden_contact
        0s a/1 Contact: <sips:alice@EXAMPLE.test;transport=tcp>        => forbidden_contact
        0s a/1 Contact: <sip:%61lice@example.test>                     => forbidden_contact
        0s a/1 Contact: <tel:+1>;+sip.instance="<urn:uuid:0>"          => forbidden_contact
        0s a/1 Contact: <sip:alice@example.test>;expires=0             => nothing
        0s a/1 Contact: <sip:alice@example.test:5062>, <sip:bob@example.test> => <sip:alice@example.test:5062>;expires=3600 and <sip:bob@example.test>;expires=3600
    "#,
    );
}

// RFC 5630 §5.2, §5.1.1.1 (3261-10.2.1-1).
#[test]
fn sips_contacts() {
    check("0s a/1  Contact: <sips:a@h>  => bad_request");
    let mut script = Script::default();
    let sips = |contact: &str, path: &str| {
        common::request(&format!(
            "REGISTER sips:example.test SIP/2.0
             Via: SIP/2.0/TLS 192.0.2.1:5061;branch=z9hG4bK{}
             From: <sips:alice@example.test>;tag=1
             To: <sips:alice@example.test>
             Call-ID: {}
             CSeq: 1 REGISTER
             Contact: {contact}
             {path}",
            contact.len() + path.len(),
            contact.len() + path.len(),
        ))
    };
    let listed =
        |script: &mut Script, contact, path| script.register(script.start, &sips(contact, path)).unwrap();
    assert_eq!(listed(&mut script, "<sips:a@h>", "Path: <sips:p;lr>"), ["<sips:a@h>;expires=3600"]);
    let refused = script.register(script.start, &sips("<sips:a@h>", "Path: <sip:p;lr>"));
    assert_eq!(refused.unwrap_err().label(), "bad_request");
    // One address in either scheme is one binding: the later replaces the earlier.
    assert_eq!(listed(&mut script, "<sip:a@H>", "X: y"), ["<sip:a@H>;expires=3600"]);
    assert_eq!(listed(&mut script, "<sips:a@h>;expires=90", "X: yz"), ["<sips:a@h>;expires=90"]);
}

// RFC 5626 §6 (5626-4.1-1, 5626-6-2): bound by instance and reg-id, whatever the URI and the Call-ID.
#[test]
fn an_instance_and_its_flow_are_one_binding() {
    check(
        r#"
        0s a/1 Contact: <sip:a@h>;+sip.instance="<urn:uuid:AB>";reg-id=1  => <sip:a@h>;+sip.instance="<urn:uuid:AB>";reg-id=1;expires=3600
        0s b/1 Contact: <sip:b@i>;reg-id=1;+sip.instance="<urn:uuid:ab>"  => <sip:b@i>;+sip.instance="<urn:uuid:ab>";reg-id=1;expires=3600
        0s c/1 Contact: <sip:b@i>;reg-id=2;+sip.instance="<urn:uuid:ab>";expires=90  => <sip:b@i>;+sip.instance="<urn:uuid:ab>";reg-id=1;expires=3600 and <sip:b@i>;+sip.instance="<urn:uuid:ab>";reg-id=2;expires=90
        0s b/1 Contact: <sip:x@i>;reg-id=1;+sip.instance="<urn:uuid:ab>"  => out_of_order
        0s b/2 Contact: <sip:x@i>;reg-id=1;+sip.instance="<urn:uuid:ab>";expires=0  => <sip:b@i>;+sip.instance="<urn:uuid:ab>";reg-id=2;expires=90
        0s d/1 Contact: <sip:p@h>;expires=60 => <sip:p@h>;expires=60 and <sip:b@i>;+sip.instance="<urn:uuid:ab>";reg-id=2;expires=90
    "#,
    );
}

// RFC 5626 §6 (5626-6-7): devices with and without it, side by side.
#[test]
fn one_address_does_not_ring_twice() {
    check(
        r#"
        0s a/1 Contact: <sip:a@h>  => <sip:a@h>;expires=3600
        0s b/1 Contact: <sip:a@h>;+sip.instance="<urn:uuid:1>";reg-id=1  => <sip:a@h>;+sip.instance="<urn:uuid:1>";reg-id=1;expires=3600
        0s b/2 Contact: <sip:a@h>;expires=60  => <sip:a@h>;expires=60
    "#,
    );
}

// RFC 5626 §6: reg-id without instance is ignored; one flow in one request.
#[test]
fn reg_id_has_its_conditions() {
    check(
        r#"
        0s a/1 Contact: <sip:a@h>;reg-id=1 => <sip:a@h>;expires=3600
        0s a/2 Contact: <sip:b@h>;reg-id=1 => <sip:a@h>;expires=3600 and <sip:b@h>;expires=3600
        0s a/3 Contact: <sip:c@h>;reg-id=1;+sip.instance="<urn:uuid:1>", <sip:d@h> => bad_request
        0s a/4 Contact: <sip:c@h>;reg-id=1;+sip.instance="<urn:uuid:1>", <sip:a@h>;expires=0 => <sip:b@h>;expires=3600 and <sip:c@h>;+sip.instance="<urn:uuid:1>";reg-id=1;expires=3600
    "#,
    );
}

// RFC 5627 §4.1: an instance without RFC 5626 has one contact; when it moves, the former one goes.
#[test]
fn an_instance_that_moved_is_where_it_was_last() {
    check(
        r#"
        0s a/1 Contact: <sip:a@h>;+sip.instance="<urn:uuid:1>"  => <sip:a@h>;+sip.instance="<urn:uuid:1>";expires=3600
        1s a/1 Contact: <sip:a@i>;+sip.instance="<urn:uuid:1>"  => out_of_order
        1s b/1 Contact: <sip:a@i>;+sip.instance="<urn:uuid:1>"  => <sip:a@i>;+sip.instance="<urn:uuid:1>";expires=3600
        2s b/2 Contact: <sip:a@h>;+sip.instance="<urn:uuid:1>";expires=0  => <sip:a@i>;+sip.instance="<urn:uuid:1>";expires=3599
        3s b/3 Contact: <sip:a@j>;+sip.instance="<urn:uuid:1>", <sip:a@k>;+sip.instance="<urn:uuid:1>"  => <sip:a@j>;+sip.instance="<urn:uuid:1>";expires=3600 and <sip:a@k>;+sip.instance="<urn:uuid:1>";expires=3600
    "#,
    );
}

// RFC 3327 §5.3 (3327-5.3-1, 3327-5.3-5): each binding has the Path of the request that made it.
#[test]
fn paths_are_kept_in_order() {
    let mut script = Script::default();
    script.run(
        "
        0s a/1 Path: <sip:p1.test;lr>,<sip:p2.test;lr> | Path: <sip:p3.test;lr> | Contact: <sip:a@h> => <sip:a@h>;expires=3600
        0s b/1 Path: <sip:q.test;lr> | Supported: path | Contact: <sip:b@h> => <sip:a@h>;expires=3600 and <sip:b@h>;expires=3600
        0s c/1 Contact: <sip:c@h>;expires=60 => <sip:a@h>;expires=3600 and <sip:b@h>;expires=3600 and <sip:c@h>;expires=60
    ",
    );
    let path = |uri: &str| -> Vec<String> {
        let binding = script.bindings.iter().find(|binding| &*binding.uri == uri).unwrap();
        binding.path.iter().flat_map(|path| path.iter()).map(ToString::to_string).collect()
    };
    assert_eq!(path("sip:a@h"), ["<sip:p1.test;lr>", "<sip:p2.test;lr>", "<sip:p3.test;lr>"]);
    assert_eq!(path("sip:b@h"), ["<sip:q.test;lr>"]);
    assert!(path("sip:c@h").is_empty());
    check(
        "
        0s a/1 Path: <sip:a b> | Contact: <sip:a@h>      => bad_request
        0s a/1 Path: <mailto:a@b> | Contact: <sip:a@h>   => bad_request
    ",
    );
}

// Every limit has a status (conformance 3261-10.3-31).
#[test]
fn limits() {
    let mut script = Script {
        config: Config {
            bindings_per_aor_max: 2,
            contacts_per_request_max: 3,
            contact_bytes_max: 40,
            path_values_max: 2,
            path_bytes_max: 24,
            call_id_bytes_max: 10,
            ..Config::default()
        },
        ..Script::default()
    };
    script.run(
        "
        0s a/1  Contact: <sip:a@h>, <sip:b@h>, <sip:c@h>            => too_many_bindings
        0s a/1  Contact: <sip:a@h>, <sip:b@h>, <sip:c@h>;expires=0  => <sip:a@h>;expires=3600 and <sip:b@h>;expires=3600
        0s b/1  Contact: <sip:c@h>                                  => too_many_bindings
        0s b/2  Contact: <sip:a@h>;expires=60                       => <sip:a@h>;expires=60 and <sip:b@h>;expires=3600
        0s b/3  Contact: <sip:c@h>;expires=60, <sip:b@h>;expires=0  => <sip:a@h>;expires=60 and <sip:c@h>;expires=60
        0s b/4  Contact: <sip:a@h>, <sip:a@h>, <sip:a@h>, <sip:a@h> => limit_exceeded
        0s b/4  Contact: <sip:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@h>;expires=0  => limit_exceeded
        0s b/4  Path: <sip:p>,<sip:q>,<sip:r>                       => limit_exceeded
        0s b/4  Path: <sip:pppppppppppp>,<sip:q>                    => limit_exceeded
        0s longer-than-10/1  Contact: <sip:a@h>                     => limit_exceeded
       60s b/4  Contact: <sip:d@h>, <sip:e@h>                       => <sip:d@h>;expires=3600 and <sip:e@h>;expires=3600
    ",
    );
    // A limit that a reload lowered stops only what would add.
    script.config.bindings_per_aor_max = 1;
    script.run(
        "
       60s b/5  Contact: <sip:d@h>;expires=60                       => <sip:d@h>;expires=60 and <sip:e@h>;expires=3600
       60s b/6  Contact: <sip:f@h>;expires=60                       => too_many_bindings
    ",
    );
}
