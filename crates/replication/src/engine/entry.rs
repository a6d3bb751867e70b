//! Records as the engine holds them, and the entries of its logs.
//!
//! ```text
//! part u8 | flags u8 | stamp u64 | node u32 | life in ms u64 | value
//! part u8 | flags u8 | stamp u64 | node u32 | life in ms u64 | beyond in ms u64 | value
//! ```
//!
//! Numbers are big-endian, so that its scripts can compare versions. The life is what was left when it was written: how long
//! ago that was, the engine knows. The second form, which flags tell, is of a version that is to be remembered beyond its end:
//! the engine holds it so long, and it is read as removed then.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::names::{Names, read_kind};
use crate::outlog::LANES;
use crate::part::{TOMBSTONE_MARGIN, milliseconds};
use crate::{Kind, Malformed, NodeId, PARTS, Place, Record, Stamp, Version};

const REMOVED: u8 = 1;
const OUTLASTED: u8 = 2;
/// Octets before the life: what versions are compared by.
pub(super) const VERSION_BYTES: usize = 14;
const HEAD_BYTES: usize = VERSION_BYTES + 8;
const BEYOND_BYTES: usize = 8;

/// A record on its way into the engine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) name: Vec<u8>,
    /// How long the engine is to hold it.
    pub(super) life_ms: u64,
    pub(super) value: Vec<u8>,
}

impl Stored {
    /// Of a record whose times are on a scale that shows `now_ms`; `None` if it has no version.
    pub(super) fn of(names: &Names, record: &Record<'_>, now_ms: u64) -> Option<Self> {
        let left =
            |record: &Record<'_>| u64::try_from(record.expires_unix_ms).unwrap_or(0).saturating_sub(now_ms);
        // What has ended meanwhile takes an older one, which may last longer, with it.
        let record = if record.is_removed || left(record) > 0 { *record } else { record.ended() };
        let Place { part, version, beyond_ms } = record.place?;
        let life_ms = match left(&record) {
            0 => milliseconds(TOMBSTONE_MARGIN),
            left => left,
        };
        let removed = if record.is_removed { REMOVED } else { 0 };
        let outlasted = if beyond_ms > 0 { OUTLASTED } else { 0 };
        let mut value = Vec::with_capacity(HEAD_BYTES + BEYOND_BYTES + record.value.len());
        value.extend_from_slice(&[part, removed | outlasted]);
        value.extend_from_slice(&version.stamp.0.to_be_bytes());
        value.extend_from_slice(&version.node.0.to_be_bytes());
        value.extend_from_slice(&life_ms.to_be_bytes());
        if beyond_ms > 0 {
            value.extend_from_slice(&beyond_ms.to_be_bytes());
        }
        value.extend_from_slice(record.value);
        let name = names.record(usize::from(part) % LANES, record.kind, record.key);
        Some(Self { name, life_ms: life_ms.saturating_add(beyond_ms), value })
    }
}

/// What versions are compared by, of a record that the engine holds; `None` if it is not one of ours.
pub(super) fn read_version(head: &[u8]) -> Option<Place> {
    let (&[part, _flags], rest) = head.split_first_chunk()?;
    let (stamp, rest) = rest.split_first_chunk()?;
    let (node, _) = rest.split_first_chunk()?;
    let version =
        Version { stamp: Stamp(u64::from_be_bytes(*stamp)), node: NodeId(u32::from_be_bytes(*node)) };
    (usize::from(part) < PARTS).then_some(Place::new(part, version))
}

