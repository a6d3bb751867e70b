//! What nodes say to each other: frames of an octet count, a type and fields, all numbers little-endian.
//!
//! A connection carries changes one way: whoever opened it sends, whoever accepted it takes and acknowledges. So a pair has
//! two, and each can break alone.

use crate::part::{BUCKETS, KeyHash, Listed};
use crate::{Malformed, NodeId, Reader, Stamp, Version, put_text};

/// The versions of the protocol that we speak, from the oldest.
pub(crate) const VERSIONS: (u16, u16) = (1, 1);
/// A greater frame ends the connection.
pub(crate) const FRAME_BYTES_MAX: usize = 64 << 20;
/// Before the other side has said who it is.
pub(crate) const GREETING_BYTES_MAX: usize = 4 << 10;
/// The parts of every owner's state, the same on all nodes.
pub const PARTS: usize = 64;

const NAME: [u8; 8] = *b"ROLLCALL";
const LISTED_BYTES: usize = 28;
const HASH_BYTES: usize = 16;

/// A frame without its count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message<'a> {
    /// The sender's first: who it is, in which life, and what it can speak.
    Hello { versions: (u16, u16), node: &'a str, incarnation: u64, stamp: Stamp },
    /// The taker's answer: the version to speak, who it is, and the group of that life after which to go on; `None` if
    /// it has to compare all.
    Welcome { version: u16, node: &'a str, resume: Option<u64>, stamp: Stamp },
    /// Why there is nothing to talk about.
    Refused { reason: &'a str },
    /// Changes that the sender made. Their times are on its scale, which shows `sent_ms`.
    Group { number: u64, sent_ms: u64, stamp: Stamp, changes: &'a [u8] },
    /// The taker has all groups of this connection up to this one, and all before it if it has compared all.
    Ack { group: u64, is_synced: bool, stamp: Stamp },
    /// The sender is there.
    Ping { stamp: Stamp },
    /// The taker wants to compare all.
    WantDigests,
    /// What the sender has, a digest a bucket, of every part.
    Digests { digests: Vec<u64> },
    /// The taker wants to know what there is in these buckets of a part, a bit each.
    WantKeys { part: u8, buckets: u64 },
    /// The answer.
    Keys { part: u8, listed: Vec<Listed> },
    /// The taker wants these of a part.
    Fetch { part: u8, hashes: Vec<KeyHash> },
    /// They, in one or more frames.
    Repair { part: u8, is_last: bool, sent_ms: u64, changes: &'a [u8] },
}

impl Message<'_> {
    /// Appends it as a frame.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        match self {
            Self::Hello { versions, node, incarnation, stamp } => {
                out.push(1);
                out.extend_from_slice(&NAME);
                out.extend_from_slice(&versions.0.to_le_bytes());
                out.extend_from_slice(&versions.1.to_le_bytes());
                put_text(out, node);
                put_u64(out, *incarnation);
                put_u64(out, stamp.0);
            }
            Self::Welcome { version, node, resume, stamp } => {
                out.push(2);
                out.extend_from_slice(&version.to_le_bytes());
                put_text(out, node);
                out.push(u8::from(resume.is_some()));
                put_u64(out, resume.unwrap_or(0));
                put_u64(out, stamp.0);
            }
            Self::Refused { reason } => {
                out.push(3);
                put_text(out, reason);
            }
            Self::Group { number, sent_ms, stamp, changes } => {
                out.push(4);
                put_u64(out, *number);
                put_u64(out, *sent_ms);
                put_u64(out, stamp.0);
                out.extend_from_slice(changes);
            }
            Self::Ack { group, is_synced, stamp } => {
                out.extend_from_slice(&[5, u8::from(*is_synced)]);
                put_u64(out, *group);
                put_u64(out, stamp.0);
            }
            Self::Ping { stamp } => {
                out.push(6);
                put_u64(out, stamp.0);
            }
            Self::WantDigests => out.push(12),
            Self::Digests { digests } => {
                out.push(7);
                let at = out.len();
                out.resize(at + 8 * digests.len(), 0);
                let (places, _) = out[at..].as_chunks_mut();
                places.iter_mut().zip(digests).for_each(|(place, digest)| *place = digest.to_le_bytes());
            }
            Self::WantKeys { part, buckets } => {
                out.extend_from_slice(&[8, *part]);
                put_u64(out, *buckets);
            }
            Self::Keys { part, listed } => {
                out.extend_from_slice(&[9, *part]);
                for Listed { hash, version } in listed {
                    out.extend_from_slice(&hash.0.to_le_bytes());
                    put_u64(out, version.stamp.0);
                    out.extend_from_slice(&version.node.0.to_le_bytes());
                }
            }
            Self::Fetch { part, hashes } => {
                out.extend_from_slice(&[10, *part]);
                hashes.iter().for_each(|hash| out.extend_from_slice(&hash.0.to_le_bytes()));
            }
            Self::Repair { part, is_last, sent_ms, changes } => {
                out.extend_from_slice(&[11, *part, u8::from(*is_last)]);
                put_u64(out, *sent_ms);
                out.extend_from_slice(changes);
            }
        }
        let count = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
        out[at..at + 4].copy_from_slice(&count.to_le_bytes());
    }
}

impl<'a> Message<'a> {
    /// Reads the octets of a frame after its count.
    pub(crate) fn read(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(frame);
        let message = match reader.u8()? {
            1 => {
                if reader.take(NAME.len())? != NAME {
                    return Err(Malformed);
                }
                let versions = (reader.u16()?, reader.u16()?);
                let (node, incarnation) = (reader.text()?, reader.u64()?);
                // A later version may say more.
                return Ok(Self::Hello { versions, node, incarnation, stamp: Stamp(reader.u64()?) });
            }
            2 => {
                let (version, node) = (reader.u16()?, reader.text()?);
                let (is_resumed, resume) = (reader.u8()? != 0, reader.u64()?);
                let resume = is_resumed.then_some(resume);
                Self::Welcome { version, node, resume, stamp: Stamp(reader.u64()?) }
            }
            3 => Self::Refused { reason: reader.text()? },
            4 => {
                let (number, sent_ms, stamp) = (reader.u64()?, reader.u64()?, Stamp(reader.u64()?));
                return Ok(Self::Group { number, sent_ms, stamp, changes: reader.rest() });
            }
            5 => {
                let is_synced = reader.u8()? != 0;
                Self::Ack { group: reader.u64()?, is_synced, stamp: Stamp(reader.u64()?) }
            }
            6 => Self::Ping { stamp: Stamp(reader.u64()?) },
            7 => {
                let (digests, _) = reader.take(8 * PARTS * BUCKETS)?.as_chunks();
                Self::Digests { digests: digests.iter().map(|octets| u64::from_le_bytes(*octets)).collect() }
            }
            8 => Self::WantKeys { part: part(&mut reader)?, buckets: reader.u64()? },
            9 => {
                let part = part(&mut reader)?;
                let listed = each(&mut reader, LISTED_BYTES, |reader| {
                    let hash = hash(reader)?;
                    let (stamp, node) = (Stamp(reader.u64()?), NodeId(reader.u32()?));
                    Ok(Listed { hash, version: Version { stamp, node } })
                })?;
                Self::Keys { part, listed }
            }
            10 => Self::Fetch { part: part(&mut reader)?, hashes: each(&mut reader, HASH_BYTES, hash)? },
            11 => {
                let (part, is_last, sent_ms) = (part(&mut reader)?, reader.u8()? != 0, reader.u64()?);
                return Ok(Self::Repair { part, is_last, sent_ms, changes: reader.rest() });
            }
            12 => Self::WantDigests,
            _ => return Err(Malformed),
        };
        reader.finish().map(|()| message)
    }
}

/// The octets of a frame after its count, and what comes after it.
pub(crate) type Cut<'a> = (&'a [u8], &'a [u8]);

/// Takes the next whole frame off a buffer of what was received; `None` if it is not all there.
///
/// # Errors
/// If it is longer than `bytes_max`.
pub(crate) fn next_frame(received: &[u8], bytes_max: usize) -> Result<Option<Cut<'_>>, Malformed> {
    let Some((count, rest)) = received.split_first_chunk() else { return Ok(None) };
    let count = u32::from_le_bytes(*count) as usize;
    if count > bytes_max {
        return Err(Malformed);
    }
    Ok(rest.split_at_checked(count))
}

