//! Nonces (RFC 7616 §3.3, §3.4 and §5.5): made without state, counted once they are used.
//!
//! A nonce is the second in which it was made, a random number and an HMAC over both: it costs no memory until somebody
//! proves a password with it. From then on its counts are remembered, so that none is good twice.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use rand::Rng;
use subtle::ConstantTimeEq;

use crate::secret::digit;
use crate::{Config, Metrics, NodeSecret, Protection};

/// The nonces of all configurations of a node.
pub struct Nonces {
    lifetime_seconds: u64,
    stripes: Box<[Mutex<Used>]>,
    generation_max: usize,
    unix_seconds: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub(crate) metrics: Metrics,
}

/// What may be made of a nonce whose response was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceUse {
    /// Ours, fresh, and with a count that was not there before.
    Good,
    /// Not ours, too old, or used before: right credentials get a new one with `stale=true`.
    Stale,
}

const STRIPES: usize = 16;
/// Octets of the random number and of the HMAC.
const RANDOM_OCTETS: usize = 8;
const MAC_OCTETS: usize = 12;
/// 8 digits of seconds, then the others.
const DIGITS: usize = 8 + 2 * (RANDOM_OCTETS + MAC_OCTETS);

/// Counts of used nonces in two generations: when the younger is old or full, the older is forgotten.
#[derive(Default)]
struct Used {
    began: u64,
    young: HashMap<u64, Counts>,
    old: HashMap<u64, Counts>,
    /// Nonces made up to this second may have been forgotten: one that is not known was perhaps used.
    forgotten_until: u64,
}

/// The highest count seen, and which of the 64 below it (RFC 7616 §3.4: requests may overtake each other).
#[derive(Clone, Copy)]
struct Counts {
    made: u64,
    highest: u32,
    below: u64,
}

impl Nonces {
    /// None used yet. `unix_seconds` is the wall clock.
    pub fn new(
        config: &Config,
        metrics: Metrics,
        unix_seconds: Arc<dyn Fn() -> u64 + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self {
            lifetime_seconds: config.nonce_lifetime_seconds.into(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            generation_max: (config.nonces_tracked_max / STRIPES / 2).max(1),
            unix_seconds,
            metrics,
        })
    }

    /// A new nonce: 48 hexadecimal digits.
    pub fn issue(&self, secret: &NodeSecret) -> String {
        let mut random = [0; RANDOM_OCTETS];
        rand::rng().fill_bytes(&mut random);
        let mut nonce = format!("{:08x}", (self.unix_seconds)() as u32);
        random.iter().for_each(|octet| push(&mut nonce, *octet));
        let mac = secret.mac("nonce", &[nonce.as_bytes()]);
        mac.iter().take(MAC_OCTETS).for_each(|octet| push(&mut nonce, *octet));
        nonce
    }

    /// Judges a nonce and takes its count. To be asked only once the response was right: nobody else's counts cost memory.
    pub fn take(&self, secret: &NodeSecret, nonce: &str, protection: Protection<'_>) -> NonceUse {
        let now = (self.unix_seconds)();
        let Some((made, random)) = read(secret, nonce) else { return NonceUse::Stale };
        // A clock that was set back makes nonces of the future: as long as they may live, they do.
        if now.abs_diff(made) >= self.lifetime_seconds {
            return NonceUse::Stale;
        }
        // Without a count nothing tells a second use from a replay: such a nonce is good once.
        let count = match protection {
            Protection::Auth { count, .. } => count,
            Protection::Legacy => u32::MAX,
        };
        let Some(stripe) = self.stripes.get(random as usize % STRIPES) else { return NonceUse::Stale };
        let mut used = stripe.lock();
        used.age(now, self.lifetime_seconds, self.generation_max);
        if used.take(made, random, count) { NonceUse::Good } else { NonceUse::Stale }
    }
}

impl Used {
    fn age(&mut self, now: u64, lifetime_seconds: u64, generation_max: usize) {
        let is_full = self.young.len() >= generation_max;
        if !is_full && now.abs_diff(self.began) < lifetime_seconds {
            return;
        }
        let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        let newest = forgotten.values().map(|counts| counts.made).max().unwrap_or(0);
        self.forgotten_until = self.forgotten_until.max(newest);
        self.began = now;
    }

    fn take(&mut self, made: u64, random: u64, count: u32) -> bool {
        let known = match self.young.get_mut(&random) {
            Some(counts) => Some(counts),
            None => self.old.get_mut(&random),
        };
        match known {
            Some(counts) => counts.take(count),
            None if made <= self.forgotten_until => false,
            None => {
                self.young.insert(random, Counts { made, highest: count, below: 0 });
                true
            }
        }
    }
}

impl Counts {
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let by = count - self.highest;
            // The former highest becomes one of those below.
            self.below = if by > 64 { 0 } else { self.below.checked_shl(by).unwrap_or(0) | 1 << (by - 1) };
            self.highest = count;
            return true;
        }
        let back = self.highest - count;
        if back == 0 || back > 64 {
            return false;
        }
        let bit = 1 << (back - 1);
        let is_new = self.below & bit == 0;
        self.below |= bit;
        is_new
    }
}

