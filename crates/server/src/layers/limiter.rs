//! A token bucket for each source address.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;

/// Admits `rate` requests a second from one address, with a burst of twice as many.
pub(crate) struct SourceLimiter {
    rate: u32,
    sources_max: usize,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

struct Bucket {
    tokens_milli: u64,
    filled: Instant,
}

impl SourceLimiter {
    /// `rate` requests a second, 0 for no limit; at most `sources_max` addresses are remembered.
    pub(crate) fn new(rate: u32, sources_max: usize) -> Self {
        Self { rate, sources_max, buckets: Mutex::new(HashMap::new()) }
    }

    /// Takes a token; `false` if there is none.
    pub(crate) fn admit(&self, now: Instant, source: IpAddr) -> bool {
        if self.rate == 0 || source.is_loopback() {
            return true;
        }
        let full = u64::from(self.rate) * 2_000;
        let mut buckets = self.buckets.lock();
        if buckets.len() >= self.sources_max && !buckets.contains_key(&source) {
            // A bucket that would be full again tells nothing: forget those first, and all if that is not enough.
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.filled) < Duration::from_secs(2));
            if buckets.len() >= self.sources_max {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(source).or_insert(Bucket { tokens_milli: full, filled: now });
        let elapsed_ms = now.saturating_duration_since(bucket.filled).as_millis().min(2_000) as u64;
        if elapsed_ms > 0 {
            bucket.tokens_milli = full.min(bucket.tokens_milli + elapsed_ms * u64::from(self.rate));
            bucket.filled = now;
        }
        if bucket.tokens_milli < 1_000 {
            return false;
        }
        bucket.tokens_milli -= 1_000;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_two_seconds_then_the_rate() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let limiter = SourceLimiter::new(10, 2);
        let source = IpAddr::from([192, 0, 2, 1]);
        let admitted = |ms| (0..100).filter(|_| limiter.admit(at(ms), source)).count();
        assert_eq!(admitted(0), 20);
        assert_eq!(admitted(50), 0);
        assert_eq!(admitted(1_050), 10);
        assert_eq!(admitted(60_000), 20);
    }

    #[test]
    fn the_table_is_bounded_and_loopback_is_free() {
        let now = Instant::now();
        let limiter = SourceLimiter::new(1, 2);
        for last in 0..100 {
            assert!(limiter.admit(now, IpAddr::from([192, 0, 2, last])));
        }
        assert!(limiter.buckets.lock().len() <= 2);
        assert!((0..100).all(|_| limiter.admit(now, IpAddr::from([127, 0, 0, 1]))));
    }
}
