//! What this node changed, in the order in which it is told to the others: groups of changes with rising numbers.
//!
//! Changes gather in lanes, as in the journal; a group is what gathered until somebody came to send it. The latest groups
//! are kept, so that a node that was away for a moment goes on where it was.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;

use crate::Record;
use crate::frame::Frame;

/// A change of a part gathers in the lane that is the part modulo this.
pub(crate) const LANES: usize = 16;

/// Changes that are sent together. Its records end on the scale of the replica that made it.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) number: u64,
    pub(crate) gathered_at: Instant,
    /// Whole frames, a change each.
    pub(crate) changes: Vec<u8>,
    /// Where those of each lane end.
    ends: [usize; LANES],
}

impl Group {
    /// The changes of one lane.
    pub(crate) fn of_lane(&self, lane: usize) -> &[u8] {
        let begin = lane.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.changes[begin..self.ends[lane]]
    }
}

pub(crate) struct Outlog {
    lanes: Box<[Mutex<Vec<u8>>]>,
    /// The group that gathers.
    gathering: AtomicU64,
    groups: Mutex<Groups>,
    acks: Mutex<Acks>,
    /// Somebody is to come and send.
    is_called: AtomicBool,
}

#[derive(Debug, Default)]
struct Groups {
    list: VecDeque<Arc<Group>>,
    bytes: usize,
}

/// How far the others are.
#[derive(Debug, Default)]
struct Acks {
    /// What each peer has that is connected: the groups after the first number, up to the second. An engine is told by lane,
    /// and each lane has a place here.
    peers: Vec<Option<(u64, u64)>>,
    is_by_lane: bool,
    /// Groups up to this one are no longer waited for.
    given_up: u64,
    waiting: Vec<(Awaited, Waker)>,
}

/// What somebody waits for: that a group is elsewhere, of one lane or of all.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    group: u64,
    lane: Option<usize>,
}

impl Acks {
    fn outcome(&self, Awaited { group, lane }: Awaited) -> Option<Acked> {
        let has = |peer: &Option<(u64, u64)>| peer.is_some_and(|(after, to)| after < group && group <= to);
        let (is_there, is_away) = if self.is_by_lane {
            let concerned = lane.and_then(|lane| self.peers.get(lane..=lane)).unwrap_or(&self.peers);
            (concerned.iter().all(has), concerned.iter().any(Option::is_none))
        } else {
            (self.peers.iter().any(has), self.peers.iter().all(Option::is_none))
        };
        if is_there {
            Some(Acked::ByPeer)
        } else {
            (is_away || group <= self.given_up).then_some(Acked::ByNobody)
        }
    }

    fn ready(&mut self) -> Vec<Waker> {
        let waiting = std::mem::take(&mut self.waiting);
        let (ready, waiting) = waiting.into_iter().partition(|(awaited, _)| self.outcome(*awaited).is_some());
        self.waiting = waiting;
        let ready: Vec<_> = ready;
        ready.into_iter().map(|(_, waker)| waker).collect()
    }
}

/// Whether a change is on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acked {
    /// At least one has it.
    ByPeer,
    /// None said so in time, or there is none.
    ByNobody,
}

impl Outlog {
    /// Of a node that tells others: what one of them has is acknowledged.
    pub(crate) fn to_nodes() -> Self {
        Self::new(Acks::default())
    }

    /// Of a node that tells an engine, lane by lane: [`Outlog::set_acked`] takes lanes for peers.
    pub(crate) fn to_engine() -> Self {
        Self::new(Acks { peers: vec![None; LANES], is_by_lane: true, ..Acks::default() })
    }

    fn new(acks: Acks) -> Self {
        Self {
            lanes: (0..LANES).map(|_| Mutex::default()).collect(),
            gathering: AtomicU64::new(1),
            groups: Mutex::default(),
            acks: Mutex::new(acks),
            is_called: AtomicBool::new(false),
        }
    }