fn part(reader: &mut Reader<'_>) -> Result<u8, Malformed> {
    reader.u8().and_then(|part| if usize::from(part) < PARTS { Ok(part) } else { Err(Malformed) })
}

fn hash(reader: &mut Reader<'_>) -> Result<KeyHash, Malformed> {
    let (low, high) = (reader.u64()?, reader.u64()?);
    Ok(KeyHash(u128::from(low) | u128::from(high) << 64))
}

fn each<'a, T>(
    reader: &mut Reader<'a>,
    bytes: usize,
    read: impl Fn(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = reader.rest().len() / bytes;
    (0..count).map(|_| read(reader)).collect()
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Vec<Message<'static>> {
        let stamp = Stamp(7);
        let listed =
            |n: u128| Listed { hash: KeyHash(n << 100 | n), version: Version { stamp, node: NodeId(3) } };
        vec![
            Message::Hello { versions: VERSIONS, node: "a", incarnation: 5, stamp },
            Message::Welcome { version: 1, node: "b", resume: Some(9), stamp },
            Message::Welcome { version: 1, node: "b", resume: None, stamp },
            Message::Refused { reason: "no" },
            Message::Group { number: 4, sent_ms: 3, stamp, changes: b"changes" },
            Message::Ack { group: 8, is_synced: true, stamp },
            Message::Ping { stamp },
            Message::WantDigests,
            Message::Digests { digests: (0..4096).collect() },
            Message::WantKeys { part: 63, buckets: u64::MAX },
            Message::Keys { part: 1, listed: vec![listed(1), listed(2)] },
            Message::Fetch { part: 2, hashes: vec![KeyHash(1), KeyHash(u128::MAX)] },
            Message::Repair { part: 3, is_last: true, sent_ms: 2, changes: b"" },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let mut stream = Vec::new();
        messages().iter().for_each(|message| message.write(&mut stream));
        let mut rest = stream.as_slice();
        for message in messages() {
            let (frame, after) = next_frame(rest, FRAME_BYTES_MAX).expect("short").expect("whole");
            assert_eq!(Message::read(frame), Ok(message));
            rest = after;
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused() {
        for message in messages() {
            let mut frame = Vec::new();
            message.write(&mut frame);
            for length in 0..frame.len() {
                assert_eq!(next_frame(&frame[..length], FRAME_BYTES_MAX), Ok(None));
            }
            // Lists and changes end where the frame does; all else is as long as it is.
            for length in 0..frame.len() - 4 {
                assert_ne!(Message::read(&frame[4..4 + length]), Ok(message.clone()), "{length}");
            }
        }
        assert_eq!(next_frame(&[0xff; 8], FRAME_BYTES_MAX), Err(Malformed));
        assert_eq!(Message::read(&[8, 64, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed), "a part that is none");
    }

    // Seeded mutations: no frame panics.
    #[test]
    fn mutated_frames_are_read_or_refused() {
        use rand::{RngExt, SeedableRng};
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        for _ in 0..2000 {
            for message in messages().into_iter().filter(|m| !matches!(m, Message::Digests { .. })) {
                let mut frame = Vec::new();
                message.write(&mut frame);
                for _ in 0..rng.random_range(1..4) {
                    let at = rng.random_range(4..frame.len());
                    frame[at] = rng.random();
                }
                let _ = Message::read(&frame[4..]);
            }
        }
    }
}