/// The second and the random number of a nonce of ours.
fn read(secret: &NodeSecret, nonce: &str) -> Option<(u64, u64)> {
    let (signed, mac) = nonce.split_at_checked(8 + 2 * RANDOM_OCTETS)?;
    if nonce.len() != DIGITS {
        return None;
    }
    let mut expected = String::with_capacity(2 * MAC_OCTETS);
    let made_mac = secret.mac("nonce", &[signed.as_bytes()]);
    made_mac.iter().take(MAC_OCTETS).for_each(|octet| push(&mut expected, *octet));
    if !bool::from(expected.as_bytes().ct_eq(mac.as_bytes())) {
        return None;
    }
    let (made, random) = signed.split_at_checked(8)?;
    Some((u64::from_str_radix(made, 16).ok()?, u64::from_str_radix(random, 16).ok()?))
}

fn push(text: &mut String, octet: u8) {
    text.push(digit(octet >> 4));
    text.push(digit(octet & 15));
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").field("lifetime_seconds", &self.lifetime_seconds).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Bench {
        nonces: Arc<Nonces>,
        secret: NodeSecret,
        seconds: Arc<AtomicU64>,
    }

    impl Bench {
        fn new(nonces_tracked_max: usize) -> Self {
            let config = Config { nonce_lifetime_seconds: 10, nonces_tracked_max, ..Config::default() };
            let seconds = Arc::new(AtomicU64::new(1_800_000_000));
            let clock = Arc::clone(&seconds);
            let metrics = Metrics::register(&prometheus::Registry::new()).expect("metrics");
            let nonces = Nonces::new(&config, metrics, Arc::new(move || clock.load(Ordering::Relaxed)));
            Self { nonces, secret: NodeSecret::from_bytes([1; 32]), seconds }
        }

        fn later(&self, seconds: u64) {
            self.seconds.fetch_add(seconds, Ordering::Relaxed);
        }

        fn issue(&self) -> String {
            self.nonces.issue(&self.secret)
        }

        fn is_good(&self, nonce: &str, count: u32) -> bool {
            let protection = Protection::Auth { nc: "", count, cnonce: "" };
            self.nonces.take(&self.secret, nonce, protection) == NonceUse::Good
        }
    }

    // RFC 7616 §3.4 (nc), §5.12 (replay).
    #[test]
    fn each_count_is_good_once_in_any_order_within_64() {
        let bench = Bench::new(1_000);
        let nonce = bench.issue();
        for (count, is_good) in [
            (1, true),
            (1, false),
            (2, true),
            (5, true),
            (3, true),
            (3, false),
            (4, true),
            (2, false),
            (5, false),
            (1, false),
            (69, true),
            (5, false),
            (6, true),
            (6, false),
            (68, true),
            (70, true),
            (69, false),
            (6, false),
            (1_000, true),
            (70, false),
            (936, true),
            (935, false),
            (u32::MAX, true),
            (1_000, false),
        ] {
            assert_eq!(bench.is_good(&nonce, count), is_good, "nc={count}");
        }
        assert!(
            bench.is_good(&bench.issue(), 7),
            "a nonce need not begin at 1: requests overtake each other"
        );
    }

    // RFC 7616 §3.3: stale.
    #[test]
    fn a_nonce_is_good_for_its_lifetime() {
        let bench = Bench::new(1_000);
        let (used, unused) = (bench.issue(), bench.issue());
        assert!(bench.is_good(&used, 1));
        bench.later(9);
        assert!(bench.is_good(&used, 2) && !bench.is_good(&used, 1));
        bench.later(1);
        assert!(!bench.is_good(&used, 3) && !bench.is_good(&unused, 1));
    }

    // RFC 3261 §22.4 item 8: no count, so nothing tells a replay.
    #[test]
    fn without_qop_a_nonce_is_good_once() {
        let bench = Bench::new(1_000);
        let nonce = bench.issue();
        let take = || bench.nonces.take(&bench.secret, &nonce, Protection::Legacy);
        assert_eq!((take(), take()), (NonceUse::Good, NonceUse::Stale));
        assert!(!bench.is_good(&nonce, 1));
    }

    #[test]
    fn another_nonce_than_ours_is_not_good() {
        let bench = Bench::new(1_000);
        let nonce = bench.issue();
        let mut changed = nonce.clone();
        changed.replace_range(7..8, if nonce.ends_with("0") { "1" } else { "0" });
        let forged = NodeSecret::from_bytes([2; 32]);
        for other in
            ["", "f", &"f".repeat(DIGITS), &"ö".repeat(DIGITS / 2), &nonce[1..], &bench.nonces.issue(&forged)]
        {
            assert!(!bench.is_good(other, 1), "{other}");
        }
        assert!(changed == nonce || !bench.is_good(&changed, 1));
        assert!(bench.is_good(&nonce, 1));
    }

    #[test]
    fn what_had_to_be_forgotten_is_stale_never_good_again() {
        let bench = Bench::new(STRIPES * 2 * 3);
        let mut seen = Vec::new();
        for _ in 0..20 {
            for _ in 0..50 {
                let nonce = bench.issue();
                if bench.is_good(&nonce, 1) {
                    seen.push(nonce);
                }
            }
            bench.later(1);
            assert!(seen.iter().all(|nonce| !bench.is_good(nonce, 1)), "a count was good twice");
        }
        assert!(seen.len() > 100, "only {} nonces were good", seen.len());
        let counts = |used: &Used| used.young.len() + used.old.len();
        let tracked: usize = bench.nonces.stripes.iter().map(|s| counts(&s.lock())).sum();
        assert!(tracked <= STRIPES * 2 * 3, "{tracked}");
    }
}
