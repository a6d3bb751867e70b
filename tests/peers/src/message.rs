//! A SIP message as the text that was on the wire.

use anyhow::{Context, Result};

/// A request or response that a peer received or sent.
#[derive(Clone, Debug)]
pub struct Message(String);

impl Message {
    /// Takes the text of a whole message.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The request line or status line.
    pub fn start_line(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    /// The values of the header fields with this name (in its long form, as Rollcall writes it), in order.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.head().lines().skip(1).filter_map(move |line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The value of the first header field with this name; empty if there is none.
    pub fn header<'a>(&'a self, name: &'a str) -> &'a str {
        self.headers(name).next().unwrap_or_default()
    }

    /// The number in CSeq.
    ///
    /// # Errors
    /// There is none.
    pub fn cseq(&self) -> Result<u32> {
        self.header("CSeq").split(' ').next().context("a CSeq")?.parse().context("a number")
    }

    /// The port of whoever sent this request, as its top Via says.
    ///
    /// # Errors
    /// It says none.
    pub fn sender_port(&self) -> Result<u16> {
        let sent_by = self.header("Via").split([' ', ';']).nth(1).context("a Via")?;
        sent_by.rsplit(':').next().context("a port")?.parse().context("a number")
    }

    /// What follows the header fields.
    pub fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    fn head(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or(&self.0, |(head, _)| head)
    }
}
