//! One part of the replicated map: the version of each key, what was removed, and digests to compare nodes by.
//!
//! The values are with their owners; a part knows what they are values of. A key stands here as its hash, which is the same
//! on every node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hashbrown::hash_map::Entry as MapEntry;
use hashbrown::{HashMap, HashSet};
use sha2::{Digest, Sha256};

use crate::wire::PARTS;
use crate::{Kind, NodeId, Stamp, Version};

/// The part of all that belongs together under a name, the same on every node.
pub fn part_of(name: &str) -> usize {
    crc32fast::hash(name.as_bytes()) as usize % PARTS
}

/// A key: 128 bits of a cryptographic hash of kind and key, as a client chooses what is in keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u128);

impl KeyHash {
    /// The hash of a key.
    pub fn of(kind: Kind, key: &[u8]) -> Self {
        let digest = Sha256::new().chain_update([kind.0]).chain_update(key).finalize();
        let (first, _) = digest.split_first_chunk().expect("32 octets");
        Self(u128::from_le_bytes(*first))
    }

    fn bucket(self) -> usize {
        self.0 as usize % BUCKETS
    }
}

/// Digests of a part: what differs between two nodes is looked for in those that differ.
pub(crate) const BUCKETS: usize = 64;

/// How long a tombstone stays beyond the time at which what it removed would have expired anyway: longer than a change may
/// be on its way, and than clocks differ.
pub(crate) const TOMBSTONE_MARGIN: Duration = Duration::from_secs(120);
/// How long the version of something that expired is remembered in any case.
const EXPIRED_MARGIN: Duration = Duration::from_secs(10);

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    version: Version,
    /// Milliseconds on the replica's own scale.
    expires_ms: u64,
    is_removed: bool,
}

/// A key that was removed, whole, to be told to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) kind: Kind,
    pub(crate) key: Box<[u8]>,
    /// What its owner noted of it.
    pub(crate) note: Box<[u8]>,
}

/// When a change ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// On the replica's own scale; of a removal, when it may be forgotten.
    pub(crate) expires_ms: u64,
    /// How long beyond that its version is remembered, as an earlier one would have lasted longer.
    pub(crate) beyond_ms: u64,
}

/// A key whose earlier version would have lasted longer than the one that is there.
#[derive(Debug)]
struct Outlasted {
    /// Until when what is there is to be remembered, the margin included.
    until_ms: u64,
    /// What that is remembered by when it has ended.
    tombstone: Tombstone,
}

/// What somebody has of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) hash: KeyHash,
    pub(crate) version: Version,
}

/// A change of one key, as it concerns the map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark<'a> {
    pub(crate) kind: Kind,
    pub(crate) key: &'a [u8],
    /// Of a removal what its owner noted.
    pub(crate) note: &'a [u8],
    pub(crate) version: Version,
    pub(crate) is_removed: bool,
    /// When it ends; for a removal, when it may be forgotten, if that is known.
    pub(crate) expires_ms: u64,
    /// As far as who changed it knew: [`End::beyond_ms`].
    pub(crate) beyond_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Part {
    entries: HashMap<KeyHash, Entry>,
    tombstones: HashMap<KeyHash, Tombstone>,
    outlasted: HashMap<KeyHash, Outlasted>,
    digests: [u64; BUCKETS],
    sweep_at_ms: Arc<AtomicU64>,
}

