//! Searches in a line or in a part of one.
//!
//! They look at sixteen octets at a time, which the compiler does with vector instructions, and they are inlined: most
//! of what is searched is some tens of octets, where a call of `memchr` (about 60 instructions) costs more than the
//! search. For long texts `memchr` remains the better choice.

/// How many octets are looked at together. With 32 the search for line ends is slower: they are about 45 octets apart.
const BLOCK: usize = 16;

/// One in every octet of a word.
const ONES: u64 = u64::MAX / 255;

/// Where an octet is first.
#[inline(always)] // the octet is a constant of each caller
pub(crate) fn find(octet: u8, octets: &[u8]) -> Option<usize> {
    let in_block = |block: &[u8; BLOCK]| {
        if !block.iter().fold(false, |found, &b| found | (b == octet)) {
            return None;
        }
        let [first, second] = block.as_chunks().0 else { return None };
        let in_word = |word: &[u8; 8]| find_in_word(octet, u64::from_le_bytes(*word));
        in_word(first).or_else(|| Some(in_word(second)? + 8))
    };
    for (block, at) in octets.as_chunks().0.iter().zip((0..).step_by(BLOCK)) {
        if let Some(length) = in_block(block) {
            return Some(at + length);
        }
    }
    match octets.last_chunk() {
        // The last block may overlap the one before it.
        Some(last) => in_block(last).map(|length| octets.len() - BLOCK + length),
        None => octets.iter().position(|&b| b == octet),
    }
}

/// Where an octet is first in a word, of which the lowest octet is the first.
#[inline(always)]
pub(crate) fn find_in_word(octet: u8, word: u64) -> Option<usize> {
    let zero_if_found = word ^ (ONES * octet as u64);
    // The high bit of the first octet that is zero, and perhaps of some after it.
    let found = zero_if_found.wrapping_sub(ONES) & !zero_if_found & (ONES << 7);
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

/// Whether any octet passes a test. To be made vector instructions the test must not branch: `|`, not `||`.
#[inline(always)] // so is the test
pub(crate) fn any(octets: &[u8], test: impl Fn(u8) -> bool) -> bool {
    let in_block = |block: &[u8; BLOCK]| block.iter().fold(false, |any, &b| any | test(b));
    match octets.last_chunk() {
        // The last block may overlap the one before it.
        Some(last) => octets.as_chunks().0.iter().any(in_block) || in_block(last),
        None => octets.iter().any(|&b| test(b)),
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn an_octet_is_found_at_every_place_of_every_length() {
        for length in 0..70 {
            let mut octets = vec![b'x'; length];
            assert_eq!(find(b'\n', &octets), None);
            assert!(!any(&octets, |b| b == b'\n'));
            for place in (0..length).rev() {
                // Those after it, from the rounds before, do not count.
                octets[place] = b'\n';
                assert_eq!(find(b'\n', &octets), Some(place), "{length}");
                assert!(any(&octets[..=place], |b| b == b'\n'), "{length}");
            }
        }
    }

    #[test]
    fn both_agree_with_a_search_octet_by_octet() {
        let mut rng = StdRng::seed_from_u64(16);
        for _ in 0..20_000 {
            // Few different octets, neighbours by one bit or by one among them, so that there is much to confuse.
            let octets: Vec<u8> = (0..rng.random_range(0..100))
                .map(|_| [0, 1, b'\t', b'\n', 0x0b, 0x8a, 0xff, rng.random()][rng.random_range(0..8)])
                .collect();
            for octet in [0, b'\n', 0x8a, 0xff] {
                assert_eq!(find(octet, &octets), octets.iter().position(|&b| b == octet), "{octets:?}");
            }
            let test = |b: u8| (b <= 1) | (b == 0x8a);
            assert_eq!(any(&octets, test), octets.iter().any(|&b| test(b)), "{octets:?}");
        }
    }
}
