//! Random octets, and segments with mutations, are read without a panic.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

use crate::frame::{Frame, Frames};
use crate::record::Change;
use crate::{Kind, Reader, record};

/// Reads all there is, and says how many records that is.
fn read(segment: &[u8]) -> usize {
    let frames = Frames::read(segment);
    let framed: usize = frames.changes.iter().map(|change| crate::frame::HEAD_BYTES + change.len()).sum();
    assert_eq!(
        framed + frames.damaged_bytes + frames.torn_bytes,
        frames.used_bytes,
        "each octet is something"
    );
    assert!(frames.used_bytes <= segment.len());
    let mut count = 0;
    for change in frames.changes {
        for written in record::read(change).into_iter().flatten() {
            count += 1;
            let mut reader = Reader::new(written.value);
            while reader.optional().is_ok() && reader.octets().is_ok() && reader.u16().is_ok() {}
            let _ = reader.finish();
        }
    }
    count
}

fn segment(rng: &mut StdRng) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..rng.random_range(0..20) {
        let mut frame = Frame::begin(&mut out);
        let mut change = Change::new(frame.octets());
        for _ in 0..rng.random_range(0..4) {
            let key = vec![rng.random(); rng.random_range(0..20)];
            let value = vec![rng.random(); rng.random_range(0..60)];
            change.put(Kind(rng.random()), rng.random(), |k| k.extend(&key), |v| v.extend(&value));
        }
        frame.end().expect("a small frame");
    }
    out.resize(out.len() + rng.random_range(0..50), 0);
    out
}

#[test]
fn random_octets() {
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..2_000 {
        let mut octets = vec![0; rng.random_range(0..300)];
        rng.fill(&mut octets[..]);
        assert_eq!(read(&octets), 0);
        let _ = record::read(&octets);
    }
}

#[test]
fn segments_with_mutations() {
    let mut rng = StdRng::seed_from_u64(2);
    for _ in 0..3_000 {
        let mut octets = segment(&mut rng);
        for _ in 0..rng.random_range(0..6) {
            if octets.is_empty() {
                break;
            }
            let at = rng.random_range(0..octets.len());
            let end = (at + rng.random_range(0..40)).min(octets.len());
            match rng.random_range(0..5) {
                0 => octets[at] = rng.random(),
                1 => octets[at] ^= 1 << rng.random_range(0..8),
                2 => octets.truncate(at),
                3 => drop(octets.drain(at..end)),
                _ => drop(octets.splice(at..at, octets[at..end].to_vec())),
            }
        }
        read(&octets);
    }
}
