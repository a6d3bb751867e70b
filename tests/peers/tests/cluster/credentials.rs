//! What proves a user to one node proves it to the others.

use std::fmt::Write;

use anyhow::{Context, Result};
use md5::{Digest, Md5};
use peers::{Message, UserAgent};

use crate::nodes::Plan;

const CONFIG: &str = r#"
[[domain]]
name = "example.test"
[[user]]
aor = "alice@example.test"
password = "wonderland"
"#;

/// A nonce of one node is good on the others, as all make them under the secret that they share (RFC 7616 §3.3).
#[test]
fn a_challenge_of_one_node_is_answered_on_another() -> Result<()> {
    let plan = Plan::new(&["a", "b"], "")?.with(CONFIG);
    let nodes = plan.start()?;
    let mut alice = UserAgent::udp(nodes[0].sip())?;
    register(&mut alice, 1, "")?;
    let challenge = alice.receive("SIP/2.0 401")?;
    let challenge = challenge.header("WWW-Authenticate");
    alice.turn_to(nodes[1].sip())?;
    register(&mut alice, 2, &authorization(challenge, 1)?)?;
    alice.receive("SIP/2.0 200")?;
    alice.turn_to(nodes[0].sip())?;
    register(&mut alice, 3, &authorization(challenge, 2)?)?;
    let listed: Message = alice.receive("SIP/2.0 200")?;
    assert!(listed.header("Contact").starts_with("<sip:alice@192.0.2.1>"), "{listed:?}");
    Ok(())
}

fn register(alice: &mut UserAgent, cseq: u32, authorization: &str) -> Result<()> {
    alice.request(&format!(
        "REGISTER sip:example.test SIP/2.0
         From: <sip:alice@example.test>;tag=r
         To: <sip:alice@example.test>
         Call-ID: register
         CSeq: {cseq} REGISTER
         Contact: <sip:alice@192.0.2.1>
         {authorization}"
    ))
}

/// The answer of Alice to a challenge, with `qop=auth` (RFC 2617 §3.2.2).
fn authorization(challenge: &str, count: u32) -> Result<String> {
    let nonce =
        challenge.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).context("a nonce")?;
    let ha1 = md5("alice:example.test:wonderland");
    let ha2 = md5("REGISTER:sip:example.test");
    let response = md5(&format!("{ha1}:{nonce}:{count:08x}:c:auth:{ha2}"));
    Ok(format!(
        "Authorization: Digest username=\"alice\", realm=\"example.test\", nonce=\"{nonce}\", uri=\"sip:example.test\", \
         response=\"{response}\", algorithm=MD5, qop=auth, cnonce=\"c\", nc={count:08x}"
    ))
}

fn md5(text: &str) -> String {
    Md5::digest(text).iter().fold(String::new(), |mut digits, octet| {
        let _ = write!(digits, "{octet:02x}");
        digits
    })
}
