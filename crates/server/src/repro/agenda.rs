//! What the peer is yet to be told, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use presence::EntityTag;
use replication::{Kind, NodeId, Record, Version};
use sip_message::Aor;
use tokio::sync::Notify;

/// Subjects that wait to be told; beyond it all readers are cut, and have a dump when they come back.
const SUBJECTS_MAX: usize = 65_536;

/// What one message, or a few that belong together, are about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The contacts of an AOR.
    Contacts(Aor),
    /// A publication, by its first entity-tag.
    Publication(Aor, EntityTag),
}

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Tells what there is to be told of it now.
    Tell(Subject),
    /// Makes it a change of now, which is told then.
    Touch(Touch),
    /// There was too much: all readers are cut.
    Cut,
}

/// A record of which the peer has another, and would not take ours: it is no newer for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Touch {
    pub(super) subject: Subject,
    pub(super) key: Vec<u8>,
    /// What is changed meanwhile needs no more.
    pub(super) version: Version,
}

/// Filled by the observer of the replica, by whoever has to say something again, and emptied by one task.
pub(super) struct Agenda {
    peer: NodeId,
    state: Mutex<State>,
    /// There is something new.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    readers: usize,
    changed: BTreeSet<Subject>,
    later: Timed<Subject>,
    touches: Timed<Touch>,
    is_too_much: bool,
    /// Since when there is something that the peer does not know.
    untold_since: Option<Instant>,
}

impl Agenda {
    pub(super) fn new(peer: NodeId) -> Self {
        Self { peer, state: Mutex::default(), changed: Notify::new() }
    }

