//! Names of watchers: within the process, and in their dialogs.

use std::fmt;

/// Shards of the state: the parts that nodes compare.
pub(crate) const SHARDS: u32 = replication::PARTS as u32;

/// Slots of one shard.
const SLOTS: u32 = 1 << 20;
/// Generations of a slot that are told apart.
const GENERATIONS: u8 = 1 << 6;

/// Names a watcher in the whole process as long as it lives or something of it is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatcherKey(pub(crate) u32);

impl WatcherKey {
    /// `generation` tells the watchers apart that were in a slot one after another: what was in flight for one of them
    /// concerns no other.
    pub(crate) const fn new(slot: u32, generation: u8, shard: u32) -> Self {
        let place = ((generation % GENERATIONS) as u32).wrapping_mul(SLOTS).wrapping_add(slot % SLOTS);
        Self(place.wrapping_mul(SHARDS).wrapping_add(shard))
    }

    pub(crate) const fn shard(self) -> u32 {
        self.0 % SHARDS
    }

    pub(crate) const fn slot(self) -> u32 {
        self.0 / SHARDS % SLOTS
    }

    /// Whether it is of that generation.
    pub(crate) const fn is_of(self, generation: u8) -> bool {
        self.0 / SHARDS / SLOTS == (generation % GENERATIONS) as u32
    }
}

/// Our tag in a dialog: random, but for the shard that the watcher is in, on every node and in every life of one
/// (RFC 3261 §19.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LocalTag(u64);

impl LocalTag {
    pub(crate) const fn new(random: u64, shard: u32) -> Self {
        Self(random - random % SHARDS as u64 + shard as u64)
    }

    pub(crate) const fn shard(self) -> u32 {
        (self.0 % SHARDS as u64) as u32
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 16 || !text.bytes().all(is_digit) {
            return None;
        }
        u64::from_str_radix(text, 16).ok().map(Self)
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// In a record.
    pub(crate) const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// From the key of a record.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(u64::from_be_bytes(bytes)))
    }
}

impl fmt::Display for LocalTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_where_a_watcher_is_kept() {
        let key = WatcherKey::new(7, 66, 63);
        assert_eq!((key.slot(), key.shard()), (7, 63));
        assert!(key.is_of(66) && key.is_of(2) && !key.is_of(67));
    }

    // RFC 3261 §19.3: a tag is compared as a whole; only our own spelling is ours.
    #[test]
    fn tags_are_read_as_they_are_written() {
        let tag = LocalTag::new(0x0123_4567_0000_0077, 2);
        assert_eq!((tag.to_string().as_str(), tag.shard()), ("0123456700000042", 2));
        assert_eq!(LocalTag::from_bytes(&tag.to_bytes()), Some(tag));
        assert_eq!(LocalTag::parse("0123456700000042"), Some(tag));
        for other in
            ["", "1", "0123456700000042f", "012345670000004G", "012345670000004F", "+123456700000042"]
        {
            assert_eq!(LocalTag::parse(other), None, "{other}");
        }
    }
}
