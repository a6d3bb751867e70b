//! Where the parts of a URI are (RFC 3261 §25.1, RFC 3966 §3).

use super::Scheme;
use crate::chars::{self, Cursor, Span, offset};
use crate::scan;

/// The parts, by offsets into the URI's text. A part that is absent has a span that starts at 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UriParts {
    pub(super) scheme: Scheme,
    pub(super) port: Option<u16>,
    pub(super) user: Span,
    pub(super) password: Span,
    pub(super) host: Span,
    /// After the first `;`.
    pub(super) params: Span,
    /// After `?`.
    pub(super) headers: Span,
    pub(super) opaque: Span,
}

impl UriParts {
    /// Splits a URI. What it accepts is ASCII.
    pub(crate) fn split(uri: &[u8]) -> Result<Self, &'static str> {
        let (scheme, start) = scheme(uri)?;
        match scheme {
            Scheme::Sip | Scheme::Sips | Scheme::Pres | Scheme::Im => sip(uri, scheme, start),
            Scheme::Tel => tel(uri, start),
            Scheme::Urn | Scheme::Other => {
                let rest = uri.get(start..).unwrap_or(&[]);
                if rest.is_empty() || !rest.iter().all(|&b| chars::is(chars::URI, b)) {
                    return Err("a URI without white space, quotes or angle brackets");
                }
                Ok(Self { scheme, opaque: Span::new(start, uri.len()), ..Self::default() })
            }
        }
    }

    /// The parts of something that is no URI.
    pub(crate) fn opaque(length: usize) -> Self {
        Self { opaque: Span::new(0, length), ..Self::default() }
    }

    /// Whether the URI carries header fields after `?`.
    pub(crate) const fn has_headers(&self) -> bool {
        self.headers.start != 0
    }
}

/// The scheme, and where what follows its colon starts.
fn scheme(uri: &[u8]) -> Result<(Scheme, usize), &'static str> {
    // Nearly every URI that we meet is this one.
    if uri.starts_with(b"sip:") {
        return Ok((Scheme::Sip, 4));
    }
    let colon = uri.iter().position(|&b| b == b':').ok_or("a scheme")?;
    let name = uri.get(..colon).unwrap_or(&[]);
    let well_formed = name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !well_formed {
        return Err("a scheme");
    }
    let known: [(&[u8], Scheme); 6] = [
        (b"sip", Scheme::Sip),
        (b"sips", Scheme::Sips),
        (b"tel", Scheme::Tel),
        (b"pres", Scheme::Pres),
        (b"im", Scheme::Im),
        (b"urn", Scheme::Urn),
    ];
    let scheme = known.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or(Scheme::Other, |(_, s)| *s);
    Ok((scheme, colon + 1))
}

fn sip(uri: &[u8], scheme: Scheme, start: usize) -> Result<UriParts, &'static str> {
    let mut parts = UriParts { scheme, ..UriParts::default() };
    let mut cursor = Cursor::new(uri, start, uri.len());
    // "@" must be escaped in every part of a URI but the header fields, and "?" may stand in a user part: so the first
    // "@" ends the user information (§25.1).
    if let Some(length) = scan::find(b'@', cursor.rest()) {
        let at = start + length;
        let mut info = Cursor::new(uri, start, at);
        parts.user = escaped(&mut info, chars::USER)?;
        if parts.user.is_empty() {
            return Err("a user before `@`");
        }
        if info.eat(b':') {
            parts.password = escaped(&mut info, chars::PASSWORD)?;
        }
        if !info.is_at_end() {
            return Err("only unreserved or escaped characters in the user part");
        }
        cursor.at = at + 1;
    }
    (parts.host, parts.port) = host_port(&mut cursor)?;
    if cursor.peek() == Some(b';') {
        let first = cursor.at + 1;
        while cursor.eat(b';') {
            if escaped(&mut cursor, chars::PARAM)?.is_empty() {
                return Err("a name in every URI parameter");
            }
        }
        parts.params = Span::new(first, cursor.at);
    }
    if cursor.eat(b'?') {
        parts.headers = escaped(&mut cursor, chars::URI_HEADERS)?;
    }
    if cursor.is_at_end() { Ok(parts) } else { Err("a SIP URI as RFC 3261 section 25.1 writes it") }
}

