//! Comma-separated values of a header field over all its lines (RFC 3261 §7.3.1).

use crate::chars::{self, Span};
use crate::index::Field;
use crate::{HeaderName, scan};

/// The values; quotes and `<>` respected, each trimmed, folds not removed, empty ones stepped over.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    octets: &'a [u8],
    fields: std::slice::Iter<'a, Field>,
    name: HeaderName,
    rest: Span,
}

impl<'a> Values<'a> {
    pub(crate) fn new(octets: &'a [u8], fields: &'a [Field], name: HeaderName) -> Self {
        Self { octets, fields: fields.iter(), name, rest: Span::default() }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            while self.rest.is_empty() {
                let field = self.fields.find(|f| f.name == self.name)?;
                self.rest = field.value(self.octets);
            }
            let (value, rest) = split_value(self.octets, self.rest);
            self.rest = rest;
            if !value.is_empty() {
                return Some(value.octets(self.octets));
            }
        }
    }
}

/// Splits the first value off a list: the value trimmed, and what follows its comma.
#[inline]
pub(crate) fn split_value(octets: &[u8], list: Span) -> (Span, Span) {
    let text = list.octets(octets);
    let end = comma(text).unwrap_or(text.len());
    let value = chars::trim_end(text.get(..end).unwrap_or(&[]));
    let trimmed = chars::trim_start(value);
    let start = list.start as usize + (value.len() - trimmed.len());
    let value = Span::new(start, start + trimmed.len());
    let next = (list.start as usize + end + 1).min(list.end as usize);
    (value, Span::new(next, list.end as usize))
}

/// The spans of all values of one line, empty ones left out.
pub(crate) fn value_spans(octets: &[u8], line: Span) -> impl Iterator<Item = Span> {
    let mut rest = line;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (value, after) = split_value(octets, rest);
            rest = after;
            if !value.is_empty() {
                return Some(value);
            }
        }
        None
    })
}

/// Where the first comma outside quotes and angle brackets is.
fn comma(text: &[u8]) -> Option<usize> {
    // Most lines hold one value.
    scan::find(b',', text)?;
    let mut at = 0;
    let mut in_brackets = false;
    while let Some(&b) = text.get(at) {
        match b {
            b',' if !in_brackets => return Some(at),
            b'<' => in_brackets = true,
            b'>' => in_brackets = false,
            b'"' if !in_brackets => {
                at += 1;
                while let Some(&q) = text.get(at) {
                    match q {
                        b'"' => break,
                        b'\\' => at += 2,
                        _ => at += 1,
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_brackets_do_not_split() {
        let text = br#" "a, \" b" <sip:a@h;x=1,2>;q=0.5 ,, <sip:c,d@h> , e "#;
        let values: Vec<&[u8]> =
            value_spans(text, Span::new(0, text.len())).map(|s| s.octets(text)).collect();
        assert_eq!(values, [&br#""a, \" b" <sip:a@h;x=1,2>;q=0.5"#[..], b"<sip:c,d@h>", b"e"]);
    }
}
