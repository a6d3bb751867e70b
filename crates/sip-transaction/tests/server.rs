//! The server machines through their table, as scripts: time, who, what.
//!
//! `net> M` a request arrives, `tu> C` the transaction user responds; `out …` is what comes of it, in order.

use std::time::{Duration, Instant};

use sip_message::{Limits, Reply, ReplyBuilder, Request, Response, StatusCode};
use sip_transaction::{ServerId, ServerMatch, ServerOutput, ServerTransactions, Timers};

fn request(method: &str) -> Request {
    let text = format!(
        "{method} sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP c:5061;branch=z9hG4bKx1\r\nFrom: <sip:b@h>;tag=1\r\nTo: <sip:a@h>\r\n\
         Call-ID: 1\r\nCSeq: 1 {method}\r\n\r\n"
    );
    Request::parse(text.into(), &Limits::default()).expect("a request")
}

fn reply(method: &str, code: u16) -> Reply {
    ReplyBuilder::new(&request(method), StatusCode::new(code).expect("a code"), "tag").finish()
}

fn code(bytes: bytes::Bytes) -> String {
    Response::parse(bytes, &Limits::default()).expect("a response").status().to_string()
}

struct Script {
    began: Instant,
    table: ServerTransactions<&'static str, ()>,
    id: Option<ServerId>,
    reliable: bool,
    log: Vec<String>,
}

impl Script {
    fn at(&self, ms: u64) -> Instant {
        self.began + Duration::from_millis(ms)
    }

    fn out(&mut self, ms: u64, what: String) {
        self.log.push(format!("{ms}ms out {what}"));
    }

    /// Runs every timer up to `ms`.
    fn run_to(&mut self, ms: u64) {
        while let Some(due) = self.table.deadline().filter(|due| *due <= self.at(ms)) {
            let now = (due - self.began).as_millis() as u64;
            let mut outputs = Vec::new();
            self.table.wake(due, &mut outputs);
            for output in outputs {
                let what = match output {
                    ServerOutput::Send((), bytes) => code(bytes),
                    ServerOutput::NoAck(_) => "no ack".into(),
                    ServerOutput::Terminated(_) => "terminated".into(),
                };
                self.out(now, what);
            }
        }
    }

    fn step(&mut self, ms: u64, who: &str, what: &str, method: &str) {
        self.log.push(format!("{ms}ms {who} {what}"));
        let now = self.at(ms);
        if what == "abandon" {
            return self.table.abandon(now, self.id.expect("a transaction"));
        }
        if who == "tu>" {
            let reply = reply(method, what.parse().expect("a code"));
            let id = self.id.expect("a transaction");
            let what = if self.table.respond(now, id, &reply) { what.to_owned() } else { "refused".into() };
            return self.out(ms, what);
        }
        let what = match self.table.receive(now, &request(what), self.reliable, ()) {
            ServerMatch::New(id) => {
                self.id = Some(id);
                self.table.set_user(id, "user");
                "new".into()
            }
            ServerMatch::Retransmission(Some(((), bytes))) => code(bytes),
            ServerMatch::Retransmission(None) => "nothing".into(),
            ServerMatch::AckAbsorbed => "ack absorbed".into(),
            ServerMatch::Ack => "ack to core".into(),
            ServerMatch::Cancel { cancels, .. } => format!("cancel of {:?}", cancels.map(|(_, user)| user)),
            ServerMatch::Full => "full".into(),
        };
        self.out(ms, what);
    }
}

/// Runs the `net>` and `tu>` lines of a script and compares all that happens with it.
fn check(method: &str, reliable: bool, script: &str) {
    let began = Instant::now();
    let table = ServerTransactions::new(began, Timers::default(), 10);
    let mut run = Script { began, table, id: None, reliable, log: Vec::new() };
    let lines: Vec<String> = script
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|l| !l.is_empty())
        .collect();
    let mut end = 0;
    for line in &lines {
        let (time, rest) = line.split_once("ms ").expect("time");
        let (who, what) = rest.split_once(' ').expect("who and what");
        let ms = time.parse().expect("milliseconds");
        end = ms;
        if who != "out" {
            run.run_to(ms);
            run.step(ms, who, what, method);
        }
    }
    run.run_to(end);
    assert_eq!(run.log, lines, "\n{}", run.log.join("\n"));
}

