//! What was said to readers lately, and with which times: what is said next of the same thing has to have a later one.
//!
//! repro takes nothing that is only as new as what it has, in whole seconds of its clock (presence-and-replication §6.8, §7,
//! 25). It makes that time of the age that it is told (§6.4), so of two messages about one thing the second has to be later
//! *by what both said*: a message of an old change, however late it is written, leaves room for a change that is younger. An
//! age is made no less than that takes. Else what is told of a change would be newer than what happened after it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use presence::EntityTag;
use replication::Version;
use sip_message::Aor;

use super::scribe::Occasion;

/// How much longer one message may be on its way than the next.
const DELAY_MAX: Duration = Duration::from_millis(200);
/// From one message about a thing to the next, if it changed: a second of the peer's clock, wherever in its second that is.
pub(super) const PAUSE: Duration = Duration::from_millis(1200);
/// How long it is remembered when something was said.
const MEMORY: Duration = Duration::from_secs(4);
/// How often what is remembered is looked through.
const SWEEP: Duration = Duration::from_secs(10);
/// By so much what the peer said itself is told as older than it is. On its way here and back an age is cut to whole seconds
/// twice, and may have become two less; it would be newer than what has changed at the peer since.
const ECHO_SECONDS: u64 = 2;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By what names a thing on the wire.
    said: HashMap<Vec<u8>, Said>,
    /// Under which tags the peer has, or had, each publication: AOR, first tag, tag.
    at_peer: BTreeMap<(Aor, EntityTag, EntityTag), AtPeer>,
    swept_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    version: Version,
    last: Saying,
    /// Of the version before it.
    before: Option<Saying>,
    /// To every reader that there was, not in a dump of one.
    to_all: bool,
}

/// That something was said to have an age.
#[derive(Clone, Copy, Debug)]
struct Saying {
    at: Instant,
    age_seconds: u64,
}

/// A publication under one tag, as the peer has it.
#[derive(Clone, Copy, Debug)]
struct AtPeer {
    /// When it ends there by itself, wall clock.
    until_unix_ms: i64,
    /// Its end was told.
    is_ended: bool,
}

/// One thing on the wire.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) version: Version,
    pub(super) age_seconds: u64,
    /// The peer said it itself.
    pub(super) is_echo: bool,
}

/// How something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) age_seconds: u64,
    /// Not all readers have been told.
    pub(super) is_news: bool,
}

impl Saying {
    /// The greatest age of something that the peer takes for newer when it is said now.
    fn newer_age_seconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.at + DELAY_MAX);
        self.age_seconds.saturating_add(since.as_secs()).saturating_sub(1)
    }

    /// Whether the peer may have taken it for newer than the other.
    fn is_newer_than(&self, other: &Self) -> bool {
        let since = self.at.saturating_duration_since(other.at);
        Duration::from_secs(self.age_seconds) < Duration::from_secs(other.age_seconds).saturating_add(since)
    }
}

