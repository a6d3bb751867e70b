//! The time as the node that acts at present sees it. Services ask for it by plain functions, so it is kept per thread; a
//! cluster lives in one.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the beginning of a run.
pub(crate) type Ms = u64;

/// By the wall clock, at the beginning of each run.
pub(crate) const EPOCH_UNIX_MS: i64 = 1_760_000_000_000;

thread_local! {
    static TIME: Cell<Option<(Instant, i64)>> = const { Cell::new(None) };
}

/// From now on it is `now`, and `unix_ms` by the wall clock of whoever acts.
pub(crate) fn set(now: Instant, unix_ms: i64) {
    TIME.set(Some((now, unix_ms)));
}

pub(crate) fn unix_ms() -> i64 {
    TIME.get().map_or(EPOCH_UNIX_MS, |(_, unix_ms)| unix_ms)
}

#[allow(clippy::disallowed_methods)] // virtual time begins somewhere
pub(crate) fn monotonic() -> Instant {
    TIME.get().map_or_else(Instant::now, |(now, _)| now)
}

pub(crate) fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms().unsigned_abs())
}
