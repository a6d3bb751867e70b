//! How long a client waits until it connects again.
//!
//! repro waits 30 s after a refused connection and not at all after a lost one, so a listener that accepts and closes is
//! asked again as fast as both can (§6.7, §7, 23).

use std::time::Duration;

use rand::{Rng, RngExt as _};

/// Pauses between attempts: they double up to a bound, and each is shortened by up to its half, so that two nodes that
/// lost each other do not go on in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
    current: Duration,
}

impl Default for Backoff {
    /// From 1 s to 60 s.
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(60))
    }
}

impl Backoff {
    /// Pauses from `shortest` to `longest`, before they are shortened.
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        let shortest = shortest.min(longest);
        Self { shortest, longest, current: shortest }
    }

    /// The pause before the next attempt. The one after it is longer.
    pub fn pause(&mut self, rng: &mut impl Rng) -> Duration {
        let pause = self.current;
        self.current = pause.saturating_mul(2).min(self.longest);
        pause - pause.mul_f64(rng.random_range(0.0..=0.5))
    }

    /// The pause after a refusal: the longest, as a version does not change soon.
    pub fn pause_refused(&mut self, rng: &mut impl Rng) -> Duration {
        self.current = self.longest;
        self.pause(rng)
    }

    /// Begins anew with the shortest pause. Due when a dump is complete; merely being connected proves nothing.
    pub const fn reset(&mut self) {
        self.current = self.shortest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    #[test]
    fn pauses_grow_within_bounds_and_differ() {
        let mut rng = StdRng::seed_from_u64(23);
        let mut backoff = Backoff::default();
        for bound in [1, 2, 4, 8, 16, 32, 60, 60, 60].map(Duration::from_secs) {
            let pause = backoff.pause(&mut rng);
            assert!(pause <= bound && pause >= bound / 2, "{pause:?} of {bound:?}");
        }
        backoff.reset();
        assert!(backoff.pause(&mut rng) <= Duration::from_secs(1));
        assert!(backoff.pause_refused(&mut rng) >= Duration::from_secs(30));
        let mut other = Backoff::default();
        let mut same = Backoff::default();
        assert_ne!(other.pause(&mut rng), same.pause(&mut rng));
    }
}
