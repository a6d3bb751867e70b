//! The hybrid clock: stamps that rise, on one node always, and between nodes along every message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::Stamp;

/// A clock that begins with the wall clock, then runs on the monotonic one, and is put forward, never back, by the stamps
/// of others.
///
/// So a wall clock that jumps while the process runs changes nothing, and nodes that were connected once stay as close
/// together as their oscillators do: what a client did on one node and then on another is in that order also when the two
/// could not talk meanwhile.
#[derive(Debug)]
pub struct Clock {
    began: Instant,
    /// Milliseconds since 1970 UTC at `began`, as far as it was put forward.
    base_ms: AtomicU64,
    /// The last stamp given out or seen.
    last: AtomicU64,
}

impl Clock {
    /// A clock at `now`, which is `unix_ms`.
    pub fn new(now: Instant, unix_ms: i64) -> Self {
        Self {
            began: now,
            base_ms: AtomicU64::new(u64::try_from(unix_ms).unwrap_or(0)),
            last: AtomicU64::new(0),
        }
    }

    /// A stamp greater than any before.
    pub fn next(&self, now: Instant) -> Stamp {
        let reading = self.reading(now);
        let after = |last: u64| Some(reading.max(last.saturating_add(1)));
        // The closure always returns a value, so both arms hold the one before.
        let before = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, after);
        let before = before.unwrap_or_else(|last| last);
        Stamp(reading.max(before.saturating_add(1)))
    }

    /// What the clock shows, for others to observe.
    pub fn now(&self, now: Instant) -> Stamp {
        Stamp(self.reading(now).max(self.last.load(Ordering::Acquire)))
    }

    /// Takes note of another's stamp: it is not later than now, whatever this clock shows.
    pub fn observe(&self, now: Instant, stamp: Stamp) {
        self.keep_above(stamp);
        // Rounded up: two clocks that both round down would put each other forward by a part of a millisecond with every
        // message, and run away from one that is cut off.
        let elapsed = now.saturating_duration_since(self.began).as_nanos().div_ceil(1_000_000);
        let elapsed_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.base_ms.fetch_max(stamp.unix_ms().saturating_sub(elapsed_ms), Ordering::AcqRel);
    }

    /// Gives out nothing up to a stamp that follows one that was given out or seen. What time it is it does not tell: whoever
    /// made it may have looked at the time before that one came.
    pub fn keep_above(&self, stamp: Stamp) {
        self.last.fetch_max(stamp.0, Ordering::AcqRel);
    }

    fn reading(&self, now: Instant) -> u64 {
        self.base_ms.load(Ordering::Acquire).saturating_add(self.elapsed_ms(now)) << 16
    }

    fn elapsed_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn stamps_rise() {
        let now = Instant::now();
        let clock = Clock::new(now, 1000);
        let first = clock.next(now);
        assert_eq!(first, Stamp(1000 << 16));
        assert_eq!(clock.next(now), Stamp((1000 << 16) + 1));
        assert_eq!(clock.next(now + Duration::from_millis(5)), Stamp(1005 << 16));
        assert!(clock.next(now) > Stamp(1005 << 16), "time that comes from another thread may be earlier");
    }

    // What the faster clock stamped before the two lost each other is before what the slower one stamps after.
    #[test]
    fn nodes_that_met_stay_together() {
        let now = Instant::now();
        let (fast, slow) = (Clock::new(now, 90_000), Clock::new(now, 1000));
        slow.observe(now, fast.next(now));
        let later = now + Duration::from_secs(10);
        let first = fast.next(later);
        let second = slow.next(later + Duration::from_millis(1));
        assert!(first < second);
        fast.observe(later, Stamp(5));
        assert!(fast.next(later) > first, "nobody is put back");
    }

    // Messages take less than a millisecond, and no two processes began at the same part of one.
    #[test]
    fn nodes_that_talk_do_not_run_ahead() {
        let now = Instant::now();
        let clocks = [0, 300, 700].map(|us| Clock::new(now + Duration::from_micros(us), 1000));
        for message in 0..20_000_u64 {
            let sent = now + Duration::from_micros(1000 + 90 * message);
            let [from, to] = [0, 1].map(|at| &clocks[(message as usize % 7 + at) % 3]);
            to.observe(sent + Duration::from_micros(40), from.now(sent));
        }
        let end = now + Duration::from_millis(1801);
        for clock in &clocks {
            let shown = clock.now(end).unix_ms();
            assert!((2798..=2801).contains(&shown), "{shown}");
        }
    }

    // A thread that looked at the time before another stamped something, and follows that up, puts no clock forward: else
    // nodes that do so run away from one that is cut off, and what a client does there counts as before.
    #[test]
    fn what_follows_a_stamp_tells_no_time() {
        let now = Instant::now();
        let clock = Clock::new(now, 1000);
        let late = now + Duration::from_millis(80);
        let known = clock.next(late);
        clock.keep_above(Stamp(known.0 + 1));
        assert!(clock.next(now).0 > known.0 + 1);
        assert_eq!(clock.next(late + Duration::from_millis(1)), Stamp(1081 << 16));
    }
}
