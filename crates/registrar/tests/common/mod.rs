//! What the tests of this crate share: REGISTER requests from text, and scripts of them.

#![allow(dead_code)] // every test file uses another part

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use registrar::{Bindings, Config, Error, Register};
use sip_message::{Aor, Limits, Request, Transport};
use sip_service::{Connection, Flow};

/// A request from its text: line ends fixed, Content-Length added.
pub(crate) fn request(text: &str) -> Request {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut message: String = head.trim().lines().map(|line| format!("{}\r\n", line.trim_start())).collect();
    message.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    Request::parse(Bytes::from(message), &Limits::default()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A REGISTER of alice with these header fields, separated by `|`, or `-` for none.
pub(crate) fn register(call_id: &str, cseq: u32, headers: &str) -> Request {
    let headers: String =
        headers.split('|').map(str::trim).filter(|h| *h != "-").map(|h| format!("{h}\n")).collect();
    request(&format!(
        "REGISTER sip:example.test SIP/2.0
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-{call_id}-{cseq}
         Max-Forwards: 70
         From: <sip:alice@example.test>;tag=1
         To: <sip:alice@example.test>
         Call-ID: {call_id}
         CSeq: {cseq} REGISTER
         {headers}"
    ))
}

pub(crate) fn alice() -> Aor {
    Aor::parse("alice@example.test").unwrap()
}

/// A flow on which something came from `remote`.
pub(crate) fn flow(transport: Transport, remote: &str) -> Flow {
    let remote: SocketAddr = remote.parse().unwrap();
    let local = if remote.is_ipv4() { "198.51.100.1:5060" } else { "[2001:db8::1]:5060" };
    let connection = if transport.is_reliable() { Connection(7) } else { Connection::NONE };
    Flow { transport, local: local.parse().unwrap(), remote, connection }
}

pub(crate) fn udp() -> Flow {
    flow(Transport::Udp, "192.0.2.1:5060")
}

/// The bindings of alice, and a clock.
pub(crate) struct Script {
    pub(crate) bindings: Bindings,
    pub(crate) config: Config,
    pub(crate) start: Instant,
}

impl Default for Script {
    fn default() -> Self {
        Self { bindings: Bindings::default(), config: Config::default(), start: Instant::now() }
    }
}

impl Script {
    pub(crate) fn at(&self, milliseconds: u64) -> Instant {
        self.start + Duration::from_millis(milliseconds)
    }

    /// One REGISTER: the Contact values of its 200, sorted, or why it was refused.
    pub(crate) fn register(&mut self, now: Instant, request: &Request) -> Result<Vec<String>, Error> {
        let register = Register::read(request, &udp(), &alice(), &self.config)?;
        let change = self.bindings.decide(now, &register, &self.config)?;
        self.bindings.apply(change);
        assert!(self.bindings.iter().all(|binding| binding.is_live(now)));
        let mut listed: Vec<String> = self.bindings.iter().map(|b| b.listed(now).to_string()).collect();
        listed.sort();
        Ok(listed)
    }

    /// Runs lines of `TIME CALL-ID/CSEQ HEADERS => RESULT`. TIME is in seconds (`1.5s`). RESULT is `nothing`, the
    /// Contact values of the 200 separated by ` and `, or the label of the error.
    pub(crate) fn run(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (asked, want) = line.split_once("=>").unwrap_or_else(|| panic!("no result: {line}"));
            let (time, rest) = asked.trim().split_once(' ').unwrap_or_else(|| panic!("no request: {line}"));
            let (id, headers) = rest.trim().split_once(' ').unwrap_or((rest.trim(), "-"));
            let milliseconds = time.trim_end_matches('s').parse::<f64>().unwrap() * 1000.0;
            let (call_id, cseq) = id.split_once('/').unwrap();
            let request = register(call_id, cseq.parse().unwrap(), headers);
            let now = self.at(milliseconds as u64);
            let before = self.bindings.clone();
            let mut want: Vec<&str> =
                want.trim().split(" and ").map(str::trim).filter(|w| *w != "nothing").collect();
            want.sort_unstable();
            match self.register(now, &request) {
                Ok(listed) => assert_eq!(listed, want, "{line}"),
                Err(error) => {
                    assert_eq!([error.label()], *want, "{line}: {error}");
                    // RFC 3261 §10.3: processed completely or not at all.
                    assert_eq!(self.bindings, before, "{line}");
                }
            }
        }
    }
}

/// A script that begins without bindings, with the default configuration.
pub(crate) fn check(script: &str) {
    Script::default().run(script);
}
