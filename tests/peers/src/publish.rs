//! PUBLISH of presence (RFC 3903), of Alice's.

use anyhow::Result;

use crate::UserAgent;

/// A document of Alice's with one tuple (RFC 3863).
pub fn pidf(tuple: &str, basic: &str) -> String {
    format!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:alice@example.test\">\
         <tuple id=\"{tuple}\"><status><basic>{basic}</basic></status></tuple></presence>"
    )
}

/// Publishes, or without `body` refreshes or removes; `condition` is empty or header fields, one a line. Returns the
/// entity-tag.
///
/// # Errors
/// Another answer than 200 came, or none.
pub fn publish(agent: &mut UserAgent, condition: &str, body: &str) -> Result<String> {
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
