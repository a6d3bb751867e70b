//! What a journal held: the last record of each key.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashSet;

use crate::files::Files;
use crate::frame::Frames;
use crate::segments::{self, HEAD_BYTES};
use crate::{Error, Record, frame, record};

/// What was found when a journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that held something.
    pub segments: usize,
    /// Records given to their owners.
    pub records: usize,
    /// Records that had ended meanwhile.
    pub expired: usize,
    /// Octets of what was being written when the process ended; never acknowledged.
    pub torn_bytes: usize,
    /// Octets that were damaged; their segments are kept under another name. If power failed, they may as well be of what
    /// was being written, and reached the disk out of order.
    pub damaged_bytes: usize,
    /// The segments with damage, rising.
    pub damaged: Vec<u64>,
}

/// The same for who goes on writing.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) recovery: Recovery,
    /// The segments that are there: their number, rising, and the octets used of them.
    pub(crate) segments: Vec<(u64, u64)>,
    /// Octets that the records given to their owners take.
    pub(crate) state_bytes: u64,
}

/// Gives the last record of each key to `restore`, in no particular order. Segments are read from the newest to the
/// oldest, so that one at a time is in memory.
pub(crate) fn recover(
    files: &dyn Files,
    now_unix_ms: i64,
    restore: &mut dyn FnMut(Record<'_>),
) -> Result<Found, Error> {
    let numbers = files.list().map_err(|source| Error::Io { path: "journal".into(), source })?;
    let mut found = Found::default();
    let mut keys = Keys::default();
    for &number in numbers.iter().rev() {
        let segment = files
            .read(number)
            .map_err(|source| Error::Io { path: format!("segment {number:016x}").into(), source })?;
        let is_head_sound = segments::check_head(&segment, number)?;
        let frames = Frames::read(segment.get(HEAD_BYTES..).unwrap_or_default());
        if frames.used_bytes == 0 {
            // It was made and never written to. If it stays, it goes at the next compaction.
            if files.remove(number).is_err() {
                found.segments.push((number, 0));
            }
            continue;
        }
        // Only the last segment that was written to can have been so when the process ended.
        let is_newest = found.recovery.segments == 0;
        found.recovery.segments += 1;
        found.segments.push((number, (HEAD_BYTES + frames.used_bytes) as u64));
        let damaged_bytes = found.read(&frames, &mut keys, now_unix_ms, restore);
        let recovery = &mut found.recovery;
        let head_bytes = if is_head_sound { 0 } else { HEAD_BYTES };
        let torn_bytes = if is_newest { 0 } else { frames.torn_bytes };
        recovery.torn_bytes += frames.torn_bytes - torn_bytes;
        if head_bytes + torn_bytes + damaged_bytes > 0 {
            recovery.damaged_bytes += head_bytes + torn_bytes + damaged_bytes;
            recovery.damaged.push(number);
        }
    }
    found.recovery.damaged.reverse();
    found.segments.reverse();
    Ok(found)
}

impl Found {
    /// Reads the changes of a segment, from the last to the first. Returns how many octets are damaged.
    fn read(
        &mut self,
        frames: &Frames<'_>,
        keys: &mut Keys,
        now_unix_ms: i64,
        restore: &mut dyn FnMut(Record<'_>),
    ) -> usize {
        let mut damaged_bytes = frames.damaged_bytes;
        for change in frames.changes.iter().rev() {
            let Ok(records) = record::read(change) else {
                damaged_bytes += frame::HEAD_BYTES + change.len();
                continue;
            };
            for record in records.iter().rev().copied() {
                if !keys.is_new(&record) {
                    continue;
                }
                if record.is_removed {
                    // What a node that is alone removed is not to be remembered.
                    if record.expires_unix_ms > now_unix_ms {
                        restore(record);
                    }
                } else if record.expires_unix_ms <= now_unix_ms {
                    self.recovery.expired += 1;
                    let ended = record.ended();
                    if ended.expires_unix_ms > now_unix_ms {
                        restore(ended);
                    }
                } else {
                    self.recovery.records += 1;
                    self.state_bytes += record.bytes() as u64;
                    restore(record);
                }
            }
        }
        damaged_bytes
    }
}

/// The keys that were seen. A hash of 128 bits stands for a key: two of a billion keys are the same with a probability of
/// 10^-21.
#[derive(Default)]
struct Keys {
    hashers: (RandomState, RandomState),
    seen: HashSet<(u64, u64)>,
}

impl Keys {
    fn is_new(&mut self, record: &Record<'_>) -> bool {
        let key = (record.kind, record.key);
        self.seen.insert((self.hashers.0.hash_one(key), self.hashers.1.hash_one(key)))
    }
}
