//! Why bytes are not a message, and what can still be answered.

use crate::{Request, StatusCode};

/// What is wrong, where, and the status that says so (RFC 3261 §21.4, §21.5).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}expected {what}", header, if header.is_empty() { "" } else { ": " })]
pub struct ParseError {
    /// The header field concerned, or empty for the start line and the framing.
    pub header: &'static str,
    /// What was expected there.
    pub what: &'static str,
    /// The status of a response to such a request: 400, 505 or 513.
    pub code: StatusCode,
}

impl ParseError {
    pub(crate) const fn bad_request(header: &'static str, what: &'static str) -> Self {
        Self { header, what, code: StatusCode::BAD_REQUEST }
    }
}

/// A message that was refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Malformed {
    /// Why.
    #[source]
    pub error: ParseError,
    /// The request as far as it could be read, if a response can be built from it: it has a Via whose sent-by is
    /// readable, From, To, Call-ID and CSeq, and is no ACK. `None`: drop it.
    pub request: Option<Box<Request>>,
}
