//! Records: what a change says of the keys that it concerns.
//!
//! ```text
//! kind u8 | flags u8 | key octets u16 | value octets u32 | expires i64 | key | value
//! kind u8 | flags u8 | key octets u16 | value octets u32 | expires i64 | part u8 | node u32 | stamp u64 | key | value
//! kind u8 | flags u8 | key octets u16 | value octets u32 | expires i64 | part u8 | node u32 | stamp u64 | beyond ms u64 | key | value
//! ```
//!
//! All numbers are little-endian. The second form has a version, the third one that is to be remembered beyond its end; flags
//! tell them.

use crate::{NodeId, Stamp, Version};

/// What a record is about. The users of a journal number their kinds; a number is never given another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind(pub u8);

/// What a change says of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is about.
    pub kind: Kind,
    /// Its key.
    pub key: &'a [u8],
    /// What its owner wrote; of a key that is not there any more what it noted of it, mostly nothing.
    pub value: &'a [u8],
    /// Whether it was removed, and holds nothing any more.
    pub is_removed: bool,
    /// When it ends, wall clock in milliseconds since 1970 UTC; for a removal, until when that is to be remembered.
    pub expires_unix_ms: i64,
    /// Where in the replicated map it is, and in which version; `None` on a node that is alone.
    pub place: Option<Place>,
}

/// Where in the replicated map a record is, and in which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The part of its owner's state, the same on every node.
    pub part: u8,
    /// Its version.
    pub version: Version,
    /// How long beyond its end the version is to be remembered, in milliseconds: an earlier one would have lasted so much
    /// longer, and a node that has not heard of this one may have it.
    pub beyond_ms: u64,
}

impl Place {
    /// The place of a version that is over when it ends.
    pub const fn new(part: u8, version: Version) -> Self {
        Self { part, version, beyond_ms: 0 }
    }
}

const REMOVED: u8 = 1;
const VERSIONED: u8 = 2;
const OUTLASTED: u8 = 4;

impl<'a> Record<'a> {
    /// A record of a key that holds a value, on a node that is alone.
    pub const fn present(kind: Kind, key: &'a [u8], value: &'a [u8], expires_unix_ms: i64) -> Self {
        Self { kind, key, value, is_removed: false, expires_unix_ms, place: None }
    }

    /// What is to be remembered of it when it has ended: that it is not there any more.
    pub(crate) fn ended(&self) -> Self {
        let beyond_ms = self.place.map_or(0, |place| place.beyond_ms);
        let expires_unix_ms =
            self.expires_unix_ms.saturating_add(i64::try_from(beyond_ms).unwrap_or(i64::MAX));
        let place = self.place.map(|place| Place { beyond_ms: 0, ..place });
        Self { value: &[], is_removed: true, expires_unix_ms, place, ..*self }
    }

    /// Octets that it takes where it is written.
    pub(crate) fn bytes(&self) -> usize {
        let place = match self.place {
            None => 0,
            Some(Place { beyond_ms: 0, .. }) => PLACE_BYTES,
            Some(_) => PLACE_BYTES + BEYOND_BYTES,
        };
        HEAD_BYTES + place + self.key.len() + self.value.len()
    }

    /// Writes it where records are read again.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let removed = if self.is_removed { REMOVED } else { 0 };
        let placed = match self.place {
            None => 0,
            Some(Place { beyond_ms: 0, .. }) => VERSIONED,
            Some(_) => VERSIONED | OUTLASTED,
        };
        // It was read, or within bounds when it was written.
        let key_bytes = u16::try_from(self.key.len()).unwrap_or(u16::MAX);
        let value_bytes = u32::try_from(self.value.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&[self.kind.0, removed | placed]);
        out.extend_from_slice(&key_bytes.to_le_bytes());
        out.extend_from_slice(&value_bytes.to_le_bytes());
        out.extend_from_slice(&self.expires_unix_ms.to_le_bytes());
        if let Some(Place { part, version, beyond_ms }) = self.place {
            out.push(part);
            out.extend_from_slice(&version.node.0.to_le_bytes());
            out.extend_from_slice(&version.stamp.0.to_le_bytes());
            if beyond_ms > 0 {
                out.extend_from_slice(&beyond_ms.to_le_bytes());
            }
        }
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value);
    }
}