impl Part {
    pub(crate) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            tombstones: HashMap::new(),
            outlasted: HashMap::new(),
            digests: [0; BUCKETS],
            sweep_at_ms: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// The earliest time at which [`Part::sweep`] may find something, for whoever would rather not take the lock to see
    /// that there is nothing.
    pub(crate) fn sweep_at_ms(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sweep_at_ms)
    }

    /// Takes note of a change if it is news. Returns when it ends. As long as an earlier version would have lasted, this one
    /// is remembered, whether it removes it or ends before: who has not heard of it may have the earlier one.
    pub(crate) fn mark(&mut self, mark: &Mark<'_>) -> Option<End> {
        let hash = KeyHash::of(mark.kind, mark.key);
        let known = self.entries.get(&hash).copied();
        if known.is_some_and(|known| known.version >= mark.version) {
            return None;
        }
        let margin = milliseconds(TOMBSTONE_MARGIN);
        let outlasted = self.outlasted.remove(&hash).map_or(0, |outlasted| outlasted.until_ms);
        let remembered_ms = known.map_or(0, |known| match known.is_removed {
            true => known.expires_ms,
            false => known.expires_ms.saturating_add(margin).max(outlasted),
        });
        let tombstone = || Tombstone { kind: mark.kind, key: mark.key.into(), note: mark.note.into() };
        let mut end = End { expires_ms: mark.expires_ms, beyond_ms: 0 };
        if mark.is_removed {
            end.expires_ms = end.expires_ms.max(remembered_ms);
            self.tombstones.insert(hash, tombstone());
        } else {
            let until_ms = remembered_ms.max(end.expires_ms.saturating_add(mark.beyond_ms));
            let beyond_ms = until_ms - end.expires_ms;
            if beyond_ms > margin + milliseconds(EXPIRED_MARGIN) {
                end.beyond_ms = beyond_ms;
                self.outlasted.insert(hash, Outlasted { until_ms, tombstone: tombstone() });
            }
            self.tombstones.remove(&hash);
        }
        let entry = Entry { version: mark.version, expires_ms: end.expires_ms, is_removed: mark.is_removed };
        self.set(hash, Some(entry));
        Some(end)
    }

    /// What is known of a key: its version, and when that ends.
    pub(crate) fn end(&self, kind: Kind, key: &[u8]) -> Option<(Version, End)> {
        let hash = KeyHash::of(kind, key);
        let Entry { version, expires_ms, .. } = *self.entries.get(&hash)?;
        let until_ms = self.outlasted.get(&hash).map_or(expires_ms, |outlasted| outlasted.until_ms);
        Some((version, End { expires_ms, beyond_ms: until_ms - expires_ms }))
    }

    /// What is known of the version of a key that is there.
    pub(crate) fn version(&self, kind: Kind, key: &[u8]) -> Option<Version> {
        self.entries.get(&KeyHash::of(kind, key)).map(|entry| entry.version)
    }

    /// What is known of a key: its version, and whether it was removed.
    pub(crate) fn known(&self, kind: Kind, key: &[u8]) -> Option<(Version, bool)> {
        self.entries.get(&KeyHash::of(kind, key)).map(|entry| (entry.version, entry.is_removed))
    }

    /// A key that was removed, and its version.
    pub(crate) fn tombstone(&self, kind: Kind, key: &[u8]) -> Option<(&Tombstone, Version)> {
        let hash = KeyHash::of(kind, key);
        Some((self.tombstones.get(&hash)?, self.entries.get(&hash)?.version))
    }

    /// Forgets what is over. What an earlier version would have outlasted is a removal from then on.
    pub(crate) fn sweep(&mut self, now_ms: u64) {
        if self.sweep_at_ms.load(Ordering::Acquire) > now_ms {
            return;
        }
        let (mut over, mut next_ms) = (Vec::new(), u64::MAX);
        for (hash, entry) in &self.entries {
            match self.over_at_ms(hash, entry) {
                at_ms if at_ms <= now_ms => over.push((*hash, *entry)),
                at_ms => next_ms = next_ms.min(at_ms),
            }
        }
        self.sweep_at_ms.store(next_ms, Ordering::Release);
        for (hash, entry) in over {
            match self.outlasted.remove(&hash).filter(|outlasted| outlasted.until_ms > now_ms) {
                Some(Outlasted { until_ms: expires_ms, tombstone }) => {
                    self.set(hash, Some(Entry { expires_ms, is_removed: true, ..entry }));
                    self.tombstones.insert(hash, tombstone);
                }
                None => {
                    self.set(hash, None);
                    self.tombstones.remove(&hash);
                }
            }
        }
    }

    /// From when on [`Part::sweep`] makes something else of an entry. What an earlier version would have outlasted is a removal
    /// at the end that it was given: a while in which it is neither there nor removed would bring the earlier one back.
    fn over_at_ms(&self, hash: &KeyHash, entry: &Entry) -> u64 {
        let is_exact = entry.is_removed || self.outlasted.contains_key(hash);
        let margin = if is_exact { Duration::ZERO } else { EXPIRED_MARGIN };
        entry.expires_ms.saturating_add(milliseconds(margin))
    }

    /// Whose what is there is.
    pub(crate) fn owners(&self) -> BTreeSet<NodeId> {
        self.entries.values().filter(|entry| !entry.is_removed).map(|entry| entry.version.node).collect()
    }

    pub(crate) fn digests(&self) -> &[u64; BUCKETS] {
        &self.digests
    }

    /// Entries, tombstones included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What there is in some buckets, a bit for each, and has not ended. In order, as all that comes of it on another node
    /// then happens in the same order in every run.
    pub(crate) fn list(&mut self, buckets: u64, now_ms: u64) -> Vec<Listed> {
        self.sweep(now_ms);
        let is_asked = |hash: &KeyHash| buckets >> hash.bucket() & 1 == 1;
        let listed = self.entries.iter().filter(|(hash, entry)| is_asked(hash) && entry.expires_ms > now_ms);
        let mut listed: Vec<_> =
            listed.map(|(hash, entry)| Listed { hash: *hash, version: entry.version }).collect();
        listed.sort_unstable_by_key(|listed| listed.hash);
        listed
    }

    /// What there is of some keys and was not removed.
    pub(crate) fn live(&self, keys: &HashSet<KeyHash>) -> Vec<Listed> {
        let live = |hash: &KeyHash| {
            let entry = self.entries.get(hash).filter(|entry| !entry.is_removed)?;
            Some(Listed { hash: *hash, version: entry.version })
        };
        keys.iter().filter_map(live).collect()
    }

    /// Forgets a version, unless there is another by now.
    pub(crate) fn forget(&mut self, listed: &Listed) {
        if self.entries.get(&listed.hash).is_some_and(|entry| entry.version == listed.version) {
            self.set(listed.hash, None);
            self.tombstones.remove(&listed.hash);
            self.outlasted.remove(&listed.hash);
        }
    }

    /// Whether somebody has something newer than what is here.
    pub(crate) fn lacks(&self, listed: &Listed) -> bool {
        self.entries.get(&listed.hash).is_none_or(|entry| entry.version < listed.version)
    }

    /// All that was removed, with its version and the time until which that is remembered; in order, as above.
    pub(crate) fn tombstones(&self) -> impl Iterator<Item = (KeyHash, &Tombstone, Version, u64)> {
        let mut tombstones: Vec<_> = self.tombstones.iter().collect();
        tombstones.sort_unstable_by_key(|(hash, _)| **hash);
        tombstones.into_iter().filter_map(|(hash, tombstone)| {
            self.entries.get(hash).map(|entry| (*hash, tombstone, entry.version, entry.expires_ms))
        })
    }

    fn set(&mut self, hash: KeyHash, entry: Option<Entry>) {
        if let Some(entry) = &entry {
            self.sweep_at_ms.fetch_min(self.over_at_ms(&hash, entry), Ordering::AcqRel);
        }
        let bucket = &mut self.digests[hash.bucket()];
        match (self.entries.entry(hash), entry) {
            (MapEntry::Occupied(occupied), None) => *bucket ^= share(hash, &occupied.remove()),
            (MapEntry::Occupied(mut occupied), Some(entry)) => {
                *bucket ^= share(hash, &entry) ^ share(hash, &occupied.insert(entry));
            }
            (MapEntry::Vacant(vacant), Some(entry)) => {
                *bucket ^= share(hash, &entry);
                vacant.insert(entry);
            }
            (MapEntry::Vacant(_), None) => {}
        }
    }
}

