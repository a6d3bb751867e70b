//! Between the monotonic clock, which decides when something ends, and the wall clock, by which that is written down.

use std::time::{Duration, Instant};

/// When an instant is by the wall clock, `now` being `unix_ms`; no earlier than now.
pub fn unix_ms_of(at: Instant, now: Instant, unix_ms: i64) -> i64 {
    let left = at.saturating_duration_since(now).as_millis();
    unix_ms.saturating_add(i64::try_from(left).unwrap_or(i64::MAX))
}

/// When something ends that was written down to end at `expires_unix_ms`, `now` being `unix_ms`: however far the clock was
/// put back, not later than in `lifetime_max`.
pub fn instant_of(expires_unix_ms: i64, now: Instant, unix_ms: i64, lifetime_max: Duration) -> Instant {
    let left = u64::try_from(expires_unix_ms.saturating_sub(unix_ms)).unwrap_or(0);
    now + Duration::from_millis(left).min(lifetime_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let written = unix_ms_of(now + Duration::from_secs(60), now, 1_000_000);
        assert_eq!(written, 1_060_000);
        let later = now + Duration::from_secs(20);
        assert_eq!(instant_of(written, later, 1_020_000, hour), later + Duration::from_secs(40));
        assert_eq!(instant_of(written, later, 2_000_000, hour), later, "it has ended");
        assert_eq!(instant_of(written, later, i64::MIN, hour), later + hour, "the clock was put back");
        assert_eq!(unix_ms_of(now, later, i64::MAX), i64::MAX);
    }
}