impl Memory {
    /// Whether something can be said now, and how; `again_at` is when it is to be said again, because it cannot be said now
    /// or the peer may not take it.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        entry: Entry,
        occasion: Occasion,
        again_at: &mut Option<Instant>,
    ) -> Option<Admitted> {
        let Entry { name, version, age_seconds, is_echo } = entry;
        let said = self.said.get(&name).copied();
        let same = said.filter(|said| said.version == version);
        let other = said.filter(|said| said.version != version);
        let is_news = same.is_none_or(|same| !same.to_all);
        // Also what is said again: it may not have come, and what had been said before it did.
        let before = same.map_or(other.map(|other| other.last), |same| same.before);
        let age_seconds = match before {
            // The peer has it, or something newer; one that was started anew takes it however old it is.
            _ if is_echo => age_seconds.saturating_add(ECHO_SECONDS),
            Some(before) => age_seconds.min(before.newer_age_seconds(now)),
            None => age_seconds,
        };
        let admitted = Admitted { age_seconds, is_news };
        let is_change = occasion == Occasion::Change;
        if let Some(other) = other.filter(|other| now < other.last.at + PAUSE) {
            if is_change || !is_echo {
                let at = other.last.at + PAUSE;
                *again_at = Some(again_at.map_or(at, |again| again.max(at)));
            }
            // A dump has everything: a peer that does not take it has it again then.
            return (!is_change).then_some(admitted);
        }
        let mut last = Saying { at: now, age_seconds };
        let mut to_all = is_change;
        if let Some(same) = same {
            last = if last.is_newer_than(&same.last) { last } else { same.last };
            to_all |= same.to_all;
        }
        // Whatever changes after a dump is newer by itself than what was old in it.
        if said.is_some() || is_change || Duration::from_secs(age_seconds) <= MEMORY {
            self.said.insert(name, Said { version, last, before, to_all });
        }
        Some(admitted)
    }

    pub(super) fn peer_has(&mut self, aor: &Aor, id: EntityTag, tag: EntityTag, until_unix_ms: i64) {
        self.at_peer.insert((aor.clone(), id, tag), AtPeer { until_unix_ms, is_ended: false });
    }

    pub(super) fn peer_may_have(&mut self, aor: &Aor, id: EntityTag, tag: EntityTag, until_unix_ms: i64) {
        let at_peer = AtPeer { until_unix_ms, is_ended: false };
        self.at_peer.entry((aor.clone(), id, tag)).or_insert(at_peer);
    }

    pub(super) fn end(&mut self, aor: &Aor, id: EntityTag, tag: EntityTag) {
        if let Some(at_peer) = self.at_peer.get_mut(&(aor.clone(), id, tag)) {
            at_peer.is_ended = true;
        }
    }

    pub(super) fn is_ended(&self, aor: &Aor, id: EntityTag, tag: EntityTag) -> bool {
        self.at_peer.get(&(aor.clone(), id, tag)).is_some_and(|at_peer| at_peer.is_ended)
    }

    /// The tags under which the peer may have a publication.
    pub(super) fn tags(&self, aor: &Aor, id: EntityTag) -> impl Iterator<Item = EntityTag> {
        let first = EntityTag::from_bytes([0; 16]);
        let from = self.at_peer.range((aor.clone(), id, first)..);
        from.take_while(move |((other, other_id, _), _)| other == aor && *other_id == id)
            .map(|((_, _, tag), _)| *tag)
    }

    /// The first tag of the publication that the peer has, or had, under a tag.
    pub(super) fn id_of(&self, aor: &Aor, tag: EntityTag) -> Option<EntityTag> {
        let first = EntityTag::from_bytes([0; 16]);
        let of_aor = self.at_peer.range((aor.clone(), first, first)..);
        let mut of_aor = of_aor.map(|(key, _)| key).take_while(|(other, ..)| other == aor);
        of_aor.find(|(_, _, other)| *other == tag).map(|(_, id, _)| *id)
    }

    /// Forgets what is over, and what was said long ago if `is_read`: if somebody reads who has had all. Who is cut off may lack
    /// what was said last, and until it has all again it has to be known how that was said.
    pub(super) fn sweep(&mut self, now: Instant, unix_ms: i64, is_read: bool) {
        if self.swept_at.is_some_and(|at| now < at + SWEEP) {
            return;
        }
        self.swept_at = Some(now);
        self.said.retain(|_, said| !is_read || now < said.last.at + MEMORY);
        self.at_peer.retain(|_, at_peer| at_peer.until_unix_ms > unix_ms);
    }
}

#[cfg(test)]
mod tests {
    use replication::{NodeId, Stamp};

    use super::*;

    /// A reader with a clock in whole seconds, which takes only what is newer by it, as repro does.
    struct Peer {
        clock_ms: u64,
        has: Option<(u64, u64)>,
    }

    impl Peer {
        fn hear(&mut self, at_ms: u64, version: u64, admitted: Option<Admitted>) {
            let Some(Admitted { age_seconds, .. }) = admitted else { return };
            let stamp = ((self.clock_ms + at_ms) / 1000).saturating_sub(age_seconds);
            if self.has.is_none_or(|(_, before)| stamp > before) {
                self.has = Some((version, stamp));
            }
        }
    }

    struct World {
        memory: Memory,
        start: Instant,
        again_at: Option<Instant>,
    }

    impl World {
        fn new() -> Self {
            Self { memory: Memory::default(), start: Instant::now(), again_at: None }
        }

        /// Says a version that was made at `made_ms`, of the clock of the map.
        fn say(&mut self, at_ms: u64, made_ms: u64, occasion: Occasion) -> Option<Admitted> {
            self.say_as(at_ms, made_ms, occasion, false)
        }

        fn say_as(
            &mut self,
            at_ms: u64,
            made_ms: u64,
            occasion: Occasion,
            is_echo: bool,
        ) -> Option<Admitted> {
            let version = Version { stamp: Stamp(made_ms << 16), node: NodeId(1) };
            let age_seconds = at_ms / 1000 - made_ms / 1000;
            let entry = Entry { name: b"name".to_vec(), version, age_seconds, is_echo };
            let now = self.start + Duration::from_millis(at_ms);
            self.memory.admit(now, entry, occasion, &mut self.again_at)
        }

