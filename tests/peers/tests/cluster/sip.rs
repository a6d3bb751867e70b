//! The requests of these tests.

use anyhow::{Context, Result};
use peers::{Message, Rollcall, UserAgent};

pub(crate) fn pidf(tuple: &str, basic: &str) -> String {
    format!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:alice@example.test\">\
         <tuple id=\"{tuple}\"><status><basic>{basic}</basic></status></tuple></presence>"
    )
}

/// Sends a REGISTER; without `contact` it asks for the bindings.
pub(crate) fn register(agent: &mut UserAgent, user: &str, cseq: u32, contact: &str) -> Result<Message> {
    agent.request(&format!(
        "REGISTER sip:example.test SIP/2.0
         From: <sip:{user}@example.test>;tag=r
         To: <sip:{user}@example.test>
         Call-ID: register-{user}
         CSeq: {cseq} REGISTER
         {contact}"
    ))?;
    agent.receive("SIP/2.0 200")
}

/// Where a user is registered, as a server says.
pub(crate) fn contacts(server: &Rollcall, user: &str) -> Result<Vec<String>> {
    let listed = register(&mut UserAgent::udp(server.sip())?, user, 1, "")?;
    Ok(listed.headers("Contact").map(|contact| contact.split('>').next().unwrap_or("").into()).collect())
}

/// Publishes; `condition` is empty or header fields. Returns the entity-tag.
pub(crate) fn publish(agent: &mut UserAgent, condition: &str, body: &str) -> Result<String> {
    let content_type = if body.is_empty() { "" } else { "Content-Type: application/pidf+xml" };
    agent.request(&format!(
        "PUBLISH sip:alice@example.test SIP/2.0
         From: <sip:alice@example.test>;tag=p
         To: <sip:alice@example.test>
         Call-ID: publish
         CSeq: 1 PUBLISH
         Event: presence
         {condition}
         {content_type}

{body}"
    ))?;
    Ok(agent.receive("SIP/2.0 200")?.header("SIP-ETag").to_owned())
}

/// Watches Alice; within the dialog that `latest`, the server's last word, is of, if there is one (RFC 3261 §12.2.1.1).
pub(crate) fn subscribe(
    bob: &mut UserAgent,
    cseq: u32,
    latest: Option<&Message>,
    expires: u32,
) -> Result<Message> {
    let (uri, to) = match latest {
        None => ("sip:alice@example.test", "<sip:alice@example.test>"),
        Some(latest) => {
            let is_notify = latest.start_line().starts_with("NOTIFY ");
            (
                latest.header("Contact").trim_matches(['<', '>']),
                latest.header(if is_notify { "From" } else { "To" }),
            )
        }
    };
    bob.request(&format!(
        "SUBSCRIBE {uri} SIP/2.0
         From: <sip:bob@example.test>;tag=s
         To: {to}
         Call-ID: watch-{{here}}
         CSeq: {cseq} SUBSCRIBE
         Contact: <sip:bob@{{here}}>
         Event: presence
         Expires: {expires}"
    ))?;
    bob.receive("SIP/2.0 200")
}

/// The next NOTIFY, which is answered.
pub(crate) fn told(bob: &mut UserAgent) -> Result<Message> {
    let notify = bob.receive("NOTIFY ")?;
    bob.answer(&notify, "200 OK", "", "")?;
    Ok(notify)
}

pub(crate) fn cseq(message: &Message) -> Result<u32> {
    message.header("CSeq").split(' ').next().context("a CSeq")?.parse().context("a number")
}

/// The port of the server that sent a request.
pub(crate) fn sender_port(request: &Message) -> Result<u16> {
    let sent_by = request.header("Via").split([' ', ';']).nth(1).context("a Via")?;
    sent_by.rsplit(':').next().context("a port")?.parse().context("a number")
}