// RFC 3261 §17.2.2, figure 8.
#[test]
fn a_final_response_is_repeated_until_timer_j() {
    check(
        "OPTIONS",
        false,
        "    0ms net> OPTIONS
             0ms out  new
           100ms net> OPTIONS
           100ms out  nothing
           200ms tu>  200
           200ms out  200
           500ms net> OPTIONS
           500ms out  200
           600ms tu>  404
           600ms out  refused
         32200ms out  terminated
         32201ms net> OPTIONS
         32201ms out  new",
    );
}

// RFC 3261 §17.2.2: Timer J is zero on a reliable transport.
#[test]
fn a_reliable_transport_repeats_nothing() {
    check(
        "OPTIONS",
        true,
        "0ms net> OPTIONS
         0ms out new
         0ms tu> 200
         0ms out 200
        10ms out terminated",
    );
}

// RFC 4320 §4.2: a non-INVITE request may stay without a final response; nothing is repeated for it.
#[test]
fn an_abandoned_transaction_absorbs_what_comes_until_64_t1() {
    for method in ["OPTIONS", "INVITE"] {
        check(
            method,
            false,
            &"    0ms net> METHOD
                 0ms out new
               100ms tu> 100
               100ms out 100
               200ms tu> abandon
               500ms net> METHOD
               500ms out nothing
               600ms tu> 404
               600ms out refused
             32200ms out terminated
             32201ms net> METHOD
             32201ms out new"
                .replace("METHOD", method),
        );
    }
}

// RFC 3261 §17.2.1, figure 7: Timer G doubles to T2, Timer H gives up.
#[test]
fn a_failure_is_repeated_until_timer_h() {
    check(
        "INVITE",
        false,
        "    0ms net> INVITE
             0ms out new
             0ms tu> 100
             0ms out 100
           300ms net> INVITE
           300ms out 100
          1000ms tu> 486
          1000ms out 486
          1500ms out 486
          2500ms out 486
          4500ms out 486
          8500ms out 486
         12500ms out 486
         16500ms out 486
         20500ms out 486
         24500ms out 486
         28500ms out 486
         32500ms out 486
         33000ms out no ack
         33000ms out terminated",
    );
}

// RFC 3261 §17.2.1: Confirmed absorbs further ACKs for Timer I; §17.1.1.3 ACKs match the INVITE.
#[test]
fn an_ack_ends_the_repetition() {
    check(
        "INVITE",
        false,
        "    0ms net> INVITE
             0ms out new
             0ms net> ACK
             0ms out ack absorbed
           100ms tu> 404
           100ms out 404
           600ms out 404
           650ms net> ACK
           650ms out ack absorbed
           700ms net> ACK
           700ms out ack absorbed
           750ms net> INVITE
           750ms out nothing
          5650ms out terminated
          5700ms net> ACK
          5700ms out ack to core",
    );
}

// RFC 6026 §7.1: Accepted absorbs the INVITE, lets further 2xx and the ACK pass, until Timer L.
#[test]
fn accepted() {
    check(
        "INVITE",
        false,
        "    0ms net> INVITE
             0ms out new
             0ms tu> 200
             0ms out 200
           500ms net> INVITE
           500ms out nothing
           600ms tu> 200
           600ms out 200
           700ms tu> 486
           700ms out refused
           800ms net> ACK
           800ms out ack to core
         32000ms out terminated",
    );
}

