//! The names of what the engine holds.
//!
//! ```text
//! PREFIX:{TAG}:r KIND KEY   a record, KIND being one octet
//! PREFIX:{TAG}:log          the changes of a virtual shard, a stream
//! PREFIX:{TAG}:head         the last of them
//! PREFIX:{TAG}:fences       by node, its epoch in the shard, and who acts for it
//! PREFIX:{TAG}:nodes        by node, its latest sign of life; in the first shard alone
//! ```

use crate::Kind;
use crate::outlog::LANES;

/// For each virtual shard a tag, and its slot (Redis Cluster specification, "Key distribution model"). The slots are in the
/// middle of each sixteenth of all: servers that share the slots evenly share the shards so.
const TAGS: [(&str, u16); LANES] = [
    ("18", 511),
    ("5x", 1535),
    ("dj", 2562),
    ("3r", 3603),
    ("d2", 4607),
    ("pv", 5640),
    ("uh", 6658),
    ("iy", 7692),
    ("ly", 8697),
    ("h9", 9721),
    ("uv", 10749),
    ("q6", 11773),
    ("9s", 12793),
    ("5f", 13824),
    ("dt", 14845),
    ("ha", 15876),
];

/// The slot of a virtual shard.
pub(super) const fn slot(lane: usize) -> u16 {
    TAGS[lane].1
}

/// Makes names, and reads them.
#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(super) fn log(&self, lane: usize) -> String {
        self.of(lane, "log")
    }

    pub(super) fn head(&self, lane: usize) -> String {
        self.of(lane, "head")
    }

    pub(super) fn fences(&self, lane: usize) -> String {
        self.of(lane, "fences")
    }

    pub(super) fn nodes(&self) -> String {
        self.of(0, "nodes")
    }

    /// What the names of all records match.
    pub(super) fn records(&self) -> String {
        format!("{}:{{*}}:r*", self.prefix)
    }

    pub(super) fn record(&self, lane: usize, kind: Kind, key: &[u8]) -> Vec<u8> {
        let mut name = self.of(lane, "r").into_bytes();
        name.push(kind.0);
        name.extend_from_slice(key);
        name
    }

    /// Octets of a record's name before its kind.
    pub(super) fn record_prefix_bytes(&self) -> usize {
        self.of(0, "r").len()
    }

    /// The shard, kind and key of a record; `None` if that is no record's name.
    pub(super) fn read<'a>(&self, name: &'a [u8]) -> Option<(usize, Kind, &'a [u8])> {
        let rest = name.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b":{")?;
        let (tag, rest) = rest.split_at_checked(2)?;
        let lane = TAGS.iter().position(|(known, _)| known.as_bytes() == tag)?;
        let (kind, key) = read_kind(rest.strip_prefix(b"}:r")?)?;
        Some((lane, kind, key))
    }

    fn of(&self, lane: usize, what: &str) -> String {
        format!("{}:{{{}}}:{what}", self.prefix, TAGS[lane].0)
    }
}

/// The kind and key at the end of a record's name.
pub(super) fn read_kind(name: &[u8]) -> Option<(Kind, &[u8])> {
    let (kind, key) = name.split_first()?;
    Some((Kind(*kind), key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_made() {
        let names = Names::new("roll-call.1");
        for lane in 0..LANES {
            let name = names.record(lane, Kind(7), b"sip:a}:r\xff@b");
            assert_eq!(names.read(&name), Some((lane, Kind(7), &b"sip:a}:r\xff@b"[..])));
            assert_eq!(
                read_kind(&name[names.record_prefix_bytes()..]),
                Some((Kind(7), &b"sip:a}:r\xff@b"[..]))
            );
            for other in [names.log(lane), names.head(lane), names.fences(lane), names.nodes()] {
                assert_eq!(names.read(other.as_bytes()), None);
            }
        }
        for name in ["roll-call.1:{18}:r", "rollcall:{18}:rx", "roll-call.1:{zz}:rx", "", "roll-call.1:{1"] {
            assert_eq!(names.read(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn shards_are_spread_over_the_slots() {
        for servers in 1..=LANES {
            let share = |lane: usize| usize::from(slot(lane)) * servers / 16_384;
            let counts = (0..servers).map(|server| (0..LANES).filter(|lane| share(*lane) == server).count());
            let (least, most) = (LANES / servers, LANES.div_ceil(servers));
            assert!(counts.clone().all(|count| (least..=most).contains(&count)), "{servers}");
        }
    }
}
