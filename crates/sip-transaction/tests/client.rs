//! The client machines through their table, as scripts: time, who, what.
//!
//! `tu> start|cancel|fail` is what the transaction user or the transport does, `net> 180 INVITE` a response that arrives;
//! `out …` is what comes of it, in order.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_message::{HeaderName, Limits, Request, Response};
use sip_transaction::{Branch, ClientId, ClientOutput, ClientTransactions, Timers};

const ID: ClientId = ClientId(0xabcd);

fn via() -> String {
    format!("SIP/2.0/UDP us:5060;branch={}", Branch { id: ID, loop_hash: 9 })
}

fn request(method: &str) -> Bytes {
    format!(
        "{method} sip:a@h SIP/2.0\r\nVia: {}\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nRoute: <sip:r1;lr>, <sip:r2;lr>\r\n\
         Max-Forwards: 9\r\nFrom: <sip:b@h>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: 1\r\nCSeq: 7 {method}\r\nRequire: x\r\n\
         Content-Length: 0\r\n\r\n",
        via()
    )
    .into()
}

fn response(code: &str, method: &str) -> Response {
    let text = format!(
        "SIP/2.0 {code} X\r\nVia: {}\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <sip:b@h>;tag=1\r\nTo: <sip:a@h>;tag=z\r\n\
         Call-ID: 1\r\nCSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n",
        via()
    );
    Response::parse(text.into(), &Limits::default()).expect("a response")
}

struct Script {
    began: Instant,
    table: ClientTransactions<(), ()>,
    log: Vec<String>,
}

impl Script {
    fn at(&self, ms: u64) -> Instant {
        self.began + Duration::from_millis(ms)
    }

    fn outputs(&mut self, ms: u64, outputs: Vec<ClientOutput<(), ()>>) {
        for output in outputs {
            let what = match output {
                ClientOutput::Send(_, (), bytes) => {
                    Request::parse(bytes, &Limits::default()).expect("a request").method().to_string()
                }
                ClientOutput::Deliver(()) => "deliver".into(),
                ClientOutput::Timeout(()) => "timeout".into(),
                ClientOutput::Unreachable(()) => "unreachable".into(),
            };
            self.log.push(format!("{ms}ms out {what}"));
        }
    }

    fn run_to(&mut self, ms: u64) {
        while let Some(due) = self.table.deadline().filter(|due| *due <= self.at(ms)) {
            let mut out = Vec::new();
            self.table.wake(due, &mut out);
            self.outputs((due - self.began).as_millis() as u64, out);
        }
    }

    fn step(&mut self, ms: u64, who: &str, what: &str, method: &str, reliable: bool) {
        self.log.push(format!("{ms}ms {who} {what}"));
        let now = self.at(ms);
        let mut out = Vec::new();
        match (who, what) {
            ("tu>", "start") => {
                assert!(self.table.start(now, ID, method == "INVITE", request(method), reliable, (), ()));
            }
            ("tu>", "cancel") => self.table.cancel(now, ID, Some("SIP;cause=200"), &mut out),
            ("tu>", "fail") => self.table.fail(now, ID, &mut out),
            (_, what) => {
                let (code, method) = what.split_once(' ').expect("a code and a method");
                if !self.table.receive(now, ID, &response(code, method), &mut out) {
                    self.log.push(format!("{ms}ms out stray"));
                }
            }
        }
        self.outputs(ms, out);
    }
}

/// Runs the `net>` and `tu>` lines of a script and compares all that happens with it; in the end nothing may be left.
fn check(method: &str, reliable: bool, script: &str) {
    let began = Instant::now();
    let mut run =
        Script { began, table: ClientTransactions::new(began, Timers::default(), 10), log: Vec::new() };
    let lines: Vec<String> = script
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|l| !l.is_empty())
        .collect();
    for line in &lines {
        let (time, rest) = line.split_once("ms ").expect("time");
        let (who, what) = rest.split_once(' ').expect("who and what");
        let ms = time.parse().expect("milliseconds");
        if who != "out" {
            run.run_to(ms);
            run.step(ms, who, what, method, reliable);
        }
    }
    run.run_to(1_000_000);
    assert_eq!(run.log, lines, "\n{}", run.log.join("\n"));
    assert!(run.table.is_empty(), "nothing is left");
}

// RFC 3261 §17.1.1.2: Timer A doubles, Timer B gives up at 64*T1.
#[test]
fn an_invite_without_response() {
    check(
        "INVITE",
        false,
        "    0ms tu> start
           500ms out INVITE
          1500ms out INVITE
          3500ms out INVITE
          7500ms out INVITE
         15500ms out INVITE
         31500ms out INVITE
         32000ms out timeout",
    );
    check("INVITE", true, "0ms tu> start\n 32000ms out timeout");
}