// RFC 3261 §9.2: a CANCEL has a transaction of its own and finds what it cancels by branch and sent-by.
#[test]
fn cancel_finds_its_request() {
    check(
        "INVITE",
        false,
        "0ms net> INVITE
         0ms out new
         0ms net> CANCEL
         0ms out cancel of Some(Some(\"user\"))
         1ms net> CANCEL
         1ms out nothing",
    );
    check("MESSAGE", false, "0ms net> CANCEL\n 0ms out cancel of None");
    check(
        "MESSAGE",
        false,
        "0ms net> MESSAGE\n0ms out new\n0ms net> CANCEL\n0ms out cancel of Some(Some(\"user\"))",
    );
}

fn parse(text: &str) -> Request {
    Request::parse(text.replace('\n', "\r\n").into(), &Limits::default()).expect("a request")
}

// RFC 3261 §17.2.3: branch (without case), sent-by and method tell transactions apart.
#[test]
fn what_makes_another_transaction() {
    let base = "MESSAGE sip:a@h SIP/2.0\nVia: SIP/2.0/UDP c:5061;branch=z9hG4bKx1\nFrom: <sip:b@h>;tag=1\nTo: <sip:a@h>\n\
        Call-ID: 1\nCSeq: 1 MESSAGE\n\n";
    let now = Instant::now();
    for (from, to, is_new) in [
        ("x1", "X1", false),
        ("UDP c:", "UDP C:", false),
        ("x1", "x2", true),
        ("c:5061", "c:5062", true),
        ("c:5061", "d:5061", true),
        ("MESSAGE", "INFO", true),
        // Nothing else counts once the branch has the magic cookie.
        ("Call-ID: 1", "Call-ID: 2", false),
    ] {
        let mut table: ServerTransactions<(), ()> = ServerTransactions::new(now, Timers::default(), 10);
        assert!(matches!(table.receive(now, &parse(base), false, ()), ServerMatch::New(_)));
        let found = table.receive(now, &parse(&base.replace(from, to)), false, ());
        assert_eq!(matches!(found, ServerMatch::New(_)), is_new, "{from} -> {to}");
    }
}

// RFC 3261 §17.2.3 second list; RFC 4475 §3.4.1: a client of RFC 2543 writes no branch.
#[test]
fn rfc_2543_requests_match_by_their_parts() {
    let base = "INVITE sip:a@h SIP/2.0\nVia: SIP/2.0/UDP c:5061\nFrom: <sip:b@h>;tag=1\nTo: <sip:a@h>\nCall-ID: 1\n\
        CSeq: 1 INVITE\n\n";
    let now = Instant::now();
    for (from, to, is_new) in [
        ("", "", false),
        ("Call-ID: 1", "Call-ID: 2", true),
        ("CSeq: 1", "CSeq: 2", true),
        ("tag=1", "tag=2", true),
        ("c:5061", "c", true),
    ] {
        let mut table: ServerTransactions<(), ()> = ServerTransactions::new(now, Timers::default(), 10);
        let ServerMatch::New(id) = table.receive(now, &parse(base), false, ()) else { panic!("new") };
        let found = table.receive(now, &parse(&base.replace(from, to)), false, ());
        assert_eq!(matches!(found, ServerMatch::New(_)), is_new, "{from} -> {to}");
        assert!(table.respond(now, id, &reply("INVITE", 486)));
        let ack = base.replace("INVITE", "ACK").replace("To: <sip:a@h>", "To: <sip:a@h>;tag=tag");
        assert!(matches!(table.receive(now, &parse(&ack), false, ()), ServerMatch::AckAbsorbed));
    }
}

#[test]
fn a_full_table_refuses_and_empties_itself() {
    let now = Instant::now();
    let mut table: ServerTransactions<(), ()> = ServerTransactions::new(now, Timers::default(), 2);
    let numbered = |n: u32| {
        parse(&format!(
            "OPTIONS sip:a@h SIP/2.0\nVia: SIP/2.0/UDP c;branch=z9hG4bK{n}\nFrom: <sip:b@h>;tag=1\nTo: <sip:a@h>\nCall-ID: 1\nCSeq: 1 OPTIONS\n\n"
        ))
    };
    let mut ids = Vec::new();
    for n in 0..2 {
        let ServerMatch::New(id) = table.receive(now, &numbered(n), false, ()) else { panic!("new") };
        ids.push(id);
    }
    assert!(matches!(table.receive(now, &numbered(2), false, ()), ServerMatch::Full));
    for id in &ids {
        assert!(table.respond(now, *id, &reply("OPTIONS", 200)));
    }
    table.wake(now + Duration::from_secs(33), &mut Vec::new());
    assert!(table.is_empty() && table.deadline().is_none());
    assert!(!table.respond(now, ids[0], &reply("OPTIONS", 200)), "a stale id");
}