/// A record that the engine holds, which ends in `left` or, if that is not known, when its writer said, `age` ago.
pub(super) fn read<'a>(
    kind: Kind,
    key: &'a [u8],
    stored: &'a [u8],
    left: Left,
    unix_ms: i64,
) -> Result<Record<'a>, Malformed> {
    let place = read_version(stored).ok_or(Malformed)?;
    let flags = stored[1];
    let mut rest = stored.get(VERSION_BYTES..).ok_or(Malformed)?;
    let mut number = || {
        let (number, after) = rest.split_first_chunk().ok_or(Malformed)?;
        rest = after;
        Ok(u64::from_be_bytes(*number))
    };
    let life_ms = number()?;
    let beyond_ms = if flags & OUTLASTED == 0 { 0 } else { number()? };
    let held_ms = match left {
        Left::Exactly(ms) => ms,
        Left::AfterAge(ms) => life_ms.saturating_add(beyond_ms).saturating_sub(ms),
    };
    let left_ms = i64::try_from(held_ms.saturating_sub(beyond_ms)).unwrap_or(i64::MAX);
    let plain = Record::present(kind, key, rest, unix_ms.saturating_add(left_ms));
    let place = Some(Place { beyond_ms: beyond_ms.min(held_ms), ..place });
    let record = Record { is_removed: flags & REMOVED != 0, place, ..plain };
    Ok(if left_ms == 0 && beyond_ms > 0 { record.ended() } else { record })
}

/// How long a record has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Left {
    /// So many milliseconds, as the engine says.
    Exactly(u64),
    /// What its writer said, so many milliseconds ago.
    AfterAge(u64),
}

/// The place of an entry in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogId(u64, u64);

impl FromStr for LogId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (ms, number) = text.split_once('-').ok_or(Malformed)?;
        Ok(Self(ms.parse().map_err(|_| Malformed)?, number.parse().map_err(|_| Malformed)?))
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// A change in a log: `after ID at MS`, and then names and records.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// The entry before it.
    pub(super) after: LogId,
    /// When it was written, by the engine's clock.
    at_ms: u64,
    records: &'a [Vec<u8>],
}

impl<'a> Entry<'a> {
    pub(super) fn read(fields: &'a [Vec<u8>]) -> Result<Self, Malformed> {
        let ([after, after_id, at, at_ms], records) = fields.split_first_chunk().ok_or(Malformed)?;
        let number = |octets: &[u8]| std::str::from_utf8(octets).ok()?.parse().ok();
        if after != b"after" || at != b"at" {
            return Err(Malformed);
        }
        let after = std::str::from_utf8(after_id).map_err(|_| Malformed)?.parse()?;
        Ok(Self { after, at_ms: number(at_ms).ok_or(Malformed)?, records })
    }

    /// Its records, when the engine's clock shows `now_ms`.
    pub(super) fn records(&self, now_ms: u64, unix_ms: i64) -> Result<Vec<Record<'a>>, Malformed> {
        let left = Left::AfterAge(now_ms.saturating_sub(self.at_ms));
        let record = |name: &'a [u8], stored: &'a [u8]| {
            let (kind, key) = read_kind(name).ok_or(Malformed)?;
            read(kind, key, stored, left, unix_ms)
        };
        self.records.chunks_exact(2).map(|pair| record(&pair[0], &pair[1])).collect()
    }
}

/// What the engine's clock shows. Its clock is read once for each connection: another server may have another.
#[derive(Clone, Copy, Debug)]
pub(super) struct EngineClock {
    read_at: Instant,
    ms: u64,
}

impl EngineClock {
    /// Of what `TIME` answered.
    pub(super) fn of((seconds, micros): (u64, u64), read_at: Instant) -> Self {
        Self { read_at, ms: seconds.saturating_mul(1000).saturating_add(micros / 1000) }
    }

