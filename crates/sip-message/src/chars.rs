//! Character classes of RFC 3261 §25.1 and a cursor that reads by them.

/// `token`.
pub(crate) const TOKEN: u8 = 1;
/// `user` without escapes; besides, `#`, which telephones send bare in feature codes such as `*31#`.
pub(crate) const USER: u8 = 1 << 1;
/// `password` without escapes.
pub(crate) const PASSWORD: u8 = 1 << 2;
/// `hostname`; besides, `_`, which names of containers and services have.
pub(crate) const HOST: u8 = 1 << 3;
/// `pname`, `pvalue` without escapes; besides, `=`, which unescaped base64 in a value has.
pub(crate) const PARAM: u8 = 1 << 4;
/// `headers` of a URI without escapes; besides, `@`, `,` and `;`, which cannot mean anything else there.
pub(crate) const URI_HEADERS: u8 = 1 << 5;
/// What may stand in a URI at all: visible ASCII except the delimiters `<`, `>` and `"`.
pub(crate) const URI: u8 = 1 << 6;
/// What may stand unquoted in a header parameter's value. `gen-value` is a token or a host, but URIs, base64 and
/// bare IPv6 addresses are met there (RFC 5118 §4.5), and none of their characters is ambiguous.
pub(crate) const PARAM_VALUE: u8 = 1 << 7;

const CLASSES: [u8; 256] = classes();

#[allow(clippy::indexing_slicing)] // evaluated by the compiler, which checks it
const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut c = 0usize;
    while c < 256 {
        let b = c as u8;
        let alphanum = b.is_ascii_alphanumeric();
        let mark = matches!(b, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')');
        let unreserved = alphanum || mark;
        let mut class = 0;
        if alphanum || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~') {
            class |= TOKEN;
        }
        if unreserved || matches!(b, b'&' | b'=' | b'+' | b'$' | b',' | b';' | b'?' | b'/' | b'#') {
            class |= USER;
        }
        if unreserved || matches!(b, b'&' | b'=' | b'+' | b'$' | b',') {
            class |= PASSWORD;
        }
        if alphanum || matches!(b, b'-' | b'.' | b'_') {
            class |= HOST;
        }
        if unreserved || matches!(b, b'[' | b']' | b'/' | b':' | b'&' | b'+' | b'$' | b'=') {
            class |= PARAM;
        }
        if unreserved
            || matches!(b, b'[' | b']' | b'/' | b'?' | b':' | b'+' | b'$' | b'=' | b'&' | b'@' | b',' | b';')
        {
            class |= URI_HEADERS;
        }
        if b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"') {
            class |= URI;
            if !matches!(b, b';' | b',') {
                class |= PARAM_VALUE;
            }
        }
        if b >= 0x80 {
            class |= PARAM_VALUE;
        }
        table[c] = class;
        c += 1;
    }
    table
}

/// Whether an octet is of a class.
#[inline]
pub(crate) fn is(class: u8, octet: u8) -> bool {
    CLASSES.get(usize::from(octet)).is_some_and(|c| c & class != 0)
}

/// Whether octets are a `token`.
pub(crate) fn is_token(octets: &[u8]) -> bool {
    !octets.is_empty() && octets.iter().all(|&b| is(TOKEN, b))
}

