//! Connections between nodes, without the sockets: octets that were received go in, octets to be sent come out.

mod receiver;
mod sender;

use std::time::{Duration, Instant};

pub use receiver::Receiver;
pub use sender::Sender;

use crate::wire::{Message, next_frame};
use crate::{Malformed, ReplicaOptions};

/// One side of a connection.
pub trait Side {
    /// Takes what was received off the front of a buffer, as far as it is whole.
    ///
    /// # Errors
    /// If the connection is to be closed, when what is in `out` was sent.
    fn receive(
        &mut self,
        now: Instant,
        unix_ms: i64,
        received: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken>;

    /// Says what there is to say, as far as there is room in `out`; from time to time, at least that it is there.
    ///
    /// # Errors
    /// If the connection is to be closed.
    fn push(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), Broken>;

    /// Octets came, of a frame that may yet be whole long after, or that has to wait: the peer is there.
    fn heard(&mut self, now: Instant);
}

/// Takes whole messages off the front of a buffer; the closure returns how long the next may be.
fn take_messages(
    received: &mut Vec<u8>,
    mut frame_bytes_max: usize,
    mut take: impl FnMut(Message<'_>) -> Result<usize, Broken>,
) -> Result<(), Broken> {
    let mut used = 0;
    while let Some((frame, _)) = next_frame(&received[used..], frame_bytes_max)? {
        frame_bytes_max = take(Message::read(frame)?)?;
        used += 4 + frame.len();
    }
    received.drain(..used);
    Ok(())
}

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