    pub(super) fn ms(self, now: Instant) -> u64 {
        let since: Duration = now.saturating_duration_since(self.read_at);
        self.ms.saturating_add(milliseconds(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(is_removed: bool, expires: i64) -> Record<'static> {
        let version = Version { stamp: Stamp(0x0102_0304_0506_0708), node: NodeId(0x090a_0b0c) };
        let plain = Record::present(Kind(3), b"sip:a@b", b"value", expires);
        Record { is_removed, place: Some(Place::new(33, version)), ..plain }
    }

    #[test]
    fn what_is_stored_is_read() {
        let names = Names::new("p");
        let stored = Stored::of(&names, &record(false, 61_000), 1_000).expect("it has a version");
        assert_eq!(stored.name, b"p:{5x}:r\x03sip:a@b");
        assert_eq!(stored.life_ms, 60_000);
        assert_eq!(stored.value[..VERSION_BYTES], *b"\x21\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c");
        let read = |left| read(Kind(3), b"sip:a@b", &stored.value, left, 5_000);
        assert_eq!(read(Left::AfterAge(0)), Ok(record(false, 65_000)));
        assert_eq!(read(Left::AfterAge(70_000)).map(|r| r.expires_unix_ms), Ok(5_000), "it has ended");
        assert_eq!(read(Left::Exactly(7)).map(|r| r.expires_unix_ms), Ok(5_007));
        for length in 0..HEAD_BYTES {
            let cut = super::read(Kind(3), b"", &stored.value[..length], Left::Exactly(1), 0);
            assert_eq!(cut, Err(Malformed), "{length}");
        }
    }

    #[test]
    fn what_has_ended_is_stored_as_removed() {
        let names = Names::new("p");
        let stored = Stored::of(&names, &record(false, 1_000), 1_000).expect("it has a version");
        assert_eq!((stored.life_ms, stored.value.len()), (120_000, HEAD_BYTES));
        let found = read(Kind(3), b"sip:a@b", &stored.value, Left::Exactly(1), 0).expect("it is one");
        assert!(found.is_removed);
        let outlasted = Place { beyond_ms: 500_000, ..record(false, 0).place.expect("it has one") };
        let long = Record { place: Some(outlasted), ..record(false, 1_000) };
        let stored = Stored::of(&names, &long, 41_000).expect("it has a version");
        assert_eq!(
            (stored.life_ms, stored.value.len()),
            (460_000, HEAD_BYTES),
            "as long as it is remembered"
        );
        let noted = Stored::of(&names, &record(true, 9_000), 1_000).expect("it has a version");
        let found = read(Kind(3), b"sip:a@b", &noted.value, Left::Exactly(1), 0).expect("it is one");
        assert!(found.is_removed && found.value == b"value", "with its note");
        assert_eq!(Stored::of(&names, &Record { place: None, ..record(false, 1) }, 0), None);
    }

    #[test]
    fn what_an_earlier_version_would_have_outlasted_is_removed_when_it_ends() {
        let names = Names::new("p");
        let outlasted = Place { beyond_ms: 500_000, ..record(false, 0).place.expect("it has one") };
        let long = Record { place: Some(outlasted), ..record(false, 61_000) };
        let stored = Stored::of(&names, &long, 1_000).expect("it has a version");
        assert_eq!(stored.life_ms, 560_000, "the engine holds it so long");
        let read = |left| read(Kind(3), b"sip:a@b", &stored.value, left, 5_000).expect("it is one");
        assert_eq!(read(Left::AfterAge(0)), Record { expires_unix_ms: 65_000, ..long });
        assert_eq!(read(Left::Exactly(500_007)), Record { expires_unix_ms: 5_007, ..long });
        let ended = Record { value: b"", ..record(true, 495_000) };
        assert_eq!(read(Left::AfterAge(70_000)), ended);
        assert_eq!(read(Left::Exactly(490_000)), ended);
        assert_eq!(
            super::read(Kind(3), b"", &stored.value[..HEAD_BYTES], Left::Exactly(1), 0),
            Err(Malformed)
        );
    }

    #[test]
    fn entries() {
        let names = Names::new("p");
        let stored = Stored::of(&names, &record(false, 61_000), 1_000).expect("it has a version");
        let name = stored.name[names.record_prefix_bytes()..].to_vec();
        let fields =
            [b"after".to_vec(), b"17-2".to_vec(), b"at".to_vec(), b"90000".to_vec(), name, stored.value];
        let entry = Entry::read(&fields).expect("it is one");
        assert_eq!(entry.after, "17-2".parse().expect("an id"));
        assert_eq!(entry.records(100_000, 5_000), Ok(vec![record(false, 55_000)]));
        assert!(Entry::read(&fields[..3]).is_err() && Entry::read(&fields[2..]).is_err());
        assert!("17".parse::<LogId>().is_err() && "1-x".parse::<LogId>().is_err());
        assert_eq!(LogId(17, 2).to_string(), "17-2");
        let read_at = Instant::now();
        let clock = EngineClock::of((100, 2_500), read_at);
        assert_eq!(clock.ms(read_at + Duration::from_secs(1)), 101_002);
    }
}