/// What an entry adds to the digest of its bucket.
fn share(hash: KeyHash, entry: &Entry) -> u64 {
    let Version { stamp: Stamp(stamp), node: NodeId(node) } = entry.version;
    let mixed = (hash.0 as u64) ^ ((hash.0 >> 64) as u64).rotate_left(32);
    finish(finish(mixed ^ stamp) ^ u64::from(node))
}

/// The finalizer of MurmurHash3: every bit of the input changes half of the output. The keys are hashes already, and
/// nobody outside chooses versions.
fn finish(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// Whole milliseconds, of an instant on a scale that begins with `began`.
pub(crate) fn scale(began: Instant, at: Instant) -> u64 {
    milliseconds(at.saturating_duration_since(began))
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind(1);

    fn mark(key: &str, stamp: u64, node: u32, is_removed: bool, expires_ms: u64) -> Mark<'_> {
        let version = Version { stamp: Stamp(stamp), node: NodeId(node) };
        Mark { kind: KIND, key: key.as_bytes(), note: b"", version, is_removed, expires_ms, beyond_ms: 0 }
    }

    #[allow(clippy::unnecessary_wraps)] // as it is compared
    fn lasting(expires_ms: u64) -> Option<End> {
        Some(End { expires_ms, beyond_ms: 0 })
    }

    #[test]
    fn the_greater_version_counts() {
        let mut part = Part::new();
        assert_eq!(part.mark(&mark("a", 5, 1, false, 1000)), lasting(1000));
        assert_eq!(part.mark(&mark("a", 5, 1, false, 1000)), None, "the same again");
        assert_eq!(part.mark(&mark("a", 4, 9, false, 9000)), None, "older");
        assert_eq!(
            part.mark(&mark("a", 5, 2, false, 2000)),
            lasting(2000),
            "at the same time, by another node"
        );
    }

    // A contact that was removed does not come back from a node that has not heard of it.
    #[test]
    fn a_tombstone_outlives_what_it_removed() {
        let mut part = Part::new();
        part.mark(&mark("a", 5, 1, false, 60_000));
        let until = 180_000;
        assert_eq!(part.mark(&mark("a", 6, 1, true, 0)), lasting(until));
        assert_eq!(
            part.mark(&mark("a", 7, 1, true, 0)),
            lasting(until),
            "nor is it longer known for being removed twice"
        );
        part.sweep(until - 1);
        assert_eq!(part.mark(&mark("a", 5, 2, false, 60_000)), None, "the removal is newer");
        assert_eq!(part.tombstones().count(), 1);
        part.sweep(until);
        assert_eq!((part.len(), part.tombstones().count(), part.digests()), (0, 0, &[0; BUCKETS]));
    }

    // A contact that a later REGISTER made shorter does not come back from a node that has only heard of the first.
    #[test]
    fn what_outlasts_its_successor_is_removed_when_that_ends() {
        let mut part = Part::new();
        part.mark(&mark("a", 5, 1, false, 3_600_000));
        let end = part.mark(&mark("a", 6, 1, false, 60_000));
        assert_eq!(end, Some(End { expires_ms: 60_000, beyond_ms: 3_660_000 }));
        assert_eq!(
            part.end(KIND, b"a").map(|(version, end)| (version.stamp, Some(end))),
            Some((Stamp(6), end))
        );
        let end = part.mark(&mark("a", 7, 1, false, 600_000));
        assert_eq!(end, Some(End { expires_ms: 600_000, beyond_ms: 3_120_000 }), "the one after it, too");

        // Who is told of it knows as much.
        let mut other = Part::new();
        let told = Mark { beyond_ms: 3_120_000, ..mark("a", 7, 1, false, 600_000) };
        assert_eq!(other.mark(&told), end);

        for part in [&mut part, &mut other] {
            let digests = *part.digests();
            part.sweep(599_999);
            assert_eq!(part.tombstone(KIND, b"a"), None, "it is there");
            assert_eq!(part.list(u64::MAX, 600_000).len(), 1, "others are told, without a gap");
            assert_eq!(*part.digests(), digests, "nobody has to be told again who knows the version");
            let (tombstone, version) = part.tombstone(KIND, b"a").expect("it is remembered as removed");
            assert_eq!((&*tombstone.key, version.stamp), (b"a".as_slice(), Stamp(7)));
            assert_eq!(part.mark(&mark("a", 5, 1, false, 3_600_000)), None);
            part.sweep(3_720_000);
            assert_eq!((part.len(), part.tombstones().count()), (0, 0));
        }

        part.mark(&mark("a", 8, 1, false, 60_000));
        part.mark(&mark("a", 9, 1, false, 69_000));
        part.mark(&mark("a", 10, 1, false, 60_000));
        assert_eq!(part.end(KIND, b"a").map(|(_, end)| end.beyond_ms), Some(0), "a little is in the margin");
    }

    #[test]
    fn digests_are_of_what_is_there() {
        let (mut a, mut b) = (Part::new(), Part::new());
        for key in 0..1000 {
            a.mark(&mark(&key.to_string(), key, 1, key % 7 == 0, 5000));
        }
        for key in (0..1000).rev() {
            b.mark(&mark(&key.to_string(), key / 2, 1, false, 5000));
            b.mark(&mark(&key.to_string(), key, 1, key % 7 == 0, 7000));
        }
        assert_eq!(a.digests(), b.digests(), "whatever the way, and whenever it ends");
        b.mark(&mark("500", 5000, 1, false, 5000));
        let differing: Vec<usize> = (0..BUCKETS).filter(|&i| a.digests()[i] != b.digests()[i]).collect();
        let hash = KeyHash::of(KIND, b"500");
        assert_eq!(differing, [hash.bucket()]);
        let news: Vec<Listed> =
            b.list(1 << hash.bucket(), 0).into_iter().filter(|listed| a.lacks(listed)).collect();
        assert_eq!(news.iter().map(|listed| listed.hash).collect::<Vec<_>>(), [hash]);
        assert!(a.list(u64::MAX, 0).iter().all(|listed| !b.lacks(listed)));
    }

    #[test]
    fn what_expired_is_not_offered_and_soon_forgotten() {
        let mut part = Part::new();
        part.mark(&mark("a", 5, 1, false, 1000));
        assert_eq!((part.list(u64::MAX, 999).len(), part.list(u64::MAX, 1000).len()), (1, 0));
        part.sweep(10_999);
        assert_eq!(part.len(), 1);
        part.sweep(11_000);
        assert_eq!((part.len(), part.digests()), (0, &[0; BUCKETS]));
    }
}
