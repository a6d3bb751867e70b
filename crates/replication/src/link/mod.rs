//! Connections between nodes, without the sockets: octets that were received go in, octets to be sent come out.

mod receiver;
mod sender;

use std::time::Duration;

pub use receiver::Receiver;
pub use sender::Sender;

use crate::{Malformed, ReplicaOptions};

/// How often a side says that it is there, at least: four times in the timeout, if that is more often.
const PING_INTERVAL: Duration = Duration::from_secs(1);

fn ping_interval(options: &ReplicaOptions) -> Duration {
    PING_INTERVAL.min(options.peer_timeout / 4)
}

/// Octets that wait to be sent, beyond which no more are made.
pub(crate) const OUT_BYTES_MAX: usize = 1 << 20;

/// A connection that is of no more use: it is to be closed, and may be opened again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// What came is not our protocol, or not at this place.
    #[error("the other side does not speak the protocol")]
    Protocol,
    /// The other side does not want to talk.
    #[error("refused: {0}")]
    Refused(String),
    /// Another node than was expected.
    #[error("node {found:?} answered, {expected:?} was expected")]
    OtherNode {
        /// Who answered.
        found: String,
        /// Who was to.
        expected: String,
    },
    /// Nothing was heard for the whole timeout.
    #[error("nothing was heard for too long")]
    Silent,
    /// The other side has opened another connection.
    #[error("a later connection took its place")]
    Replaced,
}

impl From<Malformed> for Broken {
    fn from(_: Malformed) -> Self {
        Self::Protocol
    }
}
