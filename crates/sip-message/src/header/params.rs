//! Header field parameters (RFC 3261 §7.3.1, §25.1 `generic-param`).

use crate::chars::{self, Cursor, Span};

/// `;name=value` parameters of a header field value, borrowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a>(pub(super) &'a str);

impl<'a> Params<'a> {
    /// Value of a parameter (name without case): `Some("")` without value. A quoted string comes without its quotes,
    /// backslashes untouched.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.unwrap_or(""))
    }

    /// All in order; quotes removed as for [`Params::value`].
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        let text = self.0;
        let mut cursor = Cursor::new(text.as_bytes(), 0, text.len());
        std::iter::from_fn(move || {
            let place = one(&mut cursor)?.ok()?;
            Some((place.name.within(text), place.value.map(|value| value.within(text))))
        })
    }

    /// The text as it stands, from the first `;`, or empty.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// Reads `*( SEMI name [ EQUAL value ] )` one at a time: `None` at the end, `Err` at what is no parameter.
fn one(cursor: &mut Cursor<'_>) -> Option<Result<Place, &'static str>> {
    cursor.skip_lws();
    if cursor.is_at_end() {
        return None;
    }
    Some(read(cursor))
}

#[inline(always)] // each reading of parameters has its own copy: 20 instructions less for every parameter
fn read(cursor: &mut Cursor<'_>) -> Result<Place, &'static str> {
    if !cursor.eat(b';') {
        return Err(SEMICOLON);
    }
    cursor.skip_lws();
    let name = cursor.take(chars::TOKEN);
    if name.is_empty() {
        return Err("a name in every parameter");
    }
    let end = cursor.at;
    cursor.skip_lws();
    if !cursor.eat(b'=') {
        cursor.at = end;
        return Ok(Place { name, value: None });
    }
    if cursor.peek().is_some_and(chars::is_lws) {
        skip_lws_before_value(cursor);
    }
    let value = if cursor.peek() == Some(b'"') {
        cursor.quoted().ok_or("a closed quoted string")?
    } else {
        cursor.take(chars::PARAM_VALUE)
    };
    Ok(Place { name, value: Some(value) })
}

/// Steps over white space, unless no value comes after it: then it is not of the parameter.
#[cold]
fn skip_lws_before_value(cursor: &mut Cursor<'_>) {
    let start = cursor.at;
    cursor.skip_lws();
    if matches!(cursor.peek(), None | Some(b',')) {
        cursor.at = start;
    }
}

/// One parameter by spans: its name, and its value if it has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) name: Span,
    pub(crate) value: Option<Span>,
}

impl Place {
    /// The value; empty if there is none.
    pub(crate) fn text(self, octets: &[u8]) -> &str {
        self.value.unwrap_or_default().text(octets)
    }
}

pub(super) const SEMICOLON: &str = "a semicolon between parameters";

/// Checks that what is left is parameters, and gives their span from the first `;`.
pub(super) fn check(cursor: &mut Cursor<'_>) -> Result<Span, &'static str> {
    each(cursor, |_, _| {})
}

/// As [`check`]; and shows each parameter as it passes: the octets of its name, and where it is.
pub(super) fn each(cursor: &mut Cursor<'_>, show: impl FnMut(&[u8], Place)) -> Result<Span, &'static str> {
    let params = each_of_value(cursor, show)?;
    if cursor.is_at_end() { Ok(params) } else { Err(SEMICOLON) }
}

/// As [`each`], but of one value of a list: a comma may follow.
#[inline(always)] // as `read`
pub(super) fn each_of_value(
    cursor: &mut Cursor<'_>,
    mut show: impl FnMut(&[u8], Place),
) -> Result<Span, &'static str> {
    let mut end = cursor.at;
    cursor.skip_lws();
    let start = if cursor.peek() == Some(b';') { cursor.at } else { end };
    while cursor.peek() == Some(b';') {
        let place = read(cursor)?;
        show(cursor.rest_of(place.name), place);
        end = cursor.at;
        cursor.skip_lws();
    }
    if cursor.is_at_end() || cursor.peek() == Some(b',') { Ok(Span::new(start, end)) } else { Err(SEMICOLON) }
}
