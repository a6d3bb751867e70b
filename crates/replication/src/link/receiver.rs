//! The side that accepted a connection: it takes what the other node changed, and finds out what it lacks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Broken, Side, ping_interval, take_messages};
use crate::members::Taken;
use crate::part::Listed;
use crate::wire::{FRAME_BYTES_MAX, GREETING_BYTES_MAX, Message, VERSIONS};
use crate::{Replica, Stamp};

/// What is younger may be on its way; only what is older has diverged.
const IN_FLIGHT: Duration = Duration::from_secs(5);
/// Keys that are fetched at once.
const FETCH_MAX: usize = 16_384;

/// Takes what a peer changed. It lives as long as its connection.
#[derive(Debug)]
pub struct Receiver {
    replica: Arc<Replica>,
    state: State,
    heard_at: Instant,
    said_at: Instant,
}

#[derive(Debug)]
enum State {
    /// The peer has not said who it is.
    Accepted,
    Taking(Taking),
}

#[derive(Debug)]
struct Taking {
    /// Which of the members the peer is.
    peer: usize,
    /// Which of its connections this is.
    connection: u64,
    taken: Taken,
    comparison: Option<Comparison>,
    /// Groups were taken that are not acknowledged yet.
    owes_ack: bool,
}

/// A comparison of all: part after part, what differs is listed, and what is lacking fetched.
#[derive(Debug)]
struct Comparison {
    /// The part under way is the first.
    parts: VecDeque<(u8, u64)>,
    /// What is lacking of the part under way and not asked for yet.
    lacking: Vec<Listed>,
    /// Some group was missed after the digests were taken.
    is_stale: bool,
    /// It is the first one, so what is lacking has not diverged but was never here.
    is_first: bool,
    diverged: i64,
}

impl Receiver {
    /// Begins to listen to whoever opened a connection.
    pub fn new(replica: Arc<Replica>, now: Instant) -> Self {
        Self { replica, state: State::Accepted, heard_at: now, said_at: now }
    }

    /// Which of the members the peer is, once it has said so.
    pub fn peer(&self) -> Option<usize> {
        match &self.state {
            State::Accepted => None,
            State::Taking(taking) => Some(taking.peer),
        }
    }

    fn take(
        &mut self,
        now: Instant,
        unix_ms: i64,
        message: Message<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        self.heard_at = now;
        let taking = match (&mut self.state, message) {
            (State::Accepted, Message::Hello { versions, node, incarnation, stamp }) => {
                let taking = self.welcome(now, versions, node, incarnation, stamp, out)?;
                self.state = State::Taking(taking);
                return Ok(());
            }
            (State::Accepted, _) | (_, Message::Hello { .. }) => return Err(Broken::Protocol),
            (State::Taking(taking), message) => {
                taking.take(&self.replica, now, unix_ms, message, out)?;
                taking
            }
        };
        let mut members = self.replica.members.lock();
        members.heard(taking.peer, now);
        let member = &mut members.list[taking.peer];
        if member.connection != taking.connection {
            return Err(Broken::Replaced);
        }
        member.taken = taking.taken;
        Ok(())
    }

    fn welcome(
        &self,
        now: Instant,
        versions: (u16, u16),
        node: &str,
        incarnation: u64,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) -> Result<Taking, Broken> {
        let refuse = |out: &mut Vec<u8>, reason: &str| {
            Message::Refused { reason }.write(out);
            Broken::Refused(reason.into())
        };
        let mut members = self.replica.members.lock();
        let Some(peer) = members.find(node) else {
            return Err(refuse(out, "this node is not among the peers"));
        };
        let version = versions.1.min(VERSIONS.1);
        if version < versions.0.max(VERSIONS.0) {
            return Err(refuse(out, "no version of the protocol in common"));
        }
        members.heard(peer, now);
        let member = &mut members.list[peer];
        member.connection += 1;
        if member.taken.incarnation != incarnation || !member.taken.is_synced {
            member.taken = Taken { incarnation, ..Taken::default() };
        }
        let taken = member.taken;
        self.replica.clock.observe(now, stamp);
        let (node, stamp) = (self.replica.name.as_str(), self.replica.clock.now(now));
        let resume = taken.is_synced.then_some(taken.group);
        Message::Welcome { version, node, resume, stamp }.write(out);
        Ok(Taking { peer, connection: member.connection, taken, comparison: None, owes_ack: false })
    }

    fn acknowledge(&mut self, now: Instant, out: &mut Vec<u8>) {
        if let State::Taking(taking) = &mut self.state
            && std::mem::take(&mut taking.owes_ack)
        {
            let Taken { group, is_synced, .. } = taking.taken;
            Message::Ack { group, is_synced, stamp: self.replica.clock.now(now) }.write(out);
            self.said_at = now;
        }
    }

    fn frame_bytes_max(&self) -> usize {
        match self.state {
            State::Accepted => GREETING_BYTES_MAX,
            State::Taking(_) => FRAME_BYTES_MAX,
        }
    }
}

