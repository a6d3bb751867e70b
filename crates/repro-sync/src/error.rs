//! What can be wrong: with one message, or with a whole connection.

/// A message that is not what it should be. It costs itself alone: the connection goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not the dialect of §6.2.
    #[error("expected {expected}")]
    Malformed {
        /// What was expected where it went wrong.
        expected: &'static str,
    },
    /// Elements within elements beyond what any message has.
    #[error("elements nested more than {depth_max} deep")]
    TooDeep {
        /// How deep they may be.
        depth_max: usize,
    },
    /// An element that repro always writes is not there, or empty.
    #[error("{element} is missing")]
    Missing {
        /// Its name.
        element: &'static str,
    },
}

impl ReadError {
    pub(crate) const fn expected(expected: &'static str) -> Self {
        Self::Malformed { expected }
    }
}

/// Why a connection is to be closed. All but a refusal are worth another try after a pause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The peer sends a message that does not end in time.
    #[error("a message of more than {message_bytes_max} octets")]
    MessageTooLarge {
        /// How long it may be.
        message_bytes_max: usize,
    },
    /// The reader does not read. It gets all it missed with the dump when it comes back.
    #[error("{queued_bytes} octets wait for a reader that does not read")]
    ReaderTooSlow {
        /// What would have had to wait.
        queued_bytes: usize,
    },
    /// A reader has not asked for what it may have.
    #[error("no request came that could be granted")]
    NoRequest,
    /// The listener has not completed its dump, and says nothing more.
    #[error("the listener fell silent before the dump was complete")]
    NoReply,
    /// The listener does not grant the request: the operator has to act, as its version will not change by itself.
    #[error("the listener refused: {code} {text}")]
    Refused {
        /// 505 for the version, 400 for anything else.
        code: u16,
        /// What it said of it.
        text: String,
    },
    /// The listener's reply is not readable, so nobody knows whether its dump is complete.
    #[error("the reply is not readable: {0}")]
    Reply(#[from] ReadError),
}
