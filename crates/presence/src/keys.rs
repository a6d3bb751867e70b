//! Names of watchers: within the process, and in their dialogs.

use std::fmt;

/// Shards of the state: enough that workers seldom meet, few enough that a tick over all costs nothing.
pub(crate) const SHARDS: u32 = 64;

/// Names a watcher in the whole process as long as it lives or something of it is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatcherKey(pub(crate) u32);

impl WatcherKey {
    pub(crate) const fn new(slot: u32, shard: u32) -> Self {
        Self(slot.wrapping_mul(SHARDS).wrapping_add(shard))
    }

    pub(crate) const fn shard(self) -> u32 {
        self.0 % SHARDS
    }

    pub(crate) const fn slot(self) -> u32 {
        self.0 / SHARDS
    }
}

/// Our tag in a dialog: where the watcher is kept, and 32 random bits (RFC 3261 §19.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalTag {
    pub(crate) nonce: u32,
    pub(crate) key: WatcherKey,
}

impl LocalTag {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 16 || !text.bytes().all(is_digit) {
            return None;
        }
        let value = u64::from_str_radix(text, 16).ok()?;
        Some(Self::from_bytes(value.to_be_bytes()))
    }

    /// In a record.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        ((u64::from(self.nonce) << 32) | u64::from(self.key.0)).to_be_bytes()
    }

    /// From a record.
    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Self {
        let value = u64::from_be_bytes(bytes);
        Self { nonce: (value >> 32) as u32, key: WatcherKey(value as u32) }
    }
}

impl fmt::Display for LocalTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:08x}", self.nonce, self.key.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_where_a_watcher_is_kept() {
        let key = WatcherKey::new(7, 63);
        assert_eq!((key.slot(), key.shard()), (7, 63));
    }

    // RFC 3261 §19.3: a tag is compared as a whole; only our own spelling is ours.
    #[test]
    fn tags_are_read_as_they_are_written() {
        let tag = LocalTag { nonce: 0x0123_4567, key: WatcherKey::new(1, 2) };
        assert_eq!(tag.to_string(), "0123456700000042");
        assert_eq!(LocalTag::parse("0123456700000042"), Some(tag));
        for other in
            ["", "1", "0123456700000042f", "012345670000004G", "012345670000004F", "+123456700000042"]
        {
            assert_eq!(LocalTag::parse(other), None, "{other}");
        }
    }
}