/// Linear white space, with the line ends of folds.
#[inline]
pub(crate) const fn is_lws(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

/// Without white space at both ends.
#[inline]
pub(crate) fn trim(octets: &[u8]) -> &[u8] {
    trim_end(trim_start(octets))
}

/// Without white space at the beginning.
#[inline]
pub(crate) fn trim_start(mut octets: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = octets {
        if !is_lws(*first) {
            break;
        }
        octets = rest;
    }
    octets
}

/// Without white space at the end.
#[inline]
pub(crate) fn trim_end(mut octets: &[u8]) -> &[u8] {
    while let [rest @ .., last] = octets {
        if !is_lws(*last) {
            break;
        }
        octets = rest;
    }
    octets
}

/// Without spaces and tabs at the end.
#[inline]
pub(crate) fn trim_blanks_end(mut octets: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = octets {
        octets = rest;
    }
    octets
}

/// Whether octets are this text in any case. Nearly always they are as the text is.
#[inline]
pub(crate) fn is_text(octets: &[u8], text: &[u8]) -> bool {
    octets == text || octets.eq_ignore_ascii_case(text)
}

/// The value of `1*DIGIT`; `None` if it is something else. Beyond 2^32-1: `Some(u64::MAX)` at the latest, never wrapped.
pub(crate) fn digits(octets: &[u8]) -> Option<u64> {
    if octets.is_empty() {
        return None;
    }
    octets.iter().try_fold(0u64, |n, &b| {
        b.is_ascii_digit().then(|| n.saturating_mul(10).saturating_add(u64::from(b - b'0')))
    })
}

/// The value of a hexadecimal digit.
pub(crate) const fn hex(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

/// A part of a message, by offsets into its octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    #[inline]
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self { start: offset(start), end: offset(end) }
    }

    /// An empty part.
    #[inline]
    pub(crate) const fn empty_at(at: u32) -> Self {
        Self { start: at, end: at }
    }

    /// The octets.
    #[inline]
    pub(crate) fn octets(self, of: &[u8]) -> &[u8] {
        of.get(self.start as usize..self.end as usize).unwrap_or(&[])
    }

    /// The text; empty if it is not UTF-8.
    #[inline]
    pub(crate) fn text(self, of: &[u8]) -> &str {
        std::str::from_utf8(self.octets(of)).unwrap_or("")
    }

    /// The text out of text.
    #[inline]
    pub(crate) fn within(self, of: &str) -> &str {
        of.get(self.start as usize..self.end as usize).unwrap_or("")
    }

    /// Without white space at both ends.
    #[inline]
    pub(crate) fn trimmed(self, of: &[u8]) -> Self {
        let text = trim_start(self.octets(of));
        let start = self.end as usize - text.len();
        Self::new(start, start + trim_end(text).len())
    }

    pub(crate) const fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// Longer messages are refused, whatever the limits are.
pub(crate) const OFFSET_MAX: usize = u32::MAX as usize;

/// An offset as it is stored.
#[inline]
pub(crate) const fn offset(at: usize) -> u32 {
    at as u32
}

/// A reading position in octets, up to an end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    octets: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads `octets[at..end]`; offsets stay those of `octets`.
    #[inline]
    pub(crate) fn new(octets: &'a [u8], at: usize, end: usize) -> Self {
        Self { octets: octets.get(..end).unwrap_or(octets), at }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.octets.len()
    }

    /// What is left.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.octets.split_at_checked(self.at).map_or(&[], |(_, rest)| rest)
    }

    /// The octets of a part that was read.
    #[inline]
    pub(crate) fn rest_of(&self, span: Span) -> &'a [u8] {
        span.octets(self.octets)
    }

    /// Steps over one octet if it is this one.
    #[inline]
    pub(crate) fn eat(&mut self, octet: u8) -> bool {
        let found = self.peek() == Some(octet);
        self.at += usize::from(found);
        found
    }

    /// Steps over white space and folds.
    #[inline]
    pub(crate) fn skip_lws(&mut self) {
        while self.peek().is_some_and(is_lws) {
            self.at += 1;
        }
    }

    /// Steps over all octets of a class and tells where they were.
    #[inline]
    pub(crate) fn take(&mut self, class: u8) -> Span {
        let start = self.at;
        let length = self.rest().iter().position(|&b| !is(class, b)).unwrap_or(self.rest().len());
        self.at += length;
        Span::new(start, self.at)
    }

    /// Reads `1*DIGIT`. A number beyond `most`, which is at most 2^32, is `most`.
    #[inline]
    pub(crate) fn number(&mut self, most: u64) -> Option<u64> {
        let (octets, mut at) = (self.octets, self.at);
        let mut number = 0;
        while let Some(b @ b'0'..=b'9') = octets.get(at) {
            number = (number * 10 + u64::from(b - b'0')).min(most);
            at += 1;
        }
        let found = at > self.at;
        self.at = at;
        found.then_some(number)
    }

    /// Steps over a quoted string, from its opening quote; `None` if it is not closed. The span is without quotes.
    #[inline]
    pub(crate) fn quoted(&mut self) -> Option<Span> {
        self.at += 1;
        let start = self.at;
        loop {
            let step = memchr::memchr2(b'"', b'\\', self.rest())?;
            self.at += step;
            if self.peek() == Some(b'"') {
                self.at += 1;
                return Some(Span::new(start, self.at - 1));
            }
            self.at = (self.at + 2).min(self.octets.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_only_and_never_wrap() {
        assert_eq!(digits(b"0068"), Some(68));
        assert_eq!(digits(b"99999999999999999999999999"), Some(u64::MAX));
        for bad in [&b""[..], b"-1", b"+1", b"1 ", b"0x10", b"1.0"] {
            assert_eq!(digits(bad), None);
        }
    }

    #[test]
    fn numbers_are_read_up_to_a_bound() {
        let read = |text: &str, most| {
            let mut cursor = Cursor::new(text.as_bytes(), 0, text.len());
            (cursor.number(most), cursor.at)
        };
        assert_eq!(read("0070;", 65_536), (Some(70), 4));
        assert_eq!(read("65536", 65_536), (Some(65_536), 5));
        assert_eq!(read("99999999999999999999999999 x", 65_536), (Some(65_536), 26));
        assert_eq!(read("-1", 65_536), (None, 0));
        assert_eq!(read("", 65_536), (None, 0));
    }

    #[test]
    fn a_part_is_trimmed_at_both_ends() {
        let text = b"a: \r\n b c\t\r\n";
        let trimmed = |start, end| Span { start, end }.trimmed(text);
        assert_eq!(trimmed(2, 12), Span { start: 6, end: 9 });
        assert_eq!(trimmed(6, 9), Span { start: 6, end: 9 });
        // Of nothing but white space, the end is left.
        assert_eq!(trimmed(2, 6), Span { start: 6, end: 6 });
        assert_eq!(trimmed(4, 4), Span { start: 4, end: 4 });
    }

    #[test]
    fn a_quoted_string_ends_at_the_first_quote_that_is_not_escaped() {
        let text = br#""a \" b \\" c"#;
        let mut cursor = Cursor::new(text, 0, text.len());
        assert_eq!(cursor.quoted().map(|s| s.octets(text)), Some(&br#"a \" b \\"#[..]));
        assert_eq!(cursor.rest(), b" c");
        assert!(Cursor::new(b"\"open", 0, 5).quoted().is_none());
        assert!(Cursor::new(b"\"open\\", 0, 6).quoted().is_none());
    }
}
