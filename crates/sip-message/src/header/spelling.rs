//! Which header field name a line begins with.

use super::HeaderName;
use crate::{chars, scan};

/// The first octets of a line, eight in a word, so that a name is found and compared without a look at each octet.
type Words = [u64; 3];

/// The longest spelling fits.
const WORDS_BYTES: usize = size_of::<Words>();

#[derive(Clone, Copy)]
struct Spelling {
    name: HeaderName,
    length: u8,
    /// In lower case.
    words: Words,
    /// The bits that must be the same: all of its octets, but for the case of letters.
    mask: Words,
}

const COUNT: usize = HeaderName::SPELLINGS.len();

static SPELLINGS: [Spelling; COUNT] = SPELLINGS_AND_SLOTS.0;
/// By [`slot`], which spelling it can only be.
static SLOTS: [u8; 256] = SPELLINGS_AND_SLOTS.1;
const SPELLINGS_AND_SLOTS: ([Spelling; COUNT], [u8; 256]) = spellings();

/// Gives every spelling a slot of its own, which the compiler checks.
#[allow(clippy::indexing_slicing)] // evaluated by the compiler, which checks it
const fn spellings() -> ([Spelling; COUNT], [u8; 256]) {
    let mut spellings = [Spelling { name: HeaderName::Other, length: 0, words: [0; 3], mask: [0; 3] }; COUNT];
    let mut slots = [0; 256];
    let mut taken = [false; 256];
    let mut i = 0;
    while i < COUNT {
        let (name, text) = HeaderName::SPELLINGS[i];
        let (mut words, mut mask) = ([0; 3], [0; 3]);
        let mut at = 0;
        while at < text.len() {
            let same = if text[at].is_ascii_alphabetic() { !0x20_u8 } else { !0 };
            words[at / 8] |= (text[at].to_ascii_lowercase() as u64) << (at % 8 * 8);
            mask[at / 8] |= (same as u64) << (at % 8 * 8);
            at += 1;
        }
        let slot = slot(text[0], text[text.len() - 1], text.len());
        assert!(!taken[slot], "two names in one slot: choose another multiplier");
        taken[slot] = true;
        slots[slot] = i as u8;
        spellings[i] = Spelling { name, length: text.len() as u8, words, mask };
        i += 1;
    }
    (spellings, slots)
}

/// The first octet, the last one and the length tell all spellings apart; the multiplier is one of many that give them
/// different slots.
const fn slot(first: u8, last: u8, length: usize) -> usize {
    let key = (first | 0x20) as u32 | ((last | 0x20) as u32) << 8 | (length as u32) << 16;
    (key.wrapping_mul(MULTIPLIER) >> 24) as usize
}
const MULTIPLIER: u32 = 0x7a36_2777;

/// The name at the beginning of a header field line, how long it is as written, and where the colon is.
///
/// header-name HCOLON, with HCOLON = *( SP / HTAB ) ":" SWS (RFC 3261 §25.1).
#[inline(always)] // once for each header field
pub(crate) fn read_name(octets: &[u8], start: usize, end: usize) -> Option<(HeaderName, usize, usize)> {
    let rest = octets.get(start..)?;
    let words = words(rest);
    let colon = match find_colon(words) {
        Some(colon) => colon,
        None => memchr::memchr(b':', octets.get(start..end)?)?,
    };
    if start + colon >= end {
        return None;
    }
    let written = chars::trim_blanks_end(rest.get(..colon)?);
    let name = match written {
        [] => return None,
        [first, ..] if written.len() <= WORDS_BYTES => {
            spelled(words, *first, *written.last()?, written.len())
        }
        _ => HeaderName::Other,
    };
    // The known ones are tokens.
    (name != HeaderName::Other || chars::is_token(written)).then_some((name, written.len(), colon))
}

#[inline]
fn words(line: &[u8]) -> Words {
    match line.first_chunk::<WORDS_BYTES>().map(|octets| octets.as_chunks().0) {
        Some([first, second, third]) => {
            [u64::from_le_bytes(*first), u64::from_le_bytes(*second), u64::from_le_bytes(*third)]
        }
        _ => [word_at_end(line, 0), word_at_end(line, 8), word_at_end(line, 16)],
    }
}

/// A word where fewer octets are left in the whole message, filled up with zeros.
#[cold]
fn word_at_end(line: &[u8], at: usize) -> u64 {
    line.iter().skip(at).take(8).rev().fold(0, |word, &octet| word << 8 | u64::from(octet))
}

#[inline]
fn find_colon([first, second, third]: Words) -> Option<usize> {
    let in_word = |word| scan::find_in_word(b':', word);
    in_word(first).or_else(|| Some(in_word(second)? + 8)).or_else(|| Some(in_word(third)? + 16))
}

/// The name that the first octets of a line spell.
#[inline]
fn spelled([first, second, third]: Words, first_octet: u8, last_octet: u8, length: usize) -> HeaderName {
    let slot = slot(first_octet, last_octet, length);
    let Some(candidate) = SLOTS.get(slot).and_then(|&i| SPELLINGS.get(usize::from(i))) else {
        return HeaderName::Other;
    };
    let [first_same, second_same, third_same] = candidate.words;
    let [first_mask, second_mask, third_mask] = candidate.mask;
    let mut differing = (first ^ first_same) & first_mask;
    if length > 8 {
        differing |= (second ^ second_same) & second_mask | (third ^ third_same) & third_mask;
    }
    if differing == 0 && usize::from(candidate.length) == length { candidate.name } else { HeaderName::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<(HeaderName, usize, usize)> {
        read_name(line.as_bytes(), 0, line.len())
    }

    #[test]
    fn every_name_is_found_in_any_case() {
        for (name, text) in HeaderName::ALL {
            let length = text.len();
            assert_eq!(read(&format!("{text}: and a value")), Some((*name, length, length)));
            assert_eq!(read(&format!("{}:", text.to_uppercase())), Some((*name, length, length)));
            assert_eq!(read(&format!("{} \t:", text.to_lowercase())), Some((*name, length, length + 2)));
        }
    }

    #[test]
    fn other_names_are_tokens() {
        for other in ["X-Foo", "Vi", "Viaa", "Call_ID", "Call%ID", "Proxy-Authorization-But-Longer", "q", "U"]
        {
            let length = other.len();
            let known = if other == "U" { HeaderName::AllowEvents } else { HeaderName::Other };
            assert_eq!(read(&format!("{other}: a")), Some((known, length, length)));
        }
        for none in
            ["", ":", " :", "Via", "Vi a:", "Via\0:", "Call\rID:", "[:", "Vi\u{e4}:", "\0\0\0\0\0\0\0\0Via:"]
        {
            assert_eq!(read(none), None, "{none:?}");
        }
    }

    // RFC 3261 §7.3.3.
    #[test]
    fn compact_forms() {
        for (letter, name) in [
            ("v", "Via"),
            ("F", "From"),
            ("i", "Call-ID"),
            ("m", "Contact"),
            ("o", "Event"),
            ("u", "Allow-Events"),
        ] {
            assert_eq!(read(&format!("{letter}:")).map(|(name, ..)| name.as_str()), Some(name));
        }
    }
}
