//! Character data of the dialect (§6.2): five entities, decimal numbers, lines.

use std::borrow::Cow;
use std::io::Write as _;

use memchr::memchr;

/// White space as the parser of repro knows it.
pub(crate) const fn is_white_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

/// Without the white space before it, which the parser of repro does not see either.
pub(crate) fn trim_start(octets: &[u8]) -> &[u8] {
    let at = octets.iter().position(|&octet| !is_white_space(octet)).unwrap_or(octets.len());
    octets.get(at..).unwrap_or_default()
}

const ENTITIES: [(u8, &[u8]); 5] =
    [(b'&', b"&amp;"), (b'<', b"&lt;"), (b'>', b"&gt;"), (b'\'', b"&apos;"), (b'"', b"&quot;")];

/// Writes character data, with exactly five characters escaped.
pub(crate) fn escape(out: &mut Vec<u8>, text: &[u8]) {
    escape_except(out, text, None);
}

/// Writes character data as [`escape`] does, with one of the five left as it is.
pub(crate) fn escape_except(out: &mut Vec<u8>, text: &[u8], left: Option<u8>) {
    for &octet in text {
        match ENTITIES.iter().find(|(plain, _)| *plain == octet && left != Some(octet)) {
            Some((_, entity)) => out.extend_from_slice(entity),
            None => out.push(octet),
        }
    }
}

/// Reads character data: exactly five entities are known, all else stands for itself, numeric ones too.
pub(crate) fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr(b'&', text) else { return Cow::Borrowed(text) };
    let (plain, mut rest) = text.split_at_checked(first).unwrap_or((text, &[]));
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(plain);
    while let Some((&octet, after)) = rest.split_first() {
        let entity = ENTITIES.iter().find_map(|(plain, entity)| Some((*plain, rest.strip_prefix(*entity)?)));
        let (decoded, behind) = entity.unwrap_or((octet, after));
        out.push(decoded);
        rest = behind;
    }
    Cow::Owned(out)
}

/// Character data that is read as text. Octets that are not UTF-8 are replaced: a URI that had them is none, and is refused
/// by whoever reads it as one; in a display name they do no harm.
pub(crate) fn unescape_text(text: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(text)).into_owned()
}

/// A decimal number up to the first octet that is no digit; without any it is 0. One that is too large is the largest.
pub(crate) fn number(text: &[u8]) -> u64 {
    let digits = text.iter().map_while(|&octet| char::from(octet).to_digit(10));
    digits.fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit)))
}

/// Writes an element with a text, escaped, on a line of its own.
pub(crate) fn put_text(out: &mut Vec<u8>, indent: &str, name: &str, text: &[u8]) {
    put(out, indent, name, |out| escape(out, text));
}

/// Writes an element with a number on a line of its own.
pub(crate) fn put_number(out: &mut Vec<u8>, indent: &str, name: &str, number: u64) {
    // A vector takes all that is written to it.
    put(out, indent, name, |out| drop(write!(out, "{number}")));
}

/// Writes an element on a line of its own, as what it has writes itself.
pub(crate) fn put(out: &mut Vec<u8>, indent: &str, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
    for part in [indent, "<", name, ">"] {
        out.extend_from_slice(part.as_bytes());
    }
    value(out);
    for part in ["</", name, ">\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = Vec::new();
        escape(&mut out, text.as_bytes());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn exactly_five_entities() {
        assert_eq!(
            escaped("<a & 'b' \"c\">;/#\u{e4}"),
            "&lt;a &amp; &apos;b&apos; &quot;c&quot;&gt;;/#\u{e4}"
        );
        for (text, expected) in [
            ("&lt;&gt;&apos;&quot;&amp;", "<>'\"&"),
            ("&amp;lt;", "&lt;"),
            ("a&b &#60; &LT; &lt &", "a&b &#60; &LT; &lt &"),
            ("", ""),
        ] {
            assert_eq!(unescape_text(text.as_bytes()), expected);
        }
    }

    #[test]
    fn numbers_end_at_the_first_octet_that_is_no_digit() {
        for (text, expected) in [
            ("600", 600),
            ("12x4", 12),
            ("", 0),
            ("-1", 0),
            ("18446744073709551616", u64::MAX),
            ("007\r\n", 7),
        ] {
            assert_eq!(number(text.as_bytes()), expected, "{text}");
        }
    }
}