// RFC 3261 §17.1.1.2, figure 5: a provisional stops Timer A; a failure is acknowledged each time it comes, delivered once.
#[test]
fn an_invite_that_fails() {
    check(
        "INVITE",
        false,
        "    0ms tu> start
           100ms net> 180 INVITE
           100ms out deliver
           200ms net> 183 INVITE
           200ms out deliver
         90000ms net> 486 INVITE
         90000ms out ACK
         90000ms out deliver
         90500ms net> 486 INVITE
         90500ms out ACK
         90600ms net> 200 INVITE
         90700ms net> 180 INVITE",
    );
}

// RFC 6026 §7.2: every 2xx is delivered until Timer M; nothing else is.
#[test]
fn an_invite_that_is_answered() {
    check(
        "INVITE",
        false,
        "    0ms tu> start
           100ms net> 200 INVITE
           100ms out deliver
           600ms net> 200 INVITE
           600ms out deliver
           700ms net> 486 INVITE
         32200ms net> 200 INVITE
         32200ms out stray",
    );
}

// RFC 3261 §9.1: a CANCEL waits for the first provisional response, is repeated like any non-INVITE request, and a missing
// final response is given up 64*T1 after it.
#[test]
fn cancel() {
    check(
        "INVITE",
        false,
        "    0ms tu> start
           100ms tu> cancel
           200ms tu> cancel
           500ms out INVITE
           600ms net> 180 INVITE
           600ms out deliver
           600ms out CANCEL
          1100ms out CANCEL
          1200ms net> 200 CANCEL
          1300ms net> 487 INVITE
          1300ms out ACK
          1300ms out deliver",
    );
    check(
        "INVITE",
        true,
        "    0ms tu> start
           100ms net> 180 INVITE
           100ms out deliver
           200ms tu> cancel
           200ms out CANCEL
         32200ms out timeout",
    );
    check("INVITE", true, "0ms tu> start\n1ms net> 200 INVITE\n1ms out deliver\n2ms tu> cancel");
    check("MESSAGE", true, "0ms tu> start\n1ms tu> cancel\n2ms net> 200 MESSAGE\n2ms out deliver");
}

// RFC 3261 §17.1.2.2, figure 6: Timer E doubles to T2, Timer F gives up; §17.1.3: the CSeq method must match.
#[test]
fn a_non_invite_request() {
    check(
        "MESSAGE",
        false,
        "    0ms tu> start
           500ms out MESSAGE
          1500ms out MESSAGE
          3500ms out MESSAGE
          7500ms out MESSAGE
         11500ms out MESSAGE
         15500ms out MESSAGE
         19500ms out MESSAGE
         23500ms out MESSAGE
         27500ms out MESSAGE
         31500ms out MESSAGE
         32000ms out timeout",
    );
    check(
        "MESSAGE",
        false,
        "    0ms tu> start
           100ms net> 200 INVITE
           100ms out stray
           200ms net> 100 MESSAGE
           200ms out deliver
           500ms out MESSAGE
          4500ms out MESSAGE
          5000ms net> 200 MESSAGE
          5000ms out deliver
          6000ms net> 200 MESSAGE
         10100ms net> 200 MESSAGE
         10100ms out stray",
    );
}

// RFC 3261 §17.1.4.
#[test]
fn a_transport_that_fails() {
    for method in ["INVITE", "MESSAGE"] {
        check(method, true, "0ms tu> start\n5ms tu> fail\n5ms out unreachable\n6ms tu> fail");
    }
}

fn sent_after(what: &str) -> Request {
    let now = Instant::now();
    let mut table: ClientTransactions<(), ()> = ClientTransactions::new(now, Timers::default(), 10);
    assert!(table.start(now, ID, true, request("INVITE"), true, (), ()));
    let mut out = Vec::new();
    table.receive(now, ID, &response(what, "INVITE"), &mut out);
    table.cancel(now, ID, Some("SIP;cause=200"), &mut out);
    let bytes = out
        .into_iter()
        .find_map(|output| match output {
            ClientOutput::Send(_, (), bytes) => Some(bytes),
            _ => None,
        })
        .expect("sent");
    Request::parse(bytes, &Limits::default()).expect("a request")
}

// RFC 3261 §17.1.1.3 and §9.1: what the ACK and the CANCEL carry.
#[test]
fn the_ack_and_the_cancel() {
    let (ack, cancel) = (sent_after("486"), sent_after("180"));
    for (request, method, to_tag) in [(&ack, "ACK", Some("z")), (&cancel, "CANCEL", None)] {
        assert_eq!(
            (request.method().as_str(), request.uri_text(), request.cseq().number),
            (method, "sip:a@h", 7)
        );
        let vias: Vec<_> = request.values(HeaderName::Via).collect();
        assert_eq!(vias, [via().as_bytes()], "one Via, that of the INVITE");
        assert_eq!((request.from().tag(), request.to().tag(), request.call_id()), (Some("1"), to_tag, "1"));
        assert_eq!(request.values(HeaderName::Route).count(), 2, "the INVITE's Route");
        assert_eq!(request.header(HeaderName::Require), None, "§9.1: no Require");
    }
    assert_eq!(cancel.text(HeaderName::Reason), Some("SIP;cause=200"));
}