/// One change under way into the journal: it is found again whole or not at all.
#[derive(Debug)]
pub struct Change<'a> {
    out: &'a mut Vec<u8>,
    is_within_bounds: bool,
}

const HEAD_BYTES: usize = 16;
const PLACE_BYTES: usize = 13;
const BEYOND_BYTES: usize = 8;

impl<'a> Change<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, is_within_bounds: true }
    }

    /// Whether all its records are of a size that can be written.
    pub(crate) fn is_within_bounds(&self) -> bool {
        self.is_within_bounds
    }

    /// Says what a key now holds, and until when. Keys have at most 65,535 octets, values less than 4 GiB: a change with
    /// more is not written, and taken for lost. Both are written where they will lie: after other octets, which are not to be
    /// touched.
    pub fn put(
        &mut self,
        kind: Kind,
        expires_unix_ms: i64,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        self.write(kind, 0, expires_unix_ms, key, value);
    }

    /// Says that a key holds nothing any more.
    pub fn remove(&mut self, kind: Kind, key: impl FnOnce(&mut Vec<u8>)) {
        self.remove_noting(kind, key, |_| {});
    }

    /// Says that a key holds nothing any more, and notes what somebody has to know of it who names it otherwise. A note is
    /// remembered as long as the removal is.
    pub fn remove_noting(
        &mut self,
        kind: Kind,
        key: impl FnOnce(&mut Vec<u8>),
        note: impl FnOnce(&mut Vec<u8>),
    ) {
        self.write(kind, REMOVED, 0, key, note);
    }

    /// Says again what a record says.
    pub(crate) fn copy(&mut self, record: &Record<'_>) {
        record.write(self.out);
    }

    fn write(
        &mut self,
        kind: Kind,
        flags: u8,
        expires_unix_ms: i64,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let head = self.out.len();
        self.out.extend_from_slice(&[kind.0, flags, 0, 0, 0, 0, 0, 0]);
        self.out.extend_from_slice(&expires_unix_ms.to_le_bytes());
        key(self.out);
        let key_bytes = self.out.len() - head - HEAD_BYTES;
        value(self.out);
        let value_bytes = self.out.len() - head - HEAD_BYTES - key_bytes;
        match (u16::try_from(key_bytes), u32::try_from(value_bytes)) {
            (Ok(key_bytes), Ok(value_bytes)) => {
                self.out[head + 2..head + 4].copy_from_slice(&key_bytes.to_le_bytes());
                self.out[head + 4..head + 8].copy_from_slice(&value_bytes.to_le_bytes());
            }
            _ => self.is_within_bounds = false,
        }
    }
}

/// Reads the records of a change.
pub(crate) fn read(mut change: &[u8]) -> Result<Vec<Record<'_>>, Malformed> {
    let mut found = Vec::new();
    while !change.is_empty() {
        let mut reader = Reader::new(change);
        let (kind, flags) = (Kind(reader.u8()?), reader.u8()?);
        let key_bytes = usize::from(reader.u16()?);
        let value_bytes = reader.u32()? as usize;
        let expires_unix_ms = reader.i64()?;
        let place = if flags & VERSIONED == 0 {
            None
        } else {
            let (part, node, stamp) = (reader.u8()?, NodeId(reader.u32()?), Stamp(reader.u64()?));
            let beyond_ms = if flags & OUTLASTED == 0 { 0 } else { reader.u64()? };
            Some(Place { part, version: Version { stamp, node }, beyond_ms })
        };
        if flags & !(REMOVED | VERSIONED | OUTLASTED) != 0 {
            return Err(Malformed);
        }
        let (key, value) = (reader.take(key_bytes)?, reader.take(value_bytes)?);
        let is_removed = flags & REMOVED != 0;
        found.push(Record { kind, key, value, is_removed, expires_unix_ms, place });
        change = reader.rest();
    }
    Ok(found)
}

