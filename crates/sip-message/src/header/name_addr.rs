//! `name-addr` and `addr-spec` with header parameters (RFC 3261 §20.10, §25.1, RFC 8217).

use super::params::{self, Params, Place};
use crate::chars::{self, Cursor, Span};
use crate::{ParseError, Uri, scan};

/// One value of From, To, Contact, Route, Record-Route, Path, …
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// The display name as written (quotes included), or empty.
    pub display: &'a str,
    /// The text of the URI, without `<>`.
    pub uri_text: &'a str,
    /// The parameters after it.
    pub params: Params<'a>,
    tag: Option<&'a str>,
}

/// Where its parts are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NameAddrParts {
    display: Span,
    uri: Span,
    params: Span,
    /// Found as the parameters pass.
    tag: Option<Place>,
}

impl NameAddrParts {
    /// Reads the value at `span`; after an error the parts are as they were.
    pub(crate) fn read(&mut self, octets: &[u8], span: Span) -> Result<(), &'static str> {
        let mut cursor = Cursor::new(octets, span.start as usize, span.end as usize);
        cursor.skip_lws();
        let start = cursor.at;
        let display = display(&mut cursor)?;
        let uri = if display.is_some() { bracketed(&mut cursor)? } else { bare(&mut cursor)? };
        let mut tag = None;
        let params = params::each(&mut cursor, |name, place| {
            if chars::is_text(name, b"tag") {
                tag.get_or_insert(place);
            }
        })?;
        *self = Self { display: display.unwrap_or(Span::new(start, start)), uri, params, tag };
        Ok(())
    }

    pub(crate) fn view<'a>(&self, octets: &'a [u8]) -> NameAddr<'a> {
        NameAddr {
            display: self.display.text(octets),
            uri_text: self.uri.text(octets),
            params: Params(self.params.text(octets)),
            tag: self.tag.map(|tag| tag.text(octets)),
        }
    }
}

