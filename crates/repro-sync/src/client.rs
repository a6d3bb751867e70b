//! What a client does with one connection (§6.3, §6.7).
//!
//! Where it differs from repro, and why:
//!
//! - It reads the code of the response. repro takes any for success, so a peer of another version goes unnoticed (§7, 26).
//! - Its keep-alive is the four octets that repro meant to send, not 85 of its memory (§7, 10).
//! - It gives up on a listener that falls silent before the dump is complete. Later, silence is usual: a listener sends no
//!   keep-alives, and only TCP notices that it is gone.

use std::time::Instant;

use crate::{Closed, Event, Framer, Limits, PubInfo, REQUEST, ReadError, RegInfo, Reply, Root, Roots};

/// What keeps a connection open through whatever is between: the listener ignores it.
pub const KEEP_ALIVE: &[u8; 4] = b"\r\n\r\n";

/// What is to be done outside of the session, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOutput {
    /// These octets are to be sent.
    Send(&'static [u8]),
    /// The peer says so: to be merged.
    Event(Event),
    /// A message was not readable, and is left out. To be counted.
    Unreadable(ReadError),
    /// All that the peer had when it was asked has been said. To be told to the [`Backoff`](crate::Backoff).
    DumpComplete,
    /// The connection is to be closed. The session does nothing more.
    Close(Closed),
}

/// One connection of a client. A new connection has a new session, so that nothing half is left of the one before.
#[derive(Debug)]
pub struct ClientSession {
    limits: Limits,
    framer: Framer,
    state: State,
    /// When a keep-alive is due.
    keep_alive: Instant,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The dump is not complete.
    Opening {
        until: Instant,
    },
    Live,
    Closed,
}

impl ClientSession {
    /// A connection that was made now, and what is to be sent on it.
    pub fn connect(limits: Limits, now: Instant) -> (Self, ClientOutput) {
        let session = Self {
            limits,
            framer: Framer::new(limits.message_bytes_max, Roots::Known),
            state: State::Opening { until: now + limits.reply_timeout },
            keep_alive: now + limits.keep_alive,
        };
        (session, ClientOutput::Send(REQUEST))
    }

    /// Takes what the peer sent.
    pub fn receive(&mut self, octets: &[u8], now: Instant) -> Vec<ClientOutput> {
        let mut outputs = Vec::new();
        match &mut self.state {
            State::Opening { until } => *until = now + self.limits.reply_timeout,
            State::Live => {}
            State::Closed => return outputs,
        }
        self.keep_alive = now + self.limits.keep_alive;
        self.framer.push(octets);
        while !matches!(self.state, State::Closed) {
            let frame = match self.framer.cut() {
                Ok(None) => break,
                Ok(Some(frame)) => frame,
                Err(closed) => {
                    self.state = State::Closed;
                    outputs.push(ClientOutput::Close(closed));
                    break;
                }
            };
            let event = match frame.root {
                Root::RegInfo => RegInfo::read(frame.octets).map(Event::from),
                Root::PubInfo => PubInfo::read(frame.octets).map(Event::from),
                Root::InitialSync | Root::Response => {
                    let reply = Reply::read(frame.octets);
                    outputs.extend(self.reply(reply));
                    continue;
                }
                // A framer of known roots gives none.
                Root::Other => continue,
            };
            outputs.push(event.map_or_else(ClientOutput::Unreadable, ClientOutput::Event));
        }
        outputs
    }

    fn reply(&mut self, reply: Result<Reply, ReadError>) -> Option<ClientOutput> {
        let closed = match reply {
            Ok(Reply { code: 200..=299, .. }) if matches!(self.state, State::Opening { .. }) => {
                self.state = State::Live;
                return Some(ClientOutput::DumpComplete);
            }
            // Of a request that was not ours to make; it changes nothing.
            Ok(Reply { code: 200..=299, .. }) => return None,
            Ok(Reply { code, text }) => Closed::Refused { code, text },
            Err(error) => Closed::Reply(error),
        };
        self.state = State::Closed;
        Some(ClientOutput::Close(closed))
    }

    /// When [`Self::wake`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Opening { until } => Some(until.min(self.keep_alive)),
            State::Live => Some(self.keep_alive),
            State::Closed => None,
        }
    }

    /// Takes the time. Before [`Self::deadline`] it does nothing.
    pub fn wake(&mut self, now: Instant) -> Option<ClientOutput> {
        match self.state {
            State::Opening { until } if now >= until => {
                self.state = State::Closed;
                Some(ClientOutput::Close(Closed::NoReply))
            }
            State::Opening { .. } | State::Live if now >= self.keep_alive => {
                self.keep_alive = now + self.limits.keep_alive;
                Some(ClientOutput::Send(KEEP_ALIVE))
            }
            State::Opening { .. } | State::Live | State::Closed => None,
        }
    }

    /// Whether the initial dump is complete.
    pub const fn is_live(&self) -> bool {
        matches!(self.state, State::Live)
    }
}