    /// Adds a change, and returns the number of its group. All changes of one part are in order.
    pub(crate) fn append<'r>(&self, part: usize, records: impl Iterator<Item = Record<'r>>) -> u64 {
        let mut lane = self.lanes[part % LANES].lock();
        let mut frame = Frame::begin(&mut lane);
        records.for_each(|record| record.write(frame.octets()));
        // The owner's change was within bounds, and this is hardly longer.
        let _ = frame.end();
        self.gathering.load(Ordering::Acquire)
    }

    /// The group that all that was appended so far is in, or in an earlier one; it may yet be empty.
    pub(crate) fn so_far(&self) -> u64 {
        let is_empty = self.lanes.iter().all(|lane| lane.lock().is_empty());
        let gathering = self.gathering.load(Ordering::Acquire);
        if is_empty { gathering - 1 } else { gathering }
    }

    /// Whether somebody has to be woken to send: the first who asks is told so.
    pub(crate) fn call(&self) -> bool {
        !self.is_called.swap(true, Ordering::AcqRel)
    }

    /// Makes a group of what gathered, if there is anything, and forgets the oldest ones beyond `bytes_max`.
    pub(crate) fn gather(&self, now: Instant, bytes_max: usize) {
        self.is_called.store(false, Ordering::Release);
        let mut groups = self.groups.lock();
        // All at once, so that whoever appends knows the number of the group that its change goes with.
        let mut lanes: Vec<_> = self.lanes.iter().map(|lane| lane.lock()).collect();
        if lanes.iter().all(|lane| lane.is_empty()) {
            return;
        }
        let number = self.gathering.fetch_add(1, Ordering::AcqRel);
        let taken: Vec<Vec<u8>> = lanes.iter_mut().map(|lane| std::mem::take(&mut **lane)).collect();
        drop(lanes);
        let mut ends = [0; LANES];
        let mut end = 0;
        for (lane, octets) in taken.iter().enumerate() {
            end += octets.len();
            ends[lane] = end;
        }
        let changes = taken.concat();
        groups.bytes += changes.len();
        groups.list.push_back(Arc::new(Group { number, gathered_at: now, changes, ends }));
        while groups.bytes > bytes_max
            && groups.list.len() > 1
            && let Some(oldest) = groups.list.pop_front()
        {
            groups.bytes -= oldest.changes.len();
        }
    }

    /// The next group after one, if there is one.
    ///
    /// # Errors
    /// If that is no longer there, or `number` is not reached yet: who was away has to compare all.
    pub(crate) fn after(&self, number: u64) -> Result<Option<Arc<Group>>, Forgotten> {
        let groups = self.groups.lock();
        let next = self.gathering.load(Ordering::Acquire);
        let first = groups.list.front().map_or(next, |group| group.number);
        let at = (number + 1).checked_sub(first).ok_or(Forgotten)?;
        if number >= next {
            return Err(Forgotten);
        }
        // Numbers have no gaps.
        Ok(usize::try_from(at).ok().and_then(|at| groups.list.get(at)).cloned())
    }

    /// The number of the last group that was gathered; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        let _groups = self.groups.lock();
        self.gathering.load(Ordering::Acquire) - 1
    }

    /// When the groups were gathered that come after one number, up to another.
    pub(crate) fn gathered_at(&self, after: u64, to: u64) -> Vec<Instant> {
        let groups = self.groups.lock();
        let is_meant = |group: &&Arc<Group>| after < group.number && group.number <= to;
        groups
            .list
            .iter()
            .rev()
            .take_while(|group| group.number > after)
            .filter(is_meant)
            .map(|g| g.gathered_at)
            .collect()
    }

    /// When the oldest group was gathered that comes after one.
    pub(crate) fn waits_since(&self, acked: u64) -> Option<Instant> {
        let groups = self.groups.lock();
        let at = groups.list.partition_point(|group| group.number <= acked);
        groups.list.get(at).map(|group| group.gathered_at)
    }

    /// Says which groups a peer has, those after the first number up to the second; `None` if it is not connected, so that
    /// nobody waits for it.
    pub(crate) fn set_acked(&self, peer: usize, has: Option<(u64, u64)>) {
        self.conclude(|acks| {
            if acks.peers.len() <= peer {
                acks.peers.resize(peer + 1, None);
            }
            acks.peers[peer] = has;
        });
    }

    /// What was gathered at `before` or earlier is waited for no longer.
    pub(crate) fn give_up(&self, before: Instant) {
        let given_up = {
            let groups = self.groups.lock();
            let at = groups.list.partition_point(|group| group.gathered_at <= before);
            at.checked_sub(1).and_then(|at| groups.list.get(at)).map_or(0, |group| group.number)
        };
        self.conclude(|acks| acks.given_up = acks.given_up.max(given_up));
    }

    fn conclude(&self, change: impl FnOnce(&mut Acks)) {
        let ready = {
            let mut acks = self.acks.lock();
            change(&mut acks);
            acks.ready()
        };
        ready.into_iter().for_each(Waker::wake);
    }

    fn poll_acked(&self, awaited: Awaited, context: &Context<'_>) -> Poll<Acked> {
        let mut acks = self.acks.lock();
        match acks.outcome(awaited) {
            Some(acked) => Poll::Ready(acked),
            None => {
                acks.waiting.push((awaited, context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// A group is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgotten;

/// Resolves when a change is on another node, or is no longer waited for.
#[must_use = "a change that nobody waits for is sent all the same"]
pub(crate) struct PeerAck {
    outlog: Arc<Outlog>,
    awaited: Awaited,
}

impl PeerAck {
    /// Of a change of a part, that went with a group.
    pub(crate) fn of(outlog: &Arc<Outlog>, part: usize, group: u64) -> Self {
        Self { outlog: Arc::clone(outlog), awaited: Awaited { group, lane: Some(part % LANES) } }
    }

    /// Of all that went with a group or before.
    pub(crate) fn of_all(outlog: &Arc<Outlog>, group: u64) -> Self {
        Self { outlog: Arc::clone(outlog), awaited: Awaited { group, lane: None } }
    }
}

impl Future for PeerAck {
    type Output = Acked;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.outlog.poll_acked(self.awaited, context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Kind, frame};

    fn append(log: &Outlog, part: usize, key: &'static [u8]) -> u64 {
        log.append(part, [Record::present(Kind(1), key, b"", 0)].into_iter())
    }

    fn poll(log: &Arc<Outlog>, group: u64) -> Poll<Acked> {
        let mut ack = PeerAck::of(log, 0, group);
        Pin::new(&mut ack).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn changes_are_sent_in_groups() {
        let (log, now) = (Outlog::to_nodes(), Instant::now());
        log.gather(now, 1000);
        assert_eq!((log.last(), log.so_far()), (0, 0));
        assert_eq!([append(&log, 0, b"a"), append(&log, 63, b"b")], [1, 1]);
        assert_eq!((log.last(), log.so_far()), (0, 1));
        log.gather(now, 1000);
        assert_eq!(append(&log, 0, b"c"), 2);
        log.gather(now, 1000);
        let first = log.after(0).expect("it is there").expect("it is there");
        assert_eq!((first.number, frame::each(&first.changes).count()), (1, 2));
        assert_eq!(log.after(1).map(|group| group.map(|g| g.number)), Ok(Some(2)));
        assert!(matches!(log.after(2), Ok(None)));
        assert!(log.after(3).is_err(), "of an earlier life of this node");
        append(&log, 0, b"d");
        log.gather(now, 1);
        assert!(matches!(log.after(0), Err(Forgotten)) && matches!(log.after(1), Err(Forgotten)));
        assert_eq!(log.after(2).map(|group| group.map(|g| g.number)), Ok(Some(3)));
    }

    // Each lane goes to its own place in the engine, and one that is away holds up nobody else.
    #[test]
    fn of_an_engine_the_lane_counts_that_a_change_went_with() {
        let (log, now) = (Arc::new(Outlog::to_engine()), Instant::now());
        append(&log, 3, b"a");
        append(&log, 4, b"b");
        log.gather(now, 1000);
        let keys = |lane| {
            let group = log.after(0).expect("it is there").expect("it is there");
            frame::each(group.of_lane(lane)).count()
        };
        assert_eq!([2, 3, 4, 5].map(keys), [0, 1, 1, 0]);
        log.set_acked(3, Some((0, 0)));
        let of_part = |part| {
            let mut ack = PeerAck::of(&log, part, 1);
            Pin::new(&mut ack).poll(&mut Context::from_waker(Waker::noop()))
        };
        assert_eq!((of_part(3), of_part(3 + LANES)), (Poll::Pending, Poll::Pending));
        assert_eq!(of_part(4), Poll::Ready(Acked::ByNobody), "it is away");
        log.set_acked(3, Some((0, 1)));
        assert_eq!(of_part(3), Poll::Ready(Acked::ByPeer));
        (0..LANES).for_each(|lane| log.set_acked(lane, Some((0, 1))));
        let mut all = PeerAck::of_all(&log, 1);
        let polled = Pin::new(&mut all).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(Acked::ByPeer));
    }

    #[test]
    fn a_change_is_waited_for_until_a_peer_has_it() {
        let (log, now) = (Arc::new(Outlog::to_nodes()), Instant::now());
        assert_eq!(poll(&log, append(&log, 0, b"a")), Poll::Ready(Acked::ByNobody), "there is no peer");
        log.set_acked(1, Some((0, 0)));
        assert_eq!(poll(&log, 1), Poll::Pending);
        log.gather(now, 1000);
        log.set_acked(1, Some((1, 9)));
        assert_eq!(poll(&log, 1), Poll::Pending, "it was away when that was sent");
        log.set_acked(1, Some((0, 1)));
        assert_eq!(poll(&log, 1), Poll::Ready(Acked::ByPeer));
        let second = append(&log, 0, b"b");
        log.gather(now + Duration::from_millis(10), 1000);
        log.give_up(now);
        assert_eq!(poll(&log, second), Poll::Pending);
        assert_eq!(log.waits_since(1), Some(now + Duration::from_millis(10)));
        log.give_up(now + Duration::from_millis(10));
        assert_eq!(poll(&log, second), Poll::Ready(Acked::ByNobody));
    }
}