/// A value that is not what its owner writes: from another version, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record is not readable")]
pub struct Malformed;

/// Reads numbers and texts from a value, in the order in which they were written.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `octets`.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// What is left.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next few octets.
    ///
    /// # Errors
    /// [`Malformed`] if there are not that many; so with all of these.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// An octet.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Two octets, little-endian.
    #[allow(clippy::missing_errors_doc)]
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four octets, little-endian.
    #[allow(clippy::missing_errors_doc)]
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight octets, little-endian.
    #[allow(clippy::missing_errors_doc)]
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Eight octets, little-endian.
    #[allow(clippy::missing_errors_doc)]
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Octets with their count before them, as [`put_octets`] writes them.
    #[allow(clippy::missing_errors_doc)]
    pub fn octets(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.u32()? as usize;
        self.take(count)
    }

    /// A text with its count before it, as [`put_text`] writes it.
    #[allow(clippy::missing_errors_doc)]
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.octets()?).map_err(|_| Malformed)
    }

    /// A text that may be absent, as [`put_optional`] writes it.
    #[allow(clippy::missing_errors_doc)]
    pub fn optional(&mut self) -> Result<Option<&'a str>, Malformed> {
        match self.u8()? {
            0 => Ok(None),
            1 => self.text().map(Some),
            _ => Err(Malformed),
        }
    }

    /// Nothing may be left.
    #[allow(clippy::missing_errors_doc)]
    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Writes octets with their count before them.
pub fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    let count = u32::try_from(octets.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(octets);
}

/// Writes a text with its count before it.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_octets(out, text.as_bytes());
}

/// Writes a text that may be absent.
pub fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => out.push(0),
        Some(text) => {
            out.push(1);
            put_text(out, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        let mut change = Change::new(&mut out);
        change.put(Kind(1), 7, |k| k.extend_from_slice(b"key"), |v| v.extend_from_slice(b"value"));
        change.remove(Kind(2), |k| k.extend_from_slice(b"gone"));
        let plain = [
            Record::present(Kind(1), b"key", b"value", 7),
            Record { is_removed: true, ..Record::present(Kind(2), b"gone", b"", 0) },
        ];
        assert_eq!(read(&out), Ok(plain.to_vec()));
        for length in 1..out.len() {
            let cut = super::read(&out[..length]);
            assert!(cut.is_err() || cut.is_ok_and(|records| records.len() < 2), "{length}");
        }

        let version = Version { stamp: Stamp(77), node: NodeId(9) };
        let mut placed = plain.map(|record| Record { place: Some(Place::new(63, version)), ..record });
        placed[0].place = Some(Place { part: 0, version, beyond_ms: 77_000 });
        let mut out = Vec::new();
        let mut change = Change::new(&mut out);
        placed.iter().for_each(|record| change.copy(record));
        assert_eq!(read(&out), Ok(placed.to_vec()));
        assert_eq!(out.len(), placed.iter().map(Record::bytes).sum());
        out[1] = 0xff;
        assert_eq!(read(&out), Err(Malformed), "another version's record");
    }

    #[test]
    fn fields() {
        let mut out = Vec::new();
        put_text(&mut out, "a text");
        put_optional(&mut out, None);
        put_optional(&mut out, Some("another"));
        out.extend_from_slice(&7u64.to_le_bytes());
        let mut reader = Reader::new(&out);
        assert_eq!(reader.text(), Ok("a text"));
        assert_eq!((reader.optional(), reader.optional()), (Ok(None), Ok(Some("another"))));
        assert_eq!((reader.u64(), reader.finish()), (Ok(7), Ok(())));
        assert_eq!(Reader::new(&[9]).optional(), Err(Malformed));
    }
}
