//! What a listener does with one connection (§6.3, §6.7).
//!
//! Where it differs from repro, and why:
//!
//! - Events go only to a reader whose request was granted. repro sends them to every connection (XRS:198-207): to
//!   strangers, and to readers of another version, which cannot know what they mean.
//! - What waits for a reader is bounded, and a reader that does not read is cut. It misses nothing: when it comes back it
//!   asks for the dump. A dump goes out as fast as it is read, so it needs no room for all of it.
//! - A reader that does not get as far as a dump is cut after a while, so that strangers cannot use up the connections of the
//!   real peer (§7, 5). One that is refused is not cut before: repro does not look at the code, and would connect again at
//!   once, for ever.

use std::collections::VecDeque;
use std::time::Instant;

use crate::{Closed, Event, Framer, Limits, ResultCode, Root, Roots, VERSION, requested_version};

/// What is to be done outside of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerOutput {
    /// The request was granted. From now on all state is to be given to [`ServerSession::dump`], as long as
    /// [`ServerSession::wants_dump`], each entry as it is at that time; then [`ServerSession::dump_complete`] is due.
    SendDump,
    /// A request was refused, and answered so. To be counted.
    Refused(ResultCode),
    /// Another request came before its dump was complete; it is answered with that. To be counted.
    Ignored,
    /// The connection is to be closed. The session does nothing more.
    Close(Closed),
}

/// One connection of a listener.
///
/// Octets to be sent are in [`Self::pending`], and are taken off by [`Self::sent`].
#[derive(Debug)]
pub struct ServerSession {
    limits: Limits,
    framer: Framer,
    state: State,
    queue: VecDeque<u8>,
}

#[derive(Debug)]
enum State {
    /// No request was granted yet.
    Opening {
        until: Instant,
    },
    /// The dump is under way; what it ends with is made of the request.
    Dumping {
        request: Vec<u8>,
    },
    Live,
    Closed,
}

impl ServerSession {
    /// A connection that was accepted now.
    pub fn accept(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            framer: Framer::new(limits.request_bytes_max, Roots::Any),
            state: State::Opening { until: now + limits.request_timeout },
            queue: VecDeque::new(),
        }
    }

    /// Takes what the peer sent: requests, and between them whatever repro takes for a keep-alive.
    pub fn receive(&mut self, octets: &[u8]) -> Vec<ServerOutput> {
        let mut outputs = Vec::new();
        if matches!(self.state, State::Closed) {
            return outputs;
        }
        self.framer.push(octets);
        loop {
            let (root, request) = match self.framer.cut() {
                Ok(None) => return outputs,
                Ok(Some(frame)) => (frame.root, frame.octets.to_vec()),
                Err(closed) => {
                    outputs.push(self.close(closed));
                    return outputs;
                }
            };
            match self.request(root, request) {
                Ok(output) => outputs.push(output),
                Err(closed) => {
                    outputs.push(self.close(closed));
                    return outputs;
                }
            }
        }
    }

    fn request(&mut self, root: Root, request: Vec<u8>) -> Result<ServerOutput, Closed> {
        let result = match root {
            Root::InitialSync => match requested_version(&request) {
                Ok(VERSION) => ResultCode::Completed,
                Ok(_) => ResultCode::VersionNotSupported,
                Err(_) => ResultCode::ParseError,
            },
            Root::RegInfo | Root::PubInfo | Root::Response | Root::Other => ResultCode::UnknownMethod,
        };
        match (result, &self.state) {
            (ResultCode::Completed, State::Dumping { .. }) => Ok(ServerOutput::Ignored),
            (ResultCode::Completed, _) => {
                self.state = State::Dumping { request };
                // What comes now is keep-alives: memory of the peer, where any name may stand, and is no request.
                self.framer.set_roots(Roots::Request);
                Ok(ServerOutput::SendDump)
            }
            _ => {
                self.enqueue(&result.respond(&request))?;
                Ok(ServerOutput::Refused(result))
            }
        }
    }

    /// Whether the dump may go on: it is not complete, and the reader has read most of what is there.
    pub fn wants_dump(&self) -> bool {
        matches!(self.state, State::Dumping { .. }) && self.queue.len() < self.limits.dump_ahead_bytes
    }

    /// An entry of the dump. Outside of a dump it is not sent.
    ///
    /// # Errors
    /// [`Closed::ReaderTooSlow`]: the connection is to be closed; the session does nothing more.
    pub fn dump(&mut self, event: &Event) -> Result<(), Closed> {
        match self.state {
            State::Dumping { .. } => self.send(event),
            State::Opening { .. } | State::Live | State::Closed => Ok(()),
        }
    }

    /// There is no more to dump. Outside of a dump it says nothing.
    ///
    /// # Errors
    /// As with [`Self::dump`].
    pub fn dump_complete(&mut self) -> Result<(), Closed> {
        let State::Dumping { request } = &mut self.state else { return Ok(()) };
        let request = std::mem::take(request);
        self.state = State::Live;
        self.enqueue(&ResultCode::Completed.respond(&request)).inspect_err(|_| self.shut())
    }

    /// A change that happened here. It is sent if a request was granted, between the entries of a dump, too.
    ///
    /// # Errors
    /// As with [`Self::dump`].
    pub fn live(&mut self, event: &Event) -> Result<(), Closed> {
        match self.state {
            State::Dumping { .. } | State::Live => self.send(event),
            State::Opening { .. } | State::Closed => Ok(()),
        }
    }

    /// Octets to be sent next; empty if there are none.
    pub fn pending(&self) -> &[u8] {
        self.queue.as_slices().0
    }

    /// So many of them were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.queue.drain(..bytes.min(self.queue.len()));
    }

    /// When [`Self::wake`] is due.
    pub const fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Opening { until } => Some(until),
            State::Dumping { .. } | State::Live | State::Closed => None,
        }
    }

    /// Takes the time.
    pub fn wake(&mut self, now: Instant) -> Option<ServerOutput> {
        self.deadline().filter(|until| now >= *until).map(|_| self.close(Closed::NoRequest))
    }

    /// Whether the reader has asked for what it gets.
    pub const fn is_granted(&self) -> bool {
        matches!(self.state, State::Dumping { .. } | State::Live)
    }

    /// Whether the reader has had a dump, and is told what changes.
    pub const fn is_live(&self) -> bool {
        matches!(self.state, State::Live)
    }

    fn send(&mut self, event: &Event) -> Result<(), Closed> {
        if !event.is_worth_sending() {
            return Ok(());
        }
        let mut octets = Vec::new();
        event.write(&mut octets);
        self.enqueue(&octets).inspect_err(|_| self.shut())
    }

    /// Messages wait whole or not at all.
    fn enqueue(&mut self, octets: &[u8]) -> Result<(), Closed> {
        let queued_bytes = self.queue.len().saturating_add(octets.len());
        if queued_bytes > self.limits.queue_bytes_max {
            return Err(Closed::ReaderTooSlow { queued_bytes });
        }
        self.queue.extend(octets);
        Ok(())
    }

    fn close(&mut self, closed: Closed) -> ServerOutput {
        self.shut();
        ServerOutput::Close(closed)
    }

    fn shut(&mut self) {
        self.state = State::Closed;
        self.queue = VecDeque::new();
    }
}
