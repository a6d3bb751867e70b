//! The subscription machine under virtual time. A script names what happens and everything that must come of it:
//!
//! - `sub> expires=N [id=X] [pending]`: a SUBSCRIBE is accepted; `sub> … refused` one that must not be
//! - `net> CODE [retry-after=N]`, `net> timeout`, `net> unreachable`: the outcome of the NOTIFY in flight
//! - `state> N`: the resource's state has version N
//! - `end> REASON`, `grant>`: policy
//! - `out …`: what the machine puts out; all of it, in order, at that time
//!
//! The machine is woken at every deadline, as its owner would.

#![allow(clippy::disallowed_methods)] // virtual time begins somewhere

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_event::{Dialog, Error, Failure, Input, Output, Outputs, Permission, Policy, Reason, Subscribe};
use sip_message::{Limits, Request, StatusCode};

const SUBSCRIBE: &str = "SUBSCRIBE sip:alice@example.test SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKa\r\n\
    From: <sip:bob@example.test>;tag=w\r\n\
    To: <sip:alice@example.test>\r\n\
    Call-ID: c1\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:bob@192.0.2.2>\r\n\
    Event: presence\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

struct Bench {
    dialog: Dialog,
    policy: Policy,
    start: Instant,
    now: Instant,
    version: u64,
    log: Vec<String>,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        let request = Request::parse(Bytes::from_static(SUBSCRIBE.as_bytes()), &Limits::default())
            .unwrap_or_else(|e| panic!("{e}"));
        let dialog =
            Dialog::create(&request, "n", "<sip:alice@192.0.2.1>".into(), "presence").expect("a dialog");
        let start = Instant::now();
        Self { dialog, policy, start, now: start, version: 1, log: Vec::new() }
    }

    fn record(&mut self, outputs: &Outputs) {
        let ms = (self.now - self.start).as_millis();
        for output in outputs {
            let text = match output {
                Output::Notify(n) => {
                    let state = if n.with_state { format!(" state={}", n.version) } else { String::new() };
                    format!("NOTIFY {} {}{state}", n.cseq, n.state)
                }
                Output::Ended(cause) => format!("ended {cause:?}"),
            };
            self.log.push(format!("{ms}ms {text}"));
        }
    }

    fn input(&mut self, input: Input) {
        let outputs = self.dialog.handle(self.now, &self.policy, self.version, input);
        self.record(&outputs);
    }

    /// Lets time pass, waking the machine when it asks for it.
    fn advance(&mut self, to: Instant) {
        while let Some(due) = self.dialog.deadline(&self.policy, self.version).filter(|due| *due <= to) {
            assert!(
                due > self.now || due == self.start,
                "a deadline that does not pass: {:?}",
                due - self.start
            );
            self.now = due;
            self.input(Input::Wake);
        }
        self.now = to;
    }

    fn subscribe(&mut self, words: &[&str]) {
        let value = |name: &str| words.iter().find_map(|w| w.strip_prefix(name));
        let subscribe = Subscribe {
            id: value("id="),
            expires_seconds: value("expires=").expect("expires=").parse().expect("a number"),
            permission: if words.contains(&"pending") { Permission::Awaited } else { Permission::Granted },
        };
        let result = self.dialog.subscribe(self.now, &self.policy, self.version, &subscribe);
        assert_eq!(result.is_err(), words.contains(&"refused"), "{words:?}: {result:?}");
        if let Ok(outputs) = result {
            self.record(&outputs);
        }
    }
}

fn check(script: &str) {
    check_with(Policy::default(), script);
}

fn check_with(policy: Policy, script: &str) {
    let mut bench = Bench::new(policy);
    let mut expected = Vec::new();
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (time, actor, rest) = (words[0], words[1], &words[2..]);
        let ms: u64 = time.trim_end_matches("ms").parse().expect("a time in ms");
        if actor == "out" {
            expected.push(format!("{time} {}", rest.join(" ")));
            continue;
        }
        bench.advance(bench.start + Duration::from_millis(ms));
        match (actor, rest) {
            ("sub>", rest) => bench.subscribe(rest),
            ("net>", ["timeout"]) => bench.input(Input::Failed(Failure::Timeout)),
            ("net>", ["unreachable"]) => bench.input(Input::Failed(Failure::Unreachable)),
            ("net>", [code, rest @ ..]) => {
                let code = StatusCode::new(code.parse().expect("a code")).expect("a status code");
                let retry_after_seconds = rest
                    .first()
                    .and_then(|r| r.strip_prefix("retry-after="))
                    .map(|n| n.parse().expect("seconds"));
                bench.input(Input::Answered { code, retry_after_seconds });
            }
            ("state>", [version]) => {
                bench.version = version.parse().expect("a version");
                bench.input(Input::Changed);
            }
            ("end>", [reason]) => bench.input(Input::End(match *reason {
                "noresource" => Reason::NoResource,
                "deactivated" => Reason::Deactivated,
                "rejected" => Reason::Rejected,
                other => panic!("reason {other}"),
            })),
            ("grant>", []) => bench.input(Input::Granted),
            ("idle>", []) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.log, expected, "\n got:\n{}", bench.log.join("\n"));
}

