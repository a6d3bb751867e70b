//! Entity-tags (RFC 3903 §8.1, §11.3): each names one publication in one of its versions.

use std::fmt;

use rand::Rng;
use rand::rngs::StdRng;
use sip_message::Hex;

/// An entity-tag. It is a `token` with one spelling, cannot be guessed (64 random bits), and never comes twice: a serial
/// number follows that begins with the time at which the process began (RFC 3903 §6 step 6: different from any assigned
/// before, also before a restart).
///
/// repro's tags, 16 hexadecimal digits, are tags without a serial number (zero): a publisher that turns from a repro to us
/// shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityTag {
    random: u64,
    serial: u64,
}

/// Gives out entity-tags.
#[derive(Debug)]
pub(crate) struct EntityTags {
    next_serial: u64,
    step: u64,
}

impl EntityTags {
    /// `unix_ms` is the wall clock at the beginning of the process; of `of` generators of one process this is number
    /// `share`. A million a millisecond can be given out before a later process might repeat a serial number.
    pub(crate) fn new(unix_ms: i64, share: u32, of: u32) -> Self {
        let first = u64::try_from(unix_ms).unwrap_or(1).max(1) << 20;
        Self { next_serial: first + u64::from(share), step: u64::from(of) }
    }

    pub(crate) fn next(&mut self, rng: &mut StdRng) -> EntityTag {
        let tag = EntityTag { random: rng.next_u64(), serial: self.next_serial };
        self.next_serial = self.next_serial.wrapping_add(self.step);
        tag
    }
}

impl EntityTag {
    /// In a record.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.random) << 64) | u128::from(self.serial)).to_be_bytes()
    }

    /// From a record.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { random: (both >> 64) as u64, serial: both as u64 }
    }

    /// Reads the spelling that we, or repro, write, and no other.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let (random, serial) = text.split_at_checked(16)?;
        if !text.bytes().all(is_digit) || serial.starts_with('0') {
            return None;
        }
        let read = |digits| u64::from_str_radix(digits, 16).ok();
        let serial = if serial.is_empty() { 0 } else { read(serial)? };
        Some(Self { random: read(random)?, serial })
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Hex(self.random))?;
        if self.serial == 0 { Ok(()) } else { write!(f, "{:x}", self.serial) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;

    use super::*;

    // RFC 3903 §6 step 6, §8.1: unique, a token, read as it is written.
    #[test]
    fn tags_are_unique_tokens() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut seen = HashSet::new();
        for share in 0..2 {
            let mut tags = EntityTags::new(1_760_000_000_000, share, 2);
            for _ in 0..1000 {
                let tag = tags.next(&mut rng);
                let text = tag.to_string();
                assert!(text.bytes().all(|b| b.is_ascii_alphanumeric()), "{text}");
                assert_eq!(EntityTag::parse(&text), Some(tag));
                assert!(seen.insert(tag.serial));
            }
        }
    }

    #[test]
    fn other_spellings_are_other_tags() {
        let text = "00000000000000ff1a";
        assert!(EntityTag::parse(text).is_some());
        for other in [
            "",
            "*",
            "ff1a",
            "00000000000000FF1a",
            "00000000000000FF",
            "00000000000000f",
            "00000000000000ff01a",
            "+0000000000000ff1a",
            "00000000000000ff1a0000000000000000",
            "00000000000000f\u{e9}1a",
        ] {
            assert_eq!(EntityTag::parse(other), None, "{other}");
        }
    }

    // presence-and-replication §6.5, as observed: not ours, but good here when its publisher turns to us.
    #[test]
    fn tags_of_repro_are_read() {
        let tag = EntityTag::parse("614f5da98eb89b30").expect("a tag");
        assert_eq!(tag.to_string(), "614f5da98eb89b30");
        assert_eq!(EntityTag::from_bytes(tag.to_bytes()), tag);
    }

    // RFC 3903 §6 step 6: also after a restart; here one a single millisecond later, with the same seed.
    #[test]
    fn tags_do_not_come_back_after_a_restart() {
        let (mut before, mut after) = (EntityTags::new(1000, 0, 1), EntityTags::new(1001, 0, 1));
        let mut rng = StdRng::seed_from_u64(1);
        let last = (0..100_000).map(|_| before.next(&mut rng).serial).max();
        assert!(last < Some(after.next(&mut rng).serial));
    }
}
