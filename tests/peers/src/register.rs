//! REGISTER (RFC 3261 §10.2).

use anyhow::Result;

use crate::{Message, Rollcall, UserAgent};

/// Registers a user; without `contact` it asks for the bindings. `contact` is a Contact header field, or several header
/// fields, one a line. Returns the 200.
///
/// # Errors
/// Another answer came, or none.
pub fn register(agent: &mut UserAgent, user: &str, cseq: u32, contact: &str) -> Result<Message> {
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

/// Where a user is registered, as a server says: each contact up to the end of its URI.
///
/// # Errors
/// It does not say.
pub fn contacts(server: &Rollcall, user: &str) -> Result<Vec<String>> {
    let listed = register(&mut UserAgent::udp(server.sip())?, user, 1, "")?;
    Ok(listed.headers("Contact").map(|contact| contact.split('>').next().unwrap_or("").into()).collect())
}
