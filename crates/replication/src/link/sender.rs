//! The side that opened a connection: it tells what this node changed, and answers what the other asks.

use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashSet;

use super::{Broken, OUT_BYTES_MAX, Side, ping_interval, take_messages};
use crate::outlog::Forgotten;
use crate::wire::{FRAME_BYTES_MAX, GREETING_BYTES_MAX, Message, VERSIONS};
use crate::{Replica, frame};

/// Octets of changes in one frame of a repair.
const REPAIR_BYTES: usize = 256 << 10;

/// Tells a peer what this node changed. It lives as long as its connection.
#[derive(Debug)]
pub struct Sender {
    replica: Arc<Replica>,
    /// Which of the members the peer is.
    peer: usize,
    state: State,
    heard_at: Instant,
    said_at: Instant,
}

#[derive(Debug)]
enum State {
    /// The peer has not answered yet.
    Greeted,
    Telling {
        /// The last group that was sent.
        sent: u64,
        /// The peer has the groups after the first, up to the second.
        has: (u64, u64),
        compared_at: Instant,
        /// It was said that there is no more, for the first time.
        has_told_all: bool,
    },
}

impl Sender {
    /// Begins to talk to a peer, by its place in the configuration, over a connection that was just opened.
    pub fn new(replica: Arc<Replica>, peer: usize, now: Instant, out: &mut Vec<u8>) -> Self {
        let (node, incarnation) = (replica.name.as_str(), replica.incarnation);
        Message::Hello { versions: VERSIONS, node, incarnation, stamp: replica.clock.now(now) }.write(out);
        Self { replica, peer, state: State::Greeted, heard_at: now, said_at: now }
    }

    /// Whether the peer has agreed to be told.
    pub fn is_telling(&self) -> bool {
        matches!(self.state, State::Telling { .. })
    }

    fn take(
        &mut self,
        now: Instant,
        unix_ms: i64,
        message: Message<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        self.heard_at = now;
        match (&mut self.state, message) {
            (_, Message::Refused { reason }) => Err(Broken::Refused(reason.into())),
            (State::Greeted, Message::Welcome { version, node, resume, stamp }) => {
                let expected = self.replica.members.lock().list[self.peer].name.clone();
                if node != expected {
                    return Err(Broken::OtherNode { found: node.into(), expected });
                }
                if !(VERSIONS.0..=VERSIONS.1).contains(&version) {
                    return Err(Broken::Protocol);
                }
                self.begin(now, resume, out);
                self.hear(now, stamp);
                Ok(())
            }
            (State::Greeted, _) => Err(Broken::Protocol),
            (State::Telling { has, .. }, Message::Ack { group, is_synced, stamp }) => {
                for gathered_at in self.replica.outlog.gathered_at(has.1, group) {
                    let took = now.saturating_duration_since(gathered_at);
                    self.replica.metrics.ack_duration.observe(took.as_secs_f64());
                }
                *has = (if is_synced { 0 } else { has.0 }, has.1.max(group));
                self.replica.outlog.set_acked(self.peer, Some(*has));
                self.replica.members.lock().list[self.peer].has = has.1;
                self.hear(now, stamp);
                Ok(())
            }
            (State::Telling { .. }, Message::WantDigests) => {
                Message::Digests { digests: self.replica.digests() }.write(out);
                Ok(())
            }
            (State::Telling { .. }, Message::WantKeys { part, buckets }) => {
                let listed = self.replica.list(now, part.into(), buckets);
                Message::Keys { part, listed }.write(out);
                Ok(())
            }
            (State::Telling { .. }, Message::Fetch { part, hashes }) => {
                let wanted: HashSet<_> = hashes.into_iter().collect();
                let changes = self.replica.said_again(now, unix_ms, part.into(), &wanted);
                self.repair(now, part, &changes, out);
                Ok(())
            }
            (State::Telling { .. }, _) => Err(Broken::Protocol),
        }
    }