// RFC 6665 §4.2.1.2, §4.2.2: full state at once, and again on every change.
#[test]
fn state_is_told_at_once_and_on_every_change() {
    check(
        "
            0ms sub>   expires=60
            0ms out    NOTIFY 1 active;expires=60 state=1
           20ms net>   200
         1500ms state> 2
         1500ms out    NOTIFY 2 active;expires=58 state=2
         1520ms net>   200
    ",
    );
}

// RFC 6665 §4.2.2: one NOTIFY in flight, and of what happens meanwhile only the latest state is sent.
#[test]
fn latest_state_wins() {
    check(
        "
            0ms sub>   expires=60
            0ms out    NOTIFY 1 active;expires=60 state=1
          100ms state> 2
          200ms state> 3
          300ms state> 4
          500ms net>   200
          500ms out    NOTIFY 2 active;expires=59 state=4
          600ms net>   200
    ",
    );
}

// A state that was acknowledged is not sent again.
#[test]
fn a_state_that_comes_back_is_not_sent() {
    check(
        "
            0ms sub>   expires=60
            0ms out    NOTIFY 1 active;expires=60 state=1
          100ms state> 2
          200ms state> 1
          500ms net>   200
          600ms state> 1
    ",
    );
}

// RFC 6665 §4.2.1.4: a refresh restarts the time and brings the full state, changed or not.
#[test]
fn refresh_brings_the_state() {
    check(
        "
            0ms sub>   expires=60
            0ms out    NOTIFY 1 active;expires=60 state=1
           10ms net>   200
        50000ms sub>   expires=30
        50000ms out    NOTIFY 2 active;expires=30 state=1
        50010ms net>   200
        80000ms idle>
        80000ms out    NOTIFY 3 terminated;reason=timeout
        80010ms net>   200
        80010ms out    ended Terminated(Timeout)
    ",
    );
}

// RFC 6665 §4.4.3: a poll is one NOTIFY with the full state and reason=timeout, and no `expires` (§4.1.3).
#[test]
fn poll() {
    check(
        "
            0ms sub> expires=0
            0ms out  NOTIFY 1 terminated;reason=timeout state=1
           10ms net> 200
           10ms out  ended Terminated(Timeout)
    ",
    );
}

// RFC 6665 §4.2.1.4: Expires 0 ends the subscription; the last NOTIFY waits for the one in flight.
#[test]
fn unsubscribe_while_a_notify_is_in_flight() {
    check(
        "
            0ms sub> expires=60
            0ms out  NOTIFY 1 active;expires=60 state=1
           50ms sub> expires=0
           60ms sub> expires=60 refused
          100ms net> 200
          100ms out  NOTIFY 2 terminated;reason=timeout state=1
          150ms net> timeout
          150ms out  ended Terminated(Timeout)
    ",
    );
}

// RFC 6665 §4.2.1.4: expiry by the clock, also while a NOTIFY is in flight; after it nothing follows.
#[test]
fn expiry() {
    check(
        "
            0ms sub>   expires=5
            0ms out    NOTIFY 1 active;expires=5 state=1
         6000ms state> 2
         6100ms net>   200
         6100ms out    NOTIFY 2 terminated;reason=timeout
         6200ms net>   481
         6200ms out    ended Terminated(Timeout)
        70000ms state> 3
    ",
    );
}

// RFC 6665 §4.2.2: `expires` is the whole seconds left, never more than was granted.
#[test]
fn seconds_left() {
    check(
        "
            0ms sub>   expires=3
            0ms out    NOTIFY 1 active;expires=3 state=1
            1ms net>   200
            2ms state> 2
            2ms out    NOTIFY 2 active;expires=2 state=2
            3ms net>   200
         2990ms state> 3
         2990ms out    NOTIFY 3 active;expires=1 state=3
         2991ms net>   200
         3000ms idle>
         3000ms out    NOTIFY 4 terminated;reason=timeout
    ",
    );
}