    /// Something changed here, or on another node of ours. It is called while locks are held.
    pub(super) fn observe(&self, now: Instant, records: &[Record<'_>]) {
        let is_untold =
            |record: &&Record<'_>| record.place.is_none_or(|place| place.version.node != self.peer);
        for record in records.iter().filter(is_untold) {
            if let Some(subject) = subject_of(record.kind, record.key) {
                self.tell(now, subject);
            }
        }
    }

    /// The peer is to be told of something.
    pub(super) fn tell(&self, now: Instant, subject: Subject) {
        let mut state = self.state.lock();
        state.untold_since.get_or_insert(now);
        // Who comes later has it with its dump.
        if state.readers == 0 || state.is_too_much {
            return;
        }
        if state.changed.len() >= SUBJECTS_MAX {
            state.is_too_much = true;
            state.changed.clear();
        } else {
            state.changed.insert(subject);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Something that could not be told yet is to be told then.
    pub(super) fn tell_later(&self, at: Instant, subject: Subject) {
        self.state.lock().later.insert(at, subject);
        self.changed.notify_one();
    }

    /// The record is to be a change of then, or of when there is a reader. With too many waiting it is left: the next
    /// refresh says it.
    pub(super) fn touch(&self, at: Instant, touch: Touch) {
        let mut state = self.state.lock();
        if state.touches.at.len() < SUBJECTS_MAX {
            state.touches.insert(at, touch);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The peer is not heard any more: what it has may be newer by now. If it is not, its next dump says so again.
    pub(super) fn unheard(&self) {
        self.state.lock().touches = Timed::default();
    }

    /// A reader is told from now on.
    pub(super) fn reader_came(&self) {
        self.state.lock().readers += 1;
    }

    /// A reader is told no more.
    pub(super) fn reader_went(&self) {
        let mut state = self.state.lock();
        state.readers = state.readers.saturating_sub(1);
        if state.readers == 0 {
            state.changed.clear();
            state.later = Timed::default();
        }
    }

    /// A reader has all there was; what changed meanwhile is here.
    pub(super) fn dumped(&self) {
        self.state.lock().settle();
    }

    /// What is due now, one by one.
    pub(super) fn next(&self, now: Instant) -> Option<Job> {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.is_too_much) {
            return Some(Job::Cut);
        }
        if state.readers > 0
            && let Some(touch) = state.touches.pop(now)
        {
            return Some(Job::Touch(touch));
        }
        if let Some(subject) = state.changed.pop_first() {
            state.later.remove(&subject);
            return Some(Job::Tell(subject));
        }
        let due = state.later.pop(now);
        if due.is_none() {
            state.settle();
        }
        due.map(Job::Tell)
    }

    /// When the next thing is due that waits for its time.
    pub(super) fn due(&self) -> Option<Instant> {
        let state = self.state.lock();
        let touch = state.touches.first().filter(|_| state.readers > 0);
        [state.later.first(), touch].into_iter().flatten().min()
    }

    /// How long the oldest change has waited that the peer does not know.
    pub(super) fn lag(&self, now: Instant) -> Duration {
        let since = self.state.lock().untold_since;
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

impl State {
    fn settle(&mut self) {
        if self.readers > 0 && self.changed.is_empty() && self.later.at.is_empty() {
            self.untold_since = None;
        }
    }
}

/// Things that wait for their time, each once, at the earliest that was asked for.
#[derive(Debug)]
struct Timed<T> {
    at: BTreeMap<T, Instant>,
    order: BTreeSet<(Instant, T)>,
}

impl<T> Default for Timed<T> {
    fn default() -> Self {
        Self { at: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<T: Ord + Clone> Timed<T> {
    fn insert(&mut self, at: Instant, thing: T) {
        if self.at.get(&thing).is_some_and(|before| *before <= at) {
            return;
        }
        self.remove(&thing);
        self.at.insert(thing.clone(), at);
        self.order.insert((at, thing));
    }

    fn remove(&mut self, thing: &T) {
        if let Some((thing, at)) = self.at.remove_entry(thing) {
            self.order.remove(&(at, thing));
        }
    }

    fn first(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    fn pop(&mut self, now: Instant) -> Option<T> {
        self.first().filter(|at| *at <= now)?;
        let (_, thing) = self.order.pop_first()?;
        self.at.remove(&thing);
        Some(thing)
    }
}

/// What a record of the map is about; `None` if it is of no kind that the wire has.
fn subject_of(kind: Kind, key: &[u8]) -> Option<Subject> {
    match kind {
        registrar::BINDING => registrar::aor_of(key).ok().map(Subject::Contacts),
        presence::PUBLICATION => {
            presence::read_publication_key(key).ok().map(|(aor, id)| Subject::Publication(aor, id))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use replication::{Place, Stamp};

    use super::*;

    fn contacts(user: &str) -> Subject {
        Subject::Contacts(Aor::parse(&format!("{user}@example.test")).expect("an AOR"))
    }

    fn touch(user: &str) -> Touch {
        let version = Version { stamp: Stamp(1), node: NodeId(1) };
        Touch { subject: contacts(user), key: vec![1], version }
    }

    fn binding(key: &'static [u8], node: NodeId) -> Record<'static> {
        let version = Version { stamp: Stamp(1), node };
        Record { place: Some(Place::new(0, version)), ..Record::present(registrar::BINDING, key, b"", 0) }
    }

    #[test]
    fn what_the_peer_said_itself_it_is_not_told() {
        let (agenda, now) = (Agenda::new(NodeId(7)), Instant::now());
        agenda.reader_came();
        agenda.observe(
            now,
            &[binding(b"a@example.test\0x", NodeId(7)), binding(b"b@example.test\0x", NodeId(1))],
        );
        agenda.observe(now, &[binding(b"b@example.test\0y", NodeId(2))]);
        assert_eq!(agenda.next(now), Some(Job::Tell(contacts("b"))));
        assert_eq!(agenda.next(now), None);
    }

    #[test]
    fn without_a_reader_nothing_is_kept_but_the_lag() {
        let (agenda, now) = (Agenda::new(NodeId(7)), Instant::now());
        let later = now + Duration::from_secs(9);
        agenda.tell(now, contacts("a"));
        assert_eq!((agenda.next(later), agenda.lag(later)), (None, Duration::from_secs(9)));
        agenda.reader_came();
        agenda.dumped();
        assert_eq!(agenda.lag(later), Duration::ZERO);
    }

    #[test]
    fn what_is_put_off_is_told_once() {
        let (agenda, now) = (Agenda::new(NodeId(7)), Instant::now());
        let later = now + Duration::from_secs(1);
        agenda.reader_came();
        agenda.tell_later(later, contacts("a"));
        agenda.touch(later, touch("b"));
        assert_eq!((agenda.next(now), agenda.due()), (None, Some(later)));
        agenda.tell(now, contacts("a"));
        assert_eq!(agenda.next(now), Some(Job::Tell(contacts("a"))));
        assert_eq!(agenda.next(later), Some(Job::Touch(touch("b"))));
        assert_eq!((agenda.next(later), agenda.due()), (None, None));
    }

    /// A peer that was cut off may have changed it since: it would be overruled by what is older.
    #[test]
    fn nothing_is_touched_for_a_peer_that_is_away() {
        let (agenda, now) = (Agenda::new(NodeId(7)), Instant::now());
        agenda.touch(now, touch("a"));
        assert_eq!((agenda.next(now), agenda.due()), (None, None));
        agenda.reader_came();
        assert_eq!((agenda.due(), agenda.next(now)), (Some(now), Some(Job::Touch(touch("a")))));
        agenda.touch(now, touch("b"));
        agenda.unheard();
        assert_eq!((agenda.due(), agenda.next(now)), (None, None));
    }

    #[test]
    fn too_much_cuts_the_readers() {
        let (agenda, now) = (Agenda::new(NodeId(7)), Instant::now());
        agenda.reader_came();
        for number in 0..=SUBJECTS_MAX {
            agenda.tell(now, contacts(&number.to_string()));
        }
        assert_eq!((agenda.next(now), agenda.next(now)), (Some(Job::Cut), None));
    }
}
