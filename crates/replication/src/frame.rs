//! Frames: changes in a segment, each with what shows whether it is whole.
//!
//! ```text
//! mark u32 | octets u32 | CRC-32 of the octets, seeded with their count u32 | octets
//! ```
//!
//! After a damaged place the next frame is found by its mark; a chance mark has a wrong checksum.

/// Its first and last octets occur in no UTF-8 text: what a peer had written into a change cannot pass for a frame.
const MARK: [u8; 4] = [0xf5, b'R', b'c', 0xfa];
pub(crate) const HEAD_BYTES: usize = 12;

/// A frame that is being written; one that is dropped unfinished leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    out: &'a mut Vec<u8>,
    at: usize,
}

impl<'a> Frame<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        let at = out.len();
        out.extend_from_slice(&MARK);
        out.extend_from_slice(&[0; 8]);
        Self { out, at }
    }

    /// Where its octets are to be appended.
    pub(crate) fn octets(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Ends the frame; returns how many octets it has with its head. One without octets vanishes. `None` if it has too
    /// many: then it is not written.
    pub(crate) fn end(mut self) -> Option<usize> {
        let octets = &self.out[self.at + HEAD_BYTES..];
        let count = u32::try_from(octets.len()).ok()?;
        if count == 0 {
            return Some(0);
        }
        let sum = checksum(count, octets);
        let head = &mut self.out[self.at..self.at + HEAD_BYTES];
        head[4..8].copy_from_slice(&count.to_le_bytes());
        head[8..].copy_from_slice(&sum.to_le_bytes());
        let bytes = self.out.len() - self.at;
        self.at = self.out.len();
        Some(bytes)
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        self.out.truncate(self.at);
    }
}

/// Octets of the first frame in a buffer of whole frames.
pub(crate) fn first_bytes(buffer: &[u8]) -> u64 {
    let count = buffer.get(4..).and_then(|rest| rest.first_chunk());
    count.map_or(0, |count| HEAD_BYTES as u64 + u64::from(u32::from_le_bytes(*count)))
}

/// The octets of each frame in a buffer of whole frames.
pub(crate) fn each(mut buffer: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (frame, rest) = buffer.split_at_checked(first_bytes(buffer) as usize)?;
        buffer = rest;
        frame.get(HEAD_BYTES..)
    })
}

/// Makes one frame of buffers of whole frames, so that all of it is found or nothing.
pub(crate) fn join(buffers: &[Vec<u8>]) -> Vec<u8> {
    let mut joined = Vec::new();
    let mut frame = Frame::begin(&mut joined);
    for octets in buffers.iter().flat_map(|buffer| each(buffer)) {
        frame.octets().extend_from_slice(octets);
    }
    // It is no larger than the buffers, which are bounded.
    let _ = frame.end();
    joined
}

/// How much of a buffer of whole frames goes into `room` octets without cutting one.
pub(crate) fn whole(buffer: &[u8], room: u64) -> usize {
    if buffer.len() as u64 <= room {
        return buffer.len();
    }
    let mut fitting = 0;
    loop {
        let next = first_bytes(&buffer[fitting..]);
        if next == 0 || fitting as u64 + next > room {
            return fitting;
        }
        fitting += next as usize;
    }
}

/// A buffer of whole frames in pieces of `room` octets at most, or of one frame that is larger.
pub(crate) fn pieces(mut buffer: &[u8], room: u64) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let fitting = match whole(buffer, room) {
            0 => buffer.len().min(first_bytes(buffer) as usize),
            fitting => fitting,
        };
        let (piece, rest) = buffer.split_at(fitting);
        buffer = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

fn checksum(count: u32, octets: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(count);
    hasher.update(octets);
    hasher.finalize()
}

/// The sound frames of a segment, and what lies between them.
#[derive(Debug, Default)]
pub(crate) struct Frames<'a> {
    /// The octets of each sound frame, in order.
    pub(crate) changes: Vec<&'a [u8]>,
    /// Octets that belong to no sound frame, before the last sound one.
    pub(crate) damaged_bytes: usize,
    /// Octets that belong to no sound frame, after the last sound one: what was being written when the process ended.
    pub(crate) torn_bytes: usize,
    /// Octets before the room that was not used.
    pub(crate) used_bytes: usize,
}

