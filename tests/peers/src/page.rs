//! MESSAGE (RFC 3428): the shortest way to see who is reached.

use anyhow::Result;

use crate::{Message, UserAgent};

/// Has Carol send a message to Alice, who has it and answers. Returns the request as it came to her.
///
/// # Errors
/// It did not come, or the answer did not.
pub fn page(carol: &mut UserAgent, alice: &mut UserAgent) -> Result<Message> {
    carol.request(
        "MESSAGE sip:alice@example.test SIP/2.0
         From: <sip:carol@example.test>;tag=c
         To: <sip:alice@example.test>
         Call-ID: message
         CSeq: 1 MESSAGE",
    )?;
    let message = alice.receive("MESSAGE ")?;
    alice.answer(&message, "200 OK", "alice", "")?;
    carol.receive("SIP/2.0 200")?;
    Ok(message)
}