impl Side for Receiver {
    fn receive(
        &mut self,
        now: Instant,
        unix_ms: i64,
        received: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        take_messages(received, self.frame_bytes_max(), |message| {
            self.take(now, unix_ms, message, out).map(|()| self.frame_bytes_max())
        })?;
        self.acknowledge(now, out);
        Ok(())
    }

    fn push(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), Broken> {
        if now.saturating_duration_since(self.heard_at) >= self.replica.options.peer_timeout {
            return Err(Broken::Silent);
        }
        if let State::Taking(taking) = &mut self.state {
            if self.replica.members.lock().list[taking.peer].connection != taking.connection {
                return Err(Broken::Replaced);
            }
            taking.owes_ack |=
                now.saturating_duration_since(self.said_at) >= ping_interval(&self.replica.options);
        }
        self.acknowledge(now, out);
        Ok(())
    }

    fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        if let State::Taking(taking) = &self.state {
            self.replica.members.lock().heard(taking.peer, now);
        }
    }
}

impl Taking {
    fn take(
        &mut self,
        replica: &Replica,
        now: Instant,
        unix_ms: i64,
        message: Message<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        match message {
            Message::Group { number, sent_ms, stamp, changes } => {
                replica.clock.observe(now, stamp);
                // The first of a life that is joined: all before it is being compared, or was.
                let is_joined = self.taken.group == 0;
                if number > self.taken.group + 1 && !is_joined {
                    self.miss();
                }
                if number > self.taken.group {
                    let latest = replica.apply(now, unix_ms, sent_ms, changes);
                    self.taken.group = number;
                    self.taken.up_to = self.taken.up_to.max(latest);
                }
                self.owes_ack = true;
            }
            // Whoever says no more than that has said all.
            Message::Ping { stamp } => {
                replica.clock.observe(now, stamp);
                self.taken.up_to = self.taken.up_to.max(stamp);
                self.owes_ack = true;
            }
            Message::Digests { digests } => {
                if self.comparison.is_none() {
                    self.comparison = Some(Comparison {
                        parts: replica.differing(&digests).into(),
                        lacking: Vec::new(),
                        is_stale: false,
                        is_first: !self.taken.is_synced,
                        diverged: 0,
                    });
                    self.list_next(replica, out);
                }
            }
            Message::Keys { part, listed } => {
                let comparison = self.comparison.as_mut().ok_or(Broken::Protocol)?;
                comparison.lacking = replica.lacking(part.into(), &listed);
                let settled = Stamp(replica.clock.now(now).0.saturating_sub(milliseconds(IN_FLIGHT) << 16));
                let old = comparison.lacking.iter().filter(|listed| listed.version.stamp < settled).count();
                comparison.diverged += i64::try_from(old).unwrap_or(i64::MAX);
                self.fetch_next(replica, part, out);
            }
            Message::Repair { part, is_last, sent_ms, changes } => {
                if self.comparison.is_none() {
                    return Err(Broken::Protocol);
                }
                let _ = replica.apply(now, unix_ms, sent_ms, changes);
                if is_last {
                    self.fetch_next(replica, part, out);
                }
            }
            _ => return Err(Broken::Protocol),
        }
        Ok(())
    }

    /// Some group did not come.
    fn miss(&mut self) {
        self.taken.is_synced = false;
        if let Some(comparison) = &mut self.comparison {
            comparison.is_stale = true;
        }
    }

    /// Asks for more of what is lacking of a part, or goes on to the next.
    fn fetch_next(&mut self, replica: &Replica, part: u8, out: &mut Vec<u8>) {
        let Some(comparison) = &mut self.comparison else { return };
        let rest = comparison.lacking.len().saturating_sub(FETCH_MAX);
        let hashes: Vec<_> = comparison.lacking.drain(rest..).map(|listed| listed.hash).collect();
        if hashes.is_empty() {
            comparison.parts.pop_front();
            self.list_next(replica, out);
        } else {
            Message::Fetch { part, hashes }.write(out);
        }
    }

    /// Asks what there is in the next part that differs; after the last, all is compared.
    fn list_next(&mut self, replica: &Replica, out: &mut Vec<u8>) {
        let Some(comparison) = &mut self.comparison else { return };
        if let Some(&(part, buckets)) = comparison.parts.front() {
            Message::WantKeys { part, buckets }.write(out);
            return;
        }
        let Comparison { is_stale, is_first, diverged, .. } = *comparison;
        self.comparison = None;
        if is_stale {
            Message::WantDigests.write(out);
            return;
        }
        replica.metrics.comparisons.inc();
        let name = replica.members.lock().list[self.peer].name.clone();
        if is_first {
            tracing::info!(peer = %name, "all that a peer has is here");
        } else {
            replica.metrics.diverged(&name, diverged);
            if diverged > 0 {
                tracing::warn!(peer = %name, records = diverged, "records had diverged, and are repaired");
            }
        }
        self.taken.is_synced = true;
        self.owes_ack = true;
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