impl<'a> Frames<'a> {
    /// Reads a segment after its head. Zeros at the end are room that was not used.
    pub(crate) fn read(segment: &'a [u8]) -> Self {
        let used = segment.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        let mut frames = Self::default();
        let (mut at, mut end_of_last) = (0, 0);
        while at < used {
            // A frame's last octets may be zeros, so it may reach beyond what is used.
            match one(&segment[at..]) {
                Some(octets) => {
                    frames.damaged_bytes += at - end_of_last;
                    frames.changes.push(octets);
                    at += HEAD_BYTES + octets.len();
                    end_of_last = at;
                }
                None => at = next_mark(segment, at + 1).unwrap_or(used),
            }
        }
        frames.torn_bytes = used.saturating_sub(end_of_last);
        frames.used_bytes = used.max(end_of_last);
        frames
    }
}

fn one(octets: &[u8]) -> Option<&[u8]> {
    let (head, rest) = octets.split_first_chunk::<HEAD_BYTES>()?;
    let [m0, m1, m2, m3, c0, c1, c2, c3, s0, s1, s2, s3] = *head;
    let (count, sum) = (u32::from_le_bytes([c0, c1, c2, c3]), u32::from_le_bytes([s0, s1, s2, s3]));
    let octets = rest.get(..count as usize).filter(|_| [m0, m1, m2, m3] == MARK)?;
    (count > 0 && checksum(count, octets) == sum).then_some(octets)
}

fn next_mark(segment: &[u8], from: usize) -> Option<usize> {
    let found = segment.get(from..)?.windows(MARK.len()).position(|window| window == MARK)?;
    Some(from + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(changes: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for change in changes {
            let mut frame = Frame::begin(&mut out);
            frame.octets().extend_from_slice(change);
            frame.end().expect("not too many octets");
        }
        out
    }

    #[test]
    fn frames_are_read_up_to_the_unused_room() {
        let mut written = segment(&[b"one", b"", b"two\0\0", &[0; 9]]);
        written.extend_from_slice(&[0; 100]);
        let frames = Frames::read(&written);
        assert_eq!(frames.changes, [&b"one"[..], b"two\0\0", &[0; 9]]);
        assert_eq!((frames.damaged_bytes, frames.torn_bytes), (0, 0));
    }

    #[test]
    fn a_torn_frame_at_the_end_is_left_out() {
        let whole = segment(&[b"one", b"two"]);
        for length in HEAD_BYTES + 3 + 1..whole.len() {
            let mut torn = whole[..length].to_vec();
            torn.extend_from_slice(&[0; 50]);
            let frames = Frames::read(&torn);
            assert_eq!(
                (frames.changes.as_slice(), frames.damaged_bytes),
                (&[&b"one"[..]][..], 0),
                "{length}"
            );
            assert!(frames.torn_bytes > 0);
        }
    }

    #[test]
    fn a_damaged_octet_costs_its_frame_alone() {
        let whole = segment(&[b"one", b"two and some", b"three"]);
        let second = HEAD_BYTES + 3;
        let third = second + HEAD_BYTES + 12;
        for at in second..third {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            let frames = Frames::read(&damaged);
            assert_eq!(frames.changes, [&b"one"[..], b"three"], "octet {at}");
            assert_eq!((frames.damaged_bytes, frames.torn_bytes), (third - second, 0));
        }
    }

    #[test]
    fn an_unfinished_frame_leaves_nothing() {
        let mut out = segment(&[b"one"]);
        Frame::begin(&mut out).octets().extend_from_slice(b"two");
        assert_eq!(out, segment(&[b"one"]));
    }

    #[test]
    fn a_buffer_is_cut_between_frames() {
        let buffer = segment(&[b"one", b"three", b"x"]);
        let ends = [15, 32, 45];
        for room in 0..50 {
            let fitting = ends.into_iter().filter(|&end| end <= room).max().unwrap_or(0);
            assert_eq!(whole(&buffer, room), fitting as usize, "{room}");
        }
        assert_eq!((first_bytes(&buffer), first_bytes(&[])), (15, 0));
    }

    #[test]
    fn joined_frames_are_one() {
        let joined = join(&[segment(&[b"one", b"two"]), Vec::new(), segment(&[b"three"])]);
        assert_eq!(joined, segment(&[b"onetwothree"]));
        assert!(join(&[Vec::new()]).is_empty());
    }

    #[test]
    fn a_text_has_no_mark() {
        assert!(MARK.iter().all(|&b| b.is_ascii() || matches!(b, 0xf5..)), "never in UTF-8");
        assert!(std::str::from_utf8(&MARK[..1]).is_err() && std::str::from_utf8(&MARK[3..]).is_err());
    }

    #[test]
    fn a_mark_within_a_change_is_no_frame() {
        let mut inner = MARK.to_vec();
        inner.extend_from_slice(&[4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let mut damaged = segment(&[&inner, b"next"]);
        damaged[HEAD_BYTES + inner.len() - 1] ^= 1;
        assert_eq!(Frames::read(&damaged).changes, [b"next"]);
    }
}
