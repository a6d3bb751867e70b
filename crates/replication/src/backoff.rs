//! How long to wait before the next attempt.

use std::time::Duration;

/// After the first attempt that failed.
const FIRST: Duration = Duration::from_millis(100);
/// At most.
const LAST: Duration = Duration::from_secs(5);

/// Waits that double, each with a jitter, so that nodes that lost each other do not come in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next wait: three to five quarters of its length, as `random` (from 0 to 1) says.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let length = self.next;
        self.next = (length * 2).min(LAST);
        length.mul_f64(0.75 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// Begins anew.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..8).map(|_| backoff.next(0.5).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!((backoff.next(0.0).as_millis(), backoff.next(1.0).as_millis()), (75, 250));
    }
}