        /// In milliseconds.
        fn again_at(&mut self) -> Option<u64> {
            let again_at = self.again_at.take()? - self.start;
            u64::try_from(again_at.as_millis()).ok()
        }
    }

    fn age(admitted: Option<Admitted>) -> Option<u64> {
        admitted.map(|admitted| admitted.age_seconds)
    }

    /// A change that was heard late, after something older had been said, is not made younger than what came after it.
    #[test]
    fn a_change_is_as_old_as_it_is_however_late_the_one_before_was_said() {
        let mut world = World::new();
        // Said in a dump while the peer's own change was not known here yet.
        world.say(15_857, 1000, Occasion::Dump);
        assert_eq!(age(world.say(18_613, 10_700, Occasion::Dump)), Some(8));
        assert_eq!(age(world.say(20_000, 16_000, Occasion::Dump)), Some(4));
    }

    /// What was told, and is said again in a dump at once, is as old as it was: the peer may have changed it since.
    #[test]
    fn what_is_said_again_is_no_younger() {
        let mut world = World::new();
        assert_eq!(age(world.say(16_360, 16_350, Occasion::Change)), Some(0));
        assert_eq!(age(world.say(17_248, 16_350, Occasion::Dump)), Some(1));
    }

    #[test]
    fn what_the_peer_said_itself_is_no_younger_when_it_comes_back() {
        let mut world = World::new();
        world.say(10_000, 10_000, Occasion::Change);
        // Its change of 10.3 s, cut to seconds on its way here.
        assert_eq!(age(world.say_as(14_900, 11_100, Occasion::Dump, true)), Some(5));
    }

    /// Of changes of this node the peer takes the last one, wherever in their seconds they fall and whichever message is
    /// lost with the connection.
    #[test]
    fn the_last_change_is_taken_after_any_cut() {
        for clock_ms in (0..1000).step_by(50) {
            for second_ms in (10..2500).step_by(70) {
                for lost in [false, true] {
                    for cut_ms in [1300, 4000, 60_000] {
                        let mut world = World::new();
                        let mut peer = Peer { clock_ms: 50_000 + clock_ms, has: None };
                        let first_at = 100_300;
                        let first = world.say(first_at, first_at, Occasion::Change);
                        peer.hear(first_at + 190, 1, first);
                        let second_at = first_at + second_ms;
                        let second = world.say(second_at, second_at, Occasion::Change);
                        if !lost {
                            peer.hear(second_at, 2, second);
                        }
                        let mut heard_at = second_at;
                        if let Some(again_at) = world.again_at() {
                            heard_at = again_at;
                            let again = world.say(again_at, second_at, Occasion::Change);
                            assert!(again.is_some(), "it is told then");
                            if !lost {
                                peer.hear(again_at, 2, again);
                            }
                        }
                        // It connects again.
                        let dump_at = heard_at + cut_ms;
                        let dump = world.say(dump_at, second_at, Occasion::Dump);
                        peer.hear(dump_at, 2, dump);
                        let case = (clock_ms, second_ms, lost, cut_ms);
                        assert_eq!(peer.has.map(|(version, _)| version), Some(2), "{case:?}");
                    }
                }
            }
        }
    }

    /// A peer that comes back at once may not take from its dump what has changed since it went, and has it a moment later.
    #[test]
    fn what_a_dump_says_too_soon_is_told_again() {
        for clock_ms in (0..1000).step_by(50) {
            let mut world = World::new();
            let mut peer = Peer { clock_ms: 50_000 + clock_ms, has: None };
            let first = world.say(100_300, 100_300, Occasion::Change);
            peer.hear(100_490, 1, first);
            let dump = world.say(100_900, 100_600, Occasion::Dump);
            assert!(dump.is_some(), "a dump has everything");
            peer.hear(100_900, 2, dump);
            let again_at = world.again_at().expect("it is told again");
            let again = world.say(again_at, 100_600, Occasion::Change);
            assert!(again.is_some_and(|again| again.is_news));
            peer.hear(again_at, 2, again);
            assert_eq!(peer.has.map(|(version, _)| version), Some(2), "{clock_ms}");
        }
    }

    #[test]
    fn what_is_old_needs_no_room() {
        let mut world = World::new();
        world.say(100_000, 1000, Occasion::Dump);
        assert!(world.memory.said.is_empty());
        world.say(100_000, 99_000, Occasion::Dump);
        assert_eq!(world.memory.said.len(), 1);
        let later = |seconds| world.start + Duration::from_secs(seconds);
        world.memory.sweep(later(105), 0, false);
        assert_eq!(world.memory.said.len(), 1, "nobody has it for certain");
        world.memory.sweep(later(115), 0, true);
        assert!(world.memory.said.is_empty());
    }
}
