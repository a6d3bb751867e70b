//! A hashed timer wheel: one per stripe of state.

use std::time::{Duration, Instant};

use crate::Due;

/// How fine time is: keys come due at most this much late.
const TICK_MS: u64 = 10;
const TICK: Duration = Duration::from_millis(TICK_MS);
/// One turn is 10.24 s: a transaction's 32 s are passed over three times, which costs less than memory for more slots.
const SLOTS: usize = 1024;

/// Keys that become due. Insertion is O(1); nothing is cancelled: the owner ignores a key that is no longer meant.
#[derive(Debug)]
pub struct Wheel<K> {
    began: Instant,
    /// All ticks up to this one were run.
    tick: u64,
    /// None before the first key comes: many a stripe never has one.
    slots: Box<[Vec<(u64, K)>]>,
    /// A bit for each slot that holds keys.
    occupied: [u64; SLOTS / 64],
    len: usize,
    due: Due,
}

impl<K> Wheel<K> {
    /// An empty wheel that begins at `now`. Keys come due at most one tick (10 ms) late, never early.
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            tick: 0,
            slots: Box::default(),
            occupied: [0; SLOTS / 64],
            len: 0,
            due: Due::never(),
        }
    }

    /// When [`Wheel::advance`] may find something: a time since this wheel began.
    pub fn due(&self) -> Due {
        self.due.clone()
    }

    /// Adds a key. One that is due already comes with the next tick.
    pub fn insert(&mut self, due: Instant, key: K) {
        let elapsed = due.saturating_duration_since(self.began);
        let tick = (elapsed.as_nanos().div_ceil(TICK.as_nanos()) as u64).max(self.tick + 1);
        let slot = tick as usize % SLOTS;
        if self.slots.is_empty() {
            self.slots = (0..SLOTS).map(|_| Vec::new()).collect();
        }
        self.slots[slot].push((tick, key));
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.len += 1;
        self.due.bring_forward(tick * TICK_MS);
    }

    /// Takes out all that is due, in order of time then insertion.
    pub fn advance(&mut self, now: Instant, mut due: impl FnMut(K)) {
        let target = (now.saturating_duration_since(self.began).as_nanos() / TICK.as_nanos()) as u64;
        if target.saturating_sub(self.tick) >= SLOTS as u64 {
            self.jump(target, &mut due);
        }
        while let Some(tick) = self.next_occupied().filter(|tick| *tick <= target) {
            self.tick = tick;
            let index = tick as usize % SLOTS;
            let slot = &mut self.slots[index];
            let before = slot.len();
            for (_, key) in slot.extract_if(.., |(t, _)| *t <= tick) {
                due(key);
            }
            self.len -= before - slot.len();
            self.note(index);
        }
        self.tick = self.tick.max(target);
        self.due.set(self.next_occupied().map_or(u64::MAX, |tick| tick * TICK_MS));
    }

    /// The next tick whose slot holds keys, be they of that turn or of a later one.
    fn next_occupied(&self) -> Option<u64> {
        const WORDS: usize = SLOTS / 64;
        let first = (self.tick + 1) as usize % SLOTS;
        let (word, bit) = (first / 64, first % 64);
        // The first word again at the end, for what comes before in it.
        (0..=WORDS).find_map(|n| {
            let meant = match n {
                0 => u64::MAX << bit,
                WORDS => !(u64::MAX << bit),
                _ => u64::MAX,
            };
            let bits = self.occupied[(word + n) % WORDS] & meant;
            let ahead = n * 64 + bits.trailing_zeros() as usize - bit;
            (bits != 0).then_some(self.tick + 1 + ahead as u64)
        })
    }

    /// More than a turn at once (a process that was stopped): in order all the same.
    fn jump(&mut self, target: u64, due: &mut impl FnMut(K)) {
        self.tick = target;
        let mut found: Vec<(u64, K)> = Vec::new();
        for index in 0..self.slots.len() {
            found.extend(self.slots[index].extract_if(.., |(t, _)| *t <= target));
            self.note(index);
        }
        self.len -= found.len();
        found.sort_by_key(|(tick, _)| *tick);
        found.into_iter().for_each(|(_, key)| due(key));
    }

    /// Whether a slot is still occupied.
    fn note(&mut self, index: usize) {
        if self.slots[index].is_empty() {
            self.occupied[index / 64] &= !(1 << (index % 64));
        }
    }

    /// The earliest time at which `advance` finds something; `None` if empty. It looks at every key: for tests and
    /// simulation, which step from event to event.
    pub fn deadline(&self) -> Option<Instant> {
        if self.len == 0 {
            return None;
        }
        let occupied = self.occupied.iter().enumerate().flat_map(|(word, bits)| {
            let mut bits = *bits;
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits.checked_sub(1)?;
                Some(word * 64 + bit)
            })
        });
        let tick = occupied.flat_map(|index| &self.slots[index]).map(|(tick, _)| *tick).min()?;
        Some(self.began + TICK * u32::try_from(tick).unwrap_or(u32::MAX))
    }

    /// How many keys wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_order_never_early_and_at_most_a_tick_late() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let mut wheel = Wheel::new(t0);
        let dues = [0, 1, 10, 11, 500, 500, 32_000, 10_239, 10_240, 10_241, 190_000, 64_000];
        for (key, due) in dues.into_iter().enumerate() {
            wheel.insert(at(due), (key, due));
        }
        let mut came = Vec::new();
        for now in (0..200_000).step_by(7) {
            wheel.advance(at(now), |(key, due)| {
                assert!(due <= now && now < due + 10 + 10 + 7, "{due} came at {now}");
                came.push((due, key));
            });
        }
        let mut sorted = came.clone();
        sorted.sort_by_key(|(due, _)| due.div_ceil(10));
        assert_eq!((came.len(), &came), (dues.len(), &sorted));
        assert!(wheel.is_empty() && wheel.deadline().is_none());
    }

    #[test]
    fn who_looks_only_when_something_may_be_due_misses_nothing() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let mut wheel = Wheel::new(t0);
        let due = wheel.due();
        assert!(!due.is_reached(u64::MAX - 1), "there is nothing");
        let keys = [0, 9, 10, 25, 600, 640, 10_239, 10_241, 32_000, 61_440, 190_000];
        keys.into_iter().for_each(|key| wheel.insert(at(key), key));
        let (mut came, mut looked) = (Vec::new(), 0);
        for now in (0..200_000).step_by(25).filter(|now| due.is_reached(*now)) {
            looked += 1;
            wheel.advance(at(now), |key| {
                assert!(key <= now && now < key + 10 + 25, "{key} came at {now}");
                came.push(key);
            });
        }
        assert_eq!(came, keys);
        assert!(looked < 100, "{looked} times, once in a turn for each slot at most");
        assert!(!due.is_reached(u64::MAX - 1), "there is nothing any more");
    }

    #[test]
    fn a_jump_over_several_turns_keeps_the_order() {
        let t0 = Instant::now();
        let mut wheel = Wheel::new(t0);
        for seconds in [40, 5, 30, 20, 60] {
            wheel.insert(t0 + Duration::from_secs(seconds), seconds);
        }
        assert_eq!(wheel.deadline(), Some(t0 + Duration::from_secs(5)));
        let mut came = Vec::new();
        wheel.advance(t0 + Duration::from_secs(45), |key| came.push(key));
        assert_eq!((came, wheel.len()), (vec![5, 20, 30, 40], 1));
    }
}