// RFC 6665 §4.2.2 SHOULD end the subscription at the first timeout; we repeat the latest state first.
#[test]
fn one_lost_notify_does_not_end_a_subscription() {
    check(
        "
            0ms sub>   expires=600
            0ms out    NOTIFY 1 active;expires=600 state=1
        10000ms state> 2
        32000ms net>   timeout
        33000ms state> 3
        34000ms idle>
        34000ms out    NOTIFY 2 active;expires=566 state=3
        34010ms net>   200
    ",
    );
}

// What is bounded: failures_max in a row, with a growing pause; then the subscription is gone without a further word.
#[test]
fn lost_notifies_end_it_in_the_end() {
    check(
        "
            0ms sub> expires=600
            0ms out  NOTIFY 1 active;expires=600 state=1
        32000ms net> timeout
        34000ms idle>
        34000ms out  NOTIFY 2 active;expires=566 state=1
        66000ms net> unreachable
        70000ms idle>
        70000ms out  NOTIFY 3 active;expires=530 state=1
       102000ms net> timeout
       102000ms out  ended Lost
    ",
    );
}

// A success in between makes the count begin anew.
#[test]
fn failures_are_counted_in_a_row() {
    check(
        "
            0ms sub>   expires=600
            0ms out    NOTIFY 1 active;expires=600 state=1
            1ms net>   503
         2001ms idle>
         2001ms out    NOTIFY 2 active;expires=597 state=1
         2002ms net>   500
         6002ms idle>
         6002ms out    NOTIFY 3 active;expires=593 state=1
         6003ms net>   200
         7000ms state> 2
         7000ms out    NOTIFY 4 active;expires=593 state=2
         7001ms net>   504
         9001ms idle>
         9001ms out    NOTIFY 5 active;expires=590 state=2
         9002ms net>   200
    ",
    );
}

// RFC 3261 §20.33, §21.5.4: Retry-After is honoured; a SUBSCRIBE meanwhile gets its NOTIFY at once (RFC 6665 §4.2.1.2).
#[test]
fn retry_after() {
    check(
        "
            0ms sub> expires=600
            0ms out  NOTIFY 1 active;expires=600 state=1
            0ms net> 503 retry-after=30
        30000ms idle>
        30000ms out  NOTIFY 2 active;expires=570 state=1
        30000ms net> 503 retry-after=30
        40000ms sub> expires=600
        40000ms out  NOTIFY 3 active;expires=600 state=1
        40001ms net> 200
    ",
    );
}

// RFC 6665 §4.2.2: these responses MUST remove the subscription, at once and silently.
#[test]
fn a_refusal_ends_the_subscription() {
    for code in [404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604] {
        check(&format!(
            "
            0ms sub>   expires=60
            0ms out    NOTIFY 1 active;expires=60 state=1
           10ms net>   {code}
           10ms out    ended Refused {{ code: {code} }}
           20ms state> 2
        "
        ));
    }
}

// RFC 5057 §5.1: a complaint about one NOTIFY is not repeated with the same state, and the subscription goes on.
#[test]
fn a_complaint_does_not_end_the_subscription() {
    for code in [302, 400, 401, 403, 407, 413, 420, 488, 603] {
        check(&format!(
            "
            0ms sub>   expires=60
            0ms out    NOTIFY 1 active;expires=60 state=1
           10ms net>   {code}
         1010ms state> 2
         1010ms out    NOTIFY 2 active;expires=58 state=2
         1020ms net>   200
        "
        ));
    }
}

// RFC 6665 §4.1.3: reasons; the state is gone or may not be seen, so it is not in the last NOTIFY.
#[test]
fn ends_by_policy() {
    for (reason, cause) in
        [("noresource", "NoResource"), ("deactivated", "Deactivated"), ("rejected", "Rejected")]
    {
        check(&format!(
            "
            0ms sub> expires=60
            0ms out  NOTIFY 1 active;expires=60 state=1
           10ms end> {reason}
           20ms net> 200
           20ms out  NOTIFY 2 terminated;reason={reason}
           30ms sub> expires=60 refused
           40ms net> 200
           40ms out  ended Terminated({cause})
        "
        ));
    }
}

// RFC 6665 §4.2.2, §4.2.1.3: pending tells nothing of the state, changes are not notified, permission is.
#[test]
fn pending_until_permission_comes() {
    check(
        "
            0ms sub>   expires=60 pending
            0ms out    NOTIFY 1 pending;expires=60
            1ms net>   200
          500ms state> 2
         1000ms grant>
         1000ms out    NOTIFY 2 active;expires=59 state=2
         1001ms net>   200
         2000ms state> 3
         2000ms out    NOTIFY 3 active;expires=58 state=3
    ",
    );
}

