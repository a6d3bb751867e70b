//! The cases of the composition policy over the wire: PUBLISH, SUBSCRIBE, and what the NOTIFY says (RFC 3903 §4, RFC 3856
//! §6.7, RFC 4479 §3).

#[path = "../../../crates/presence-doc/tests/support/judge.rs"]
mod judge;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use judge::judge;
use peers::{Message, Rollcall, UserAgent};
use serde_json::Value;

/// Nobody is challenged; registration speaks for whoever does not publish.
fn config(policy: &str) -> String {
    format!(
        "[auth]\nenabled = false\n[[domain]]\nname = \"example.com\"\n[domain.presence]\n\
         uses_registration_state = true\nunregistered_is_closed = false\ncomposition = \"{policy}\"\n"
    )
}

#[test]
fn every_case_under_merge() -> Result<()> {
    every_case("merge", &[])
}

/// Not C27: what is published takes the place of what is known from registrations, under both policies. That is what
/// `uses_registration_state` means here and in repro; the policy's union would keep both.
#[test]
fn every_case_under_union() -> Result<()> {
    every_case("union", &["C27"])
}

fn every_case(policy: &str, but: &[&str]) -> Result<()> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/presence-doc/tests/fixtures");
    let cases: Value = serde_json::from_str(&fs::read_to_string(fixtures.join("composition-cases.json"))?)?;
    let cases = cases["cases"].as_array().context("cases")?;
    let server = Rollcall::start(&config(policy))?;
    for (number, case) in cases.iter().enumerate() {
        let id = case["id"].as_str().context("id")?;
        if but.contains(&id) {
            continue;
        }
        let mut alice =
            Alice { agent: UserAgent::udp(server.sip())?, case: number, requests: 0, tags: BTreeMap::new() };
        for step in case["steps"].as_array().context("steps")? {
            alice.step(step)?;
        }
        let body = watch(&server, number)?;
        judge(&format!("{id}-{policy}"), body.as_bytes(), &case["expect"][policy]);
        alice.leave()?;
    }
    Ok(())
}

/// The publisher of one case.
struct Alice {
    agent: UserAgent,
    case: usize,
    requests: u32,
    /// The entity-tag of each live publication.
    tags: BTreeMap<String, String>,
}

impl Alice {
    fn step(&mut self, step: &Value) -> Result<()> {
        let publication = step["publication"].as_str().unwrap_or_default();
        let body = step["body"].as_str();
        match step["op"].as_str().context("op")? {
            "publish" => self.publish(publication, 3600, body),
            "modify" | "refresh" => self.publish(publication, 3600, body),
            "remove" => self.publish(publication, 0, None),
            "register" => self.register(3600),
            "unregister" => self.register(0),
            other => anyhow::bail!("step {other}"),
        }
    }

    fn publish(&mut self, publication: &str, expires: u32, body: Option<&str>) -> Result<()> {
        let condition =
            self.tags.get(publication).map_or(String::new(), |tag| format!("SIP-If-Match: {tag}\n"));
        let body = body.map_or(String::new(), |body| format!("Content-Type: application/pidf+xml\n\n{body}"));
        let answer = self.ask(
            "PUBLISH sip:alice@example.com SIP/2.0",
            &format!("Event: presence\nExpires: {expires}\n{condition}{body}"),
        )?;
        if expires == 0 {
            self.tags.remove(publication);
        } else {
            self.tags.insert(publication.to_owned(), answer.header("SIP-ETag").to_owned());
        }
        Ok(())
    }

    fn register(&mut self, expires: u32) -> Result<()> {
        let headers = format!("Contact: <sip:alice@{{here}}>;expires={expires}\n");
        self.ask("REGISTER sip:example.com SIP/2.0", &headers).map(drop)
    }

    /// Takes back what is left.
    fn leave(&mut self) -> Result<()> {
        let left: Vec<String> = self.tags.keys().cloned().collect();
        left.iter().try_for_each(|publication| self.publish(publication, 0, None))?;
        self.register(0)
    }

    fn ask(&mut self, start: &str, rest: &str) -> Result<Message> {
        self.requests += 1;
        let (case, number) = (self.case, self.requests);
        let method = start.split(' ').next().unwrap_or_default();
        let request = format!(
            "{start}\nFrom: <sip:alice@example.com>;tag=a\nTo: <sip:alice@example.com>\nCall-ID: case-{case}-{method}\n\
             CSeq: {number} {method}\n{rest}"
        );
        self.agent.request(&request)?;
        let answer = self.agent.receive("SIP/2.0")?;
        ensure!(answer.start_line() == "SIP/2.0 200 OK", "{request}\n\n{}", answer.start_line());
        Ok(answer)
    }
}

/// What a watcher who asks once is told.
fn watch(server: &Rollcall, case: usize) -> Result<String> {
    let mut bob = UserAgent::udp(server.sip())?;
    bob.request(&format!(
        "SUBSCRIBE sip:alice@example.com SIP/2.0
         From: <sip:bob@example.com>;tag=b
         To: <sip:alice@example.com>
         Call-ID: watcher-{case}
         CSeq: 1 SUBSCRIBE
         Contact: <sip:bob@{{here}}>
         Event: presence
         Expires: 0"
    ))?;
    bob.receive("SIP/2.0 200")?;
    let notify = bob.receive("NOTIFY")?;
    bob.answer(&notify, "200 OK", "b", "")?;
    Ok(notify.body().to_owned())
}
