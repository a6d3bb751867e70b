//! When something was last changed, across hosts.
//!
//! The wire has ages (§6.4), so hosts need not agree on the time; and whole seconds, so two stamps of one change may differ
//! by one, and by what the message was under way.

/// A wall-clock time in whole seconds since 1970 UTC, never before it.
///
/// repro counts from the start of its host, where an age may lie before the beginning: its subtraction then wraps around to
/// a time that nothing is ever newer than (§6.8, §7, 22). Here ages end at the beginning, and what is stamped so is older than
/// all else: the entry is there, and whatever comes replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(u64);

impl Stamp {
    /// Older than anything that has an age.
    pub const OLDEST: Self = Self(0);

    /// From a wall clock in milliseconds since 1970 UTC. A clock that is before it shows 1970.
    pub fn from_unix_ms(unix_ms: i64) -> Self {
        Self(u64::try_from(unix_ms / 1000).unwrap_or(0))
    }

    /// In milliseconds since 1970 UTC, at most the largest that there is.
    pub fn unix_ms(self) -> i64 {
        i64::try_from(self.0.saturating_mul(1000)).unwrap_or(i64::MAX)
    }

    /// What has this age now. An age that no clock can have had is clamped to [`Self::OLDEST`].
    pub const fn aged(age_seconds: u64, now: Self) -> Self {
        Self(now.0.saturating_sub(age_seconds))
    }

    /// The age to write; 0 if our clock was set back meanwhile.
    pub const fn age_seconds(self, now: Self) -> u64 {
        now.0.saturating_sub(self.0)
    }

    /// What ends so many seconds later. A lifetime without end is clamped to the last time that [`Self::unix_ms`] can name.
    pub const fn plus(self, seconds: u64) -> Self {
        const LAST: u64 = i64::MAX as u64 / 1000;
        let at = self.0.saturating_add(seconds);
        Self(if at > LAST { LAST } else { at })
    }

    /// The distance to another.
    pub const fn distance_seconds(self, other: Self) -> u64 {
        self.0.abs_diff(other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Stamp = Stamp(1_800_000_000);

    #[test]
    fn fault_22_an_age_beyond_the_clock_is_the_oldest() {
        for age in [1_800_000_000, 1_800_000_001, u64::MAX - 1, u64::MAX] {
            assert_eq!(Stamp::aged(age, NOW), Stamp::OLDEST);
        }
        assert!(Stamp::aged(1_799_999_999, NOW) > Stamp::OLDEST);
        assert_eq!(Stamp::aged(0, NOW), NOW);
        assert_eq!(Stamp::aged(9, Stamp::OLDEST), Stamp::OLDEST, "a host that does not know the time");
    }

    #[test]
    fn an_age_is_never_written_as_a_number_below_zero() {
        assert_eq!(NOW.plus(5).age_seconds(NOW), 0);
        assert_eq!(Stamp::aged(7, NOW).age_seconds(NOW), 7);
    }

    #[test]
    fn milliseconds() {
        assert_eq!(Stamp::from_unix_ms(1_800_000_000_999), NOW);
        assert_eq!(Stamp::from_unix_ms(-1), Stamp::OLDEST);
        assert_eq!(NOW.unix_ms(), 1_800_000_000_000);
        assert_eq!(NOW.plus(u64::MAX), Stamp::from_unix_ms(i64::MAX));
        assert!(NOW.plus(u64::MAX).unix_ms() > 0);
    }
}