// A lost first NOTIFY of a pending subscription is repeated too.
#[test]
fn a_lost_pending_notify_is_repeated() {
    check(
        "
            0ms sub>  expires=60 pending
            0ms out   NOTIFY 1 pending;expires=60
        32000ms net>  timeout
        34000ms idle>
        34000ms out   NOTIFY 2 pending;expires=26
    ",
    );
}

// RFC 6665 §4.5.2: another id is another subscription in the same dialog, with a time of its own; CSeq is the dialog's.
#[test]
fn two_subscriptions_in_one_dialog() {
    check(
        "
            0ms sub>   expires=60 id=a
            0ms out    NOTIFY 1 active;expires=60 state=1
            5ms sub>   expires=30 id=b
           10ms net>   200
           10ms out    NOTIFY 2 active;expires=29 state=1
           20ms net>   200
         1000ms state> 2
         1000ms out    NOTIFY 3 active;expires=59 state=2
         1010ms net>   200
         1010ms out    NOTIFY 4 active;expires=28 state=2
         1020ms net>   200
         2000ms sub>   expires=0 id=a
         2000ms out    NOTIFY 5 terminated;reason=timeout state=2
         2010ms net>   200
         2010ms out    ended Terminated(Timeout)
        30005ms idle>
        30005ms out    NOTIFY 6 terminated;reason=timeout
        30010ms net>   200
        30010ms out    ended Terminated(Timeout)
    ",
    );
}

// RFC 5057 §5.1: 489 ends one subscription, 404 the dialog with all that is in it.
#[test]
fn what_a_refusal_takes_with_it() {
    check(
        "
            0ms sub> expires=60 id=a
            0ms out  NOTIFY 1 active;expires=60 state=1
            5ms sub> expires=60 id=b
           10ms net> 489
           10ms out  ended Refused { code: 489 }
           10ms out  NOTIFY 2 active;expires=59 state=1
           20ms net> 200
    ",
    );
    check(
        "
            0ms sub> expires=60 id=a
            0ms out  NOTIFY 1 active;expires=60 state=1
            5ms sub> expires=60 id=b
           10ms net> 404
           10ms out  ended Refused { code: 404 }
           10ms out  ended Refused { code: 404 }
    ",
    );
}

// RFC 6665 §4.5.2: how many fit is limited.
#[test]
fn subscriptions_per_dialog_are_limited() {
    let policy = Policy { subscriptions_per_dialog_max: 1, ..Policy::default() };
    check_with(
        policy,
        "
            0ms sub> expires=60
            0ms out  NOTIFY 1 active;expires=60 state=1
           10ms sub> expires=60 id=b refused
           20ms net> 200
           30ms sub> expires=60
           30ms out  NOTIFY 2 active;expires=60 state=1
    ",
    );
    let bench = Bench::new(Policy { subscriptions_per_dialog_max: 0, ..policy });
    let error = bench.dialog.may_subscribe(bench.now, &bench.policy, None);
    assert_eq!(error, Err(Error::TooManySubscriptions { max: 0 }));
}

// RFC 3856 §6.10: with pacing, changes come at most so often, and the last one always comes.
#[test]
fn pacing() {
    let policy = Policy { notify_min_interval: Duration::from_secs(5), ..Policy::default() };
    check_with(
        policy,
        "
            0ms sub>   expires=600
            0ms out    NOTIFY 1 active;expires=600 state=1
           10ms net>   200
         1000ms state> 2
         1000ms out    NOTIFY 2 active;expires=599 state=2
         1010ms net>   200
         2000ms state> 3
         3000ms state> 4
         6000ms idle>
         6000ms out    NOTIFY 3 active;expires=594 state=4
         6010ms net>   200
         7000ms sub>   expires=600
         7000ms out    NOTIFY 4 active;expires=600 state=4
         7010ms net>   200
         8000ms end>   noresource
         8000ms out    NOTIFY 5 terminated;reason=noresource
    ",
    );
}

// Nothing a machine is told in the wrong order moves it.
#[test]
fn outcomes_without_a_notify_are_ignored() {
    check(
        "
            0ms net> 481
            1ms net> timeout
            2ms sub> expires=60
            2ms out  NOTIFY 1 active;expires=60 state=1
            3ms net> 200
            4ms net> 481
    ",
    );
}