/// The display name, if the URI stands in brackets after it.
fn display(cursor: &mut Cursor<'_>) -> Result<Option<Span>, &'static str> {
    let start = cursor.at;
    if cursor.peek() == Some(b'"') {
        cursor.quoted().ok_or("a closed quoted string")?;
        let display = Span::new(start, cursor.at);
        cursor.skip_lws();
        return Ok(Some(display));
    }
    // With a `<` what stands before it is a display name; without, all is a URI, and a `;` begins the header's
    // parameters (§20: "the URI parameters" need brackets).
    let Some(length) = scan::find(b'<', cursor.rest()) else { return Ok(None) };
    let display = chars::trim_end(cursor.rest().get(..length).unwrap_or(&[]));
    if !display.iter().all(|&b| is_display(b)) {
        return Err("a display name of tokens, or in quotes");
    }
    cursor.at = start + length;
    Ok(Some(Span::new(start, start + display.len())))
}

/// `token` and white space; besides, UTF-8 and a few marks that telephones send without quotes. None of them is
/// ambiguous; a comma or a semicolon would be (RFC 4475 §3.1.2.15).
fn is_display(b: u8) -> bool {
    chars::is(chars::TOKEN, b)
        || chars::is_lws(b)
        || b >= 0x80
        || matches!(b, b'(' | b')' | b'/' | b'#' | b'&' | b'@' | b'=' | b'$' | b'|')
}

/// A URI in angle brackets.
fn bracketed(cursor: &mut Cursor<'_>) -> Result<Span, &'static str> {
    if !cursor.eat(b'<') {
        return Err("a URI in angle brackets");
    }
    let is_delimiter = |b: u8| matches!(b, b'<' | b'"') || chars::is_lws(b);
    // Asked first, of many octets at once: few URIs have `!` or a control character, so the exact question is rare.
    let may_be_delimiter = |b: u8| (b <= b'"') | (b == b'<');
    let rest = cursor.rest();
    let length = scan::find(b'>', rest);
    let text = match length {
        Some(length) => rest.get(..length).unwrap_or(&[]),
        None => chars::trim_end(rest),
    };
    if length == Some(0) || (scan::any(text, may_be_delimiter) && text.iter().any(|&b| is_delimiter(b))) {
        return Err("a URI without white space in the angle brackets");
    }
    let length = length.ok_or("a closing angle bracket")?;
    let uri = Span::new(cursor.at, cursor.at + length);
    cursor.at += length + 1;
    Ok(uri)
}

/// A URI without brackets.
fn bare(cursor: &mut Cursor<'_>) -> Result<Span, &'static str> {
    let length =
        cursor.rest().iter().position(|&b| b == b';' || chars::is_lws(b)).unwrap_or(cursor.rest().len());
    let uri = Span::new(cursor.at, cursor.at + length);
    let text = cursor.rest_of(uri);
    // RFC 3261 §20.10 and RFC 8217: with a comma, a question mark or a semicolon the URI must stand in brackets.
    if !text.contains(&b':') || text.iter().any(|b| matches!(b, b',' | b'?' | b'>' | b'"')) {
        return Err("a URI, in angle brackets if it has a comma, a question mark or a semicolon");
    }
    cursor.at += length;
    Ok(uri)
}

impl<'a> NameAddr<'a> {
    /// Reads one value. The URI itself is not read: call [`NameAddr::uri`].
    ///
    /// # Errors
    /// 400; the header named is the one given.
    pub fn parse(value: &'a [u8], header: &'static str) -> Result<Self, ParseError> {
        let mut parts = NameAddrParts::default();
        match parts.read(value, Span::new(0, value.len())) {
            Ok(()) => Ok(parts.view(value)),
            Err(what) => Err(ParseError::bad_request(header, what)),
        }
    }

    /// The URI.
    ///
    /// # Errors
    /// As [`Uri::parse`].
    pub fn uri(&self) -> Result<Uri<'a>, ParseError> {
        Uri::parse(self.uri_text.as_bytes())
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&'a str> {
        self.tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 3261 §20.10, §20.20, §20.39.
    #[test]
    fn forms() {
        for (text, display, uri, tag) in [
            (
                "\"A. G. Bell\" <sip:agb@bell-telephone.com> ;tag=a48s",
                "\"A. G. Bell\"",
                "sip:agb@bell-telephone.com",
                Some("a48s"),
            ),
            (
                "sip:+12125551212@server.phone2net.com;tag=887s",
                "",
                "sip:+12125551212@server.phone2net.com",
                Some("887s"),
            ),
            (
                "Anonymous <sip:c8oqz84zk7z@privacy.org>;tag=hyh8",
                "Anonymous",
                "sip:c8oqz84zk7z@privacy.org",
                Some("hyh8"),
            ),
            ("<sip:a@h;transport=tcp?x=y>", "", "sip:a@h;transport=tcp?x=y", None),
            ("caller<sip:caller@example.com>;tag=323", "caller", "sip:caller@example.com", Some("323")),
            ("\"<>\\\"\" <sip:a@h>", "\"<>\\\"\"", "sip:a@h", None),
            ("tel:+1-201-555-0123", "", "tel:+1-201-555-0123", None),
            ("Jos\u{e9} P\u{e9}rez <sip:j@h>", "Jos\u{e9} P\u{e9}rez", "sip:j@h", None),
        ] {
            let name_addr = NameAddr::parse(text.as_bytes(), "To").unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (name_addr.display, name_addr.uri_text, name_addr.tag()),
                (display, uri, tag),
                "{text}"
            );
        }
        // RFC 4475 §3.1.2.6, §3.1.2.14, §3.1.2.15.
        for bad in [
            "\"open <sip:a@h>",
            "\"W\" < sip:a@h >",
            "Bell, A <sip:a@h>",
            "<sip:a@h",
            "<>",
            "",
            "sip:a@h?x=y",
            "<sip:a@h>;;",
            "<sip:a@h> x",
            "alice",
        ] {
            assert!(NameAddr::parse(bad.as_bytes(), "To").is_err(), "{bad}");
        }
    }
}