/// `host [ ":" port ]`.
pub(crate) fn host_port(cursor: &mut Cursor<'_>) -> Result<(Span, Option<u16>), &'static str> {
    let host = host(cursor)?;
    let port = if cursor.eat(b':') { Some(port(cursor)?) } else { None };
    Ok((host, port))
}

/// A host name, an IPv4 address or an IPv6 reference in its brackets.
pub(crate) fn host(cursor: &mut Cursor<'_>) -> Result<Span, &'static str> {
    let start = cursor.at;
    if cursor.eat(b'[') {
        // Whether it is an address is seen when it is asked for: RFC 5118 section 4.10 wants the three colons of the
        // grammar's slip to be tolerated.
        let length =
            cursor.rest().iter().take_while(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')).count();
        cursor.at += length;
        if length < 2 || !cursor.eat(b']') {
            return Err("an IPv6 address in brackets");
        }
        return Ok(Span::new(start, cursor.at));
    }
    let rest = cursor.rest();
    // A label begins where the name does and after every dot.
    let begins_label = |at: usize| !matches!(rest.get(at), Some(b'.' | b'-'));
    let mut is_name = begins_label(0);
    let mut length = 0;
    for &b in rest {
        if !chars::is(chars::HOST, b) {
            break;
        }
        length += 1;
        if b == b'.' {
            is_name &= begins_label(length);
        }
    }
    cursor.at += length;
    match length {
        _ if !is_name => Err("a host name without empty labels"),
        0 => Err("a host"),
        _ => Ok(Span::new(start, cursor.at)),
    }
}

/// `1*DIGIT`, up to 65535.
pub(crate) fn port(cursor: &mut Cursor<'_>) -> Result<u16, &'static str> {
    let port = cursor.number(u64::from(u16::MAX) + 1).ok_or("a port number")?;
    u16::try_from(port).map_err(|_| "a port of at most 65535")
}

/// Characters of a class and escapes.
fn escaped(cursor: &mut Cursor<'_>, class: u8) -> Result<Span, &'static str> {
    let start = offset(cursor.at);
    loop {
        let end = cursor.take(class).end;
        match cursor.rest() {
            [b'%', high, low, ..] if chars::hex(*high).is_some() && chars::hex(*low).is_some() => {
                cursor.at += 3
            }
            [b'%', ..] => return Err("two hexadecimal digits after `%`"),
            _ => return Ok(Span { start, end }),
        }
    }
}

/// RFC 3966 §3; but a local number without `phone-context`, which telephones do send, is let through: what it means is
/// for the routing rules to say.
fn tel(uri: &[u8], start: usize) -> Result<UriParts, &'static str> {
    let mut parts = UriParts { scheme: Scheme::Tel, ..UriParts::default() };
    let mut cursor = Cursor::new(uri, start, uri.len());
    let is_global = cursor.eat(b'+');
    let mut has_digit = false;
    while let Some(b) = cursor.peek() {
        let digit = b.is_ascii_digit() || (!is_global && (b.is_ascii_hexdigit() || matches!(b, b'*' | b'#')));
        if !digit && !matches!(b, b'-' | b'.' | b'(' | b')') {
            break;
        }
        has_digit |= digit;
        cursor.at += 1;
    }
    if !has_digit {
        return Err("a telephone number");
    }
    parts.opaque = Span::new(start, cursor.at);
    if cursor.peek() == Some(b';') {
        let first = cursor.at + 1;
        while cursor.eat(b';') {
            if escaped(&mut cursor, chars::PARAM)?.is_empty() {
                return Err("a name in every parameter");
            }
        }
        parts.params = Span::new(first, cursor.at);
    }
    if cursor.is_at_end() { Ok(parts) } else { Err("a telephone number as RFC 3966 section 3 writes it") }
}
