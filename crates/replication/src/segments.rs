//! The segments of a journal: the one that is written, those that wait to be, and those that were.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::files::{Files, SegmentFile};
use crate::{Error, frame};

/// `ROLLCALL JOURNAL`, format version u16, two zeros, number u64, CRC-32 of these u32.
pub(crate) const HEAD_BYTES: usize = 32;
const NAME: [u8; 16] = *b"ROLLCALL JOURNAL";
const VERSION: u16 = 1;
/// Less is no segment.
const SEGMENT_BYTES_MIN: u64 = 4 << 10;

pub(crate) struct Segments {
    files: Arc<dyn Files>,
    /// Octets of a segment, but for a change that needs more.
    bytes: u64,
    /// Segments that were written and hold state: their number, rising, and the octets used of them.
    older: Vec<(u64, u64)>,
    /// Those among them that are damaged.
    damaged: Vec<u64>,
    /// Segments whose state was written anew, rising, and whether they are damaged.
    obsolete: VecDeque<(u64, bool)>,
    current: Option<Segment>,
    /// Made before they are needed, so that the disk is known to have the room.
    next: VecDeque<Segment>,
    next_number: u64,
}

struct Segment {
    number: u64,
    file: Box<dyn SegmentFile>,
    bytes: u64,
    used: u64,
}

impl Segment {
    fn left(&self) -> u64 {
        self.bytes - self.used
    }
}

impl Segments {
    /// After those that were found: their number, rising, and the octets used of them.
    pub(crate) fn new(files: Arc<dyn Files>, bytes: u64, found: Vec<(u64, u64)>, damaged: Vec<u64>) -> Self {
        Self {
            files,
            bytes: bytes.max(SEGMENT_BYTES_MIN),
            next_number: found.last().map_or(1, |(last, _)| last.saturating_add(1)),
            older: found,
            damaged,
            obsolete: VecDeque::new(),
            current: None,
            next: VecDeque::new(),
        }
    }

