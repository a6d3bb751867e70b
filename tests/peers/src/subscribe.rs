//! SUBSCRIBE to the presence of Alice, and what a watcher is told (RFC 6665, RFC 3856).

use anyhow::Result;

use crate::{Message, UserAgent};

/// Watches Alice; within the dialog that `latest`, the server's last word, is of, if there is one (RFC 3261 §12.2.1.1).
/// Returns the 200.
///
/// # Errors
/// Another answer came, or none.
pub fn subscribe(bob: &mut UserAgent, cseq: u32, latest: Option<&Message>, expires: u32) -> Result<Message> {
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
///
/// # Errors
/// None came.
pub fn told(bob: &mut UserAgent) -> Result<Message> {
    let notify = bob.receive("NOTIFY ")?;
    bob.answer(&notify, "200 OK", "", "")?;
    Ok(notify)
}

/// The next NOTIFY whose CSeq is `least` or above. What a node says that does not know yet that it is old is below, and is
/// refused (RFC 3261 §12.2.2).
///
/// # Errors
/// None came.
pub fn told_from(bob: &mut UserAgent, least: u32) -> Result<Message> {
    loop {
        let notify = bob.receive("NOTIFY ")?;
        if notify.cseq()? >= least {
            bob.answer(&notify, "200 OK", "", "")?;
            return Ok(notify);
        }
        bob.answer(&notify, "500 Server Internal Error", "", "")?;
    }
}
