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
            let (name, value) = one(&mut cursor)?.ok()?;
            Some((name.within(text), value.map(|value| value.within(text))))
        })
    }

    /// The text as it stands, from the first `;`, or empty.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// A parameter by spans; `None` at the end, `Err` at what is none.
type Parameter = Result<(Span, Option<Span>), &'static str>;

/// Reads `*( SEMI name [ EQUAL value ] )` one at a time.
pub(super) fn one(cursor: &mut Cursor<'_>) -> Option<Parameter> {
    cursor.skip_lws();
    if cursor.is_at_end() {
        return None;
    }
    Some(read(cursor))
}

fn read(cursor: &mut Cursor<'_>) -> Parameter {
    if !cursor.eat(b';') {
        return Err("a semicolon between parameters");
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
        return Ok((name, None));
    }
    cursor.skip_lws();
    let value = if cursor.peek() == Some(b'"') {
        cursor.quoted().ok_or("a closed quoted string")?
    } else {
        cursor.take(chars::PARAM_VALUE)
    };
    Ok((name, Some(value)))
}

/// Checks that what is left is parameters, and gives their span from the first `;`.
pub(super) fn check(cursor: &mut Cursor<'_>) -> Result<Span, &'static str> {
    cursor.skip_lws();
    let start = cursor.at;
    while let Some(parameter) = one(cursor) {
        parameter?;
    }
    Ok(Span::new(start, cursor.end()))
}

/// The span of the value of a parameter within text that was checked, and where the name ends.
pub(crate) fn find(text: &[u8], params: Span, name: &str) -> Option<(Span, Option<Span>)> {
    let mut cursor = Cursor::new(text, params.start as usize, params.end as usize);
    while let Some(Ok((found, value))) = one(&mut cursor) {
        if found.octets(text).eq_ignore_ascii_case(name.as_bytes()) {
            return Some((found, value));
        }
    }
    None
}