    /// Goes on where the peer is, if that is still there.
    fn begin(&mut self, now: Instant, resume: Option<u64>, out: &mut Vec<u8>) {
        let outlog = &self.replica.outlog;
        let resumed = resume.filter(|group| outlog.after(*group).is_ok());
        let sent = resumed.unwrap_or_else(|| outlog.last());
        let has = (if resumed.is_some() { 0 } else { sent }, sent);
        outlog.set_acked(self.peer, Some(has));
        self.state = State::Telling { sent, has, compared_at: now, has_told_all: false };
        if resumed.is_none() {
            Message::Digests { digests: self.replica.digests() }.write(out);
        }
        let node = &self.replica.members.lock().list[self.peer].name;
        tracing::info!(peer = %node, is_resumed = resumed.is_some(), "a peer is told what changes here");
    }

    fn repair(&self, now: Instant, part: u8, changes: &[u8], out: &mut Vec<u8>) {
        let sent_ms = self.replica.scale(now);
        let mut pieces = frame::pieces(changes, REPAIR_BYTES as u64);
        // That there is nothing is an answer, too.
        let mut changes = pieces.next().unwrap_or_default();
        loop {
            let next = pieces.next();
            Message::Repair { part, is_last: next.is_none(), sent_ms, changes }.write(out);
            let Some(piece) = next else { return };
            changes = piece;
        }
    }

    fn hear(&self, now: Instant, stamp: crate::Stamp) {
        self.replica.clock.observe(now, stamp);
        self.replica.members.lock().heard(self.peer, now);
    }

    fn frame_bytes_max(&self) -> usize {
        match self.state {
            State::Greeted => GREETING_BYTES_MAX,
            State::Telling { .. } => FRAME_BYTES_MAX,
        }
    }
}

impl Side for Sender {
    fn receive(
        &mut self,
        now: Instant,
        unix_ms: i64,
        received: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        take_messages(received, self.frame_bytes_max(), |message| {
            self.take(now, unix_ms, message, out).map(|()| self.frame_bytes_max())
        })
    }

    fn push(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), Broken> {
        let options = &self.replica.options;
        if now.saturating_duration_since(self.heard_at) >= options.peer_timeout {
            return Err(Broken::Silent);
        }
        let before = out.len();
        if let State::Telling { sent, has, compared_at, has_told_all } = &mut self.state {
            while out.len() < OUT_BYTES_MAX {
                match self.replica.outlog.after(*sent) {
                    Ok(None) => {
                        // A peer that was away waits to hear it.
                        if !std::mem::replace(has_told_all, true) {
                            Message::Ping { stamp: self.replica.clock.now(now) }.write(out);
                        }
                        break;
                    }
                    Ok(Some(group)) => {
                        let (number, stamp) = (group.number, self.replica.clock.now(now));
                        let sent_ms = self.replica.scale(now);
                        Message::Group { number, sent_ms, stamp, changes: &group.changes }.write(out);
                        *sent = number;
                    }
                    // It was too slow: it has to compare all, and what it missed is not acknowledged by what comes.
                    Err(Forgotten) => {
                        *sent = self.replica.outlog.last();
                        *has = (*sent, *sent);
                        self.replica.outlog.set_acked(self.peer, Some(*has));
                        *compared_at = now;
                        Message::Digests { digests: self.replica.digests() }.write(out);
                    }
                }
            }
            if now.saturating_duration_since(*compared_at) >= options.digest_interval
                && out.len() < OUT_BYTES_MAX
            {
                *compared_at = now;
                Message::Digests { digests: self.replica.digests() }.write(out);
            }
        }
        if out.len() == before && now.saturating_duration_since(self.said_at) >= ping_interval(options) {
            Message::Ping { stamp: self.replica.clock.now(now) }.write(out);
        }
        if out.len() > before {
            self.said_at = now;
        }
        Ok(())
    }

    fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        if self.is_telling() {
            self.replica.members.lock().heard(self.peer, now);
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.replica.outlog.set_acked(self.peer, None);
    }
}