    /// Octets of a segment.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.bytes
    }

    /// Octets in use, but for those that are about to be deleted.
    pub(crate) fn used_bytes(&self) -> u64 {
        let older: u64 = self.older.iter().map(|(_, used)| used).sum();
        older + self.current.as_ref().map_or(0, |current| current.used)
    }

    /// Octets that can be written without asking the disk for more.
    pub(crate) fn room(&self) -> u64 {
        self.current.iter().chain(&self.next).map(Segment::left).sum()
    }

    /// Makes segments until there is that much room.
    pub(crate) fn reserve(&mut self, room: u64) -> io::Result<()> {
        while self.room() < room {
            let made = self.make(self.bytes)?;
            self.next.push_back(made);
        }
        Ok(())
    }

    pub(crate) fn has_damaged(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// Writes buffers of whole frames, and returns how many octets they were when these are on the disk.
    pub(crate) fn write<'a>(&mut self, buffers: impl Iterator<Item = &'a [u8]>) -> io::Result<u64> {
        let mut written = 0;
        for mut rest in buffers {
            while !rest.is_empty() {
                let left = self.current.as_ref().map_or(0, Segment::left);
                let fitting = frame::whole(rest, left);
                if fitting == 0 {
                    self.rotate(frame::first_bytes(rest))?;
                    continue;
                }
                let current = self.current.as_mut().ok_or(io::ErrorKind::NotFound)?;
                current.file.write_at(&rest[..fitting], current.used)?;
                current.used += fitting as u64;
                written += fitting as u64;
                rest = &rest[fitting..];
            }
        }
        if written > 0
            && let Some(current) = &mut self.current
        {
            current.file.sync()?;
        }
        Ok(written)
    }

    /// Writes no more where writing failed: what a failed sync leaves on the disk is unknown.
    pub(crate) fn abandon(&mut self) {
        self.older.extend(self.current.take().map(|current| (current.number, current.used)));
    }

    /// Goes on in the next segment. Returns its number.
    pub(crate) fn begin(&mut self) -> io::Result<u64> {
        self.rotate(0)
    }

    /// Goes on in the next segment that has room for `octets`, when all before is on the disk: so only the last segment
    /// can have a torn end.
    fn rotate(&mut self, octets: u64) -> io::Result<u64> {
        let synced = self.current.as_mut().map_or(Ok(()), |current| current.file.sync());
        self.abandon();
        synced?;
        while let Some(next) = self.next.pop_front() {
            if next.left() >= octets {
                return Ok(self.current.insert(next).number);
            }
            // Segments are read in the order of their numbers: one that was left out cannot be used later.
            drop(next.file);
            if self.files.remove(next.number).is_err() {
                self.older.push((next.number, 0));
            }
        }
        let made = self.make(self.bytes.max(octets + HEAD_BYTES as u64))?;
        Ok(self.current.insert(made).number)
    }

    fn make(&mut self, bytes: u64) -> io::Result<Segment> {
        let number = self.next_number;
        // A number is not tried twice: a file may be there that could not be removed.
        self.next_number = number.saturating_add(1);
        let mut file = self.files.create(number, bytes)?;
        if let Err(error) = file.write_at(&head(number), 0).and_then(|()| file.sync()) {
            // If it stays, it holds nothing, and goes at the next start.
            let _ = self.files.remove(number);
            return Err(error);
        }
        Ok(Segment { number, file, bytes, used: HEAD_BYTES as u64 })
    }

    /// All state is on the disk in the segments from `base` on: those before can go.
    pub(crate) fn retire(&mut self, base: u64) {
        let (obsolete, kept) =
            std::mem::take(&mut self.older).into_iter().partition(|(number, _)| *number < base);
        let obsolete: Vec<(u64, u64)> = obsolete;
        self.obsolete
            .extend(obsolete.into_iter().map(|(number, _)| (number, self.damaged.contains(&number))));
        self.older = kept;
        self.damaged.clear();
    }

    /// Deletes the oldest segment that can go, and returns whether there are more. A segment goes only when the one before
    /// it has: it may say of a key that it was removed, which the one before it does not know.
    pub(crate) fn sweep(&mut self) -> io::Result<bool> {
        if let Some(&(number, is_damaged)) = self.obsolete.front() {
            if is_damaged {
                self.files.set_aside(number)?
            } else {
                self.files.remove(number)?
            }
            self.obsolete.pop_front();
        }
        Ok(!self.obsolete.is_empty())
    }
}

fn head(number: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..16].copy_from_slice(&NAME);
    head[16..18].copy_from_slice(&VERSION.to_le_bytes());
    head[20..28].copy_from_slice(&number.to_le_bytes());
    let sum = crc32fast::hash(&head[..28]);
    head[28..].copy_from_slice(&sum.to_le_bytes());
    head
}

/// Whether a segment begins as it should; a damaged head does not keep its frames from being read.
pub(crate) fn check_head(segment: &[u8], number: u64) -> Result<bool, Error> {
    let Some(found) = segment.first_chunk::<HEAD_BYTES>() else { return Ok(false) };
    let is_sound = found[..16] == NAME && crc32fast::hash(&found[..28]).to_le_bytes() == found[28..];
    let version = u16::from_le_bytes([found[16], found[17]]);
    if is_sound && version > VERSION {
        return Err(Error::Version { segment: number, found: version, known: VERSION });
    }
    Ok(is_sound && found[20..28] == number.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let sound = head(7);
        assert!(check_head(&sound, 7).expect("our version"));
        assert!(!check_head(&sound, 8).expect("our version"), "a segment under another's name");
        assert!(!check_head(&sound[..31], 7).expect("nothing"));
        let mut newer = sound;
        newer[16] = 2;
        assert!(!check_head(&newer, 7).expect("a damaged head has no version"));
        let sum = crc32fast::hash(&newer[..28]);
        newer[28..].copy_from_slice(&sum.to_le_bytes());
        assert!(matches!(check_head(&newer, 7), Err(Error::Version { segment: 7, found: 2, known: 1 })));
    }
}
