//! Challenges and credentials (RFC 3261 §20.7, §20.44, §25.1; RFC 7616 §3.3, §3.4).

use crate::ParseError;
use crate::chars::{self, Cursor, Span};

/// Scheme and comma-separated parameters of a challenge or credentials.
#[derive(Clone, Copy, Debug)]
pub struct AuthParams<'a> {
    /// `Digest`; compare without case.
    pub scheme: &'a str,
    rest: &'a str,
}

impl<'a> AuthParams<'a> {
    /// Reads the value of Authorization, Proxy-Authorization, WWW-Authenticate or Proxy-Authenticate. These are never
    /// lists: one header field line, one value (§7.3.1).
    ///
    /// # Errors
    /// 400; the header named is the one given.
    pub fn parse(value: &'a [u8], header: &'static str) -> Result<Self, ParseError> {
        let bad = |what| ParseError::bad_request(header, what);
        let text = std::str::from_utf8(value).map_err(|_| bad("UTF-8"))?;
        let mut cursor = Cursor::new(value, 0, value.len());
        cursor.skip_lws();
        let scheme = cursor.take(chars::TOKEN);
        if scheme.is_empty() {
            return Err(bad("a scheme"));
        }
        let rest = Span::new(cursor.at, value.len()).within(text);
        let parsed = Self { scheme: scheme.within(text), rest };
        // Schemes that we do not know may be written otherwise (RFC 3261 §25.1 `other-challenge`): only ours is checked.
        if parsed.scheme.eq_ignore_ascii_case("Digest") {
            let mut cursor = Cursor::new(rest.as_bytes(), 0, rest.len());
            while let Some(parameter) = one(&mut cursor) {
                parameter.map_err(bad)?;
            }
        }
        Ok(parsed)
    }

    /// A parameter by name without case, quotes removed, backslashes untouched.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let rest = self.rest;
        let mut cursor = Cursor::new(rest.as_bytes(), 0, rest.len());
        std::iter::from_fn(move || {
            let (name, value) = one(&mut cursor)?.ok()?;
            Some((name.within(rest), value.within(rest)))
        })
    }
}

/// One `name EQUAL value` of the comma-separated list; empty elements are stepped over.
fn one(cursor: &mut Cursor<'_>) -> Option<Result<(Span, Span), &'static str>> {
    cursor.skip_lws();
    while cursor.eat(b',') {
        cursor.skip_lws();
    }
    if cursor.is_at_end() {
        return None;
    }
    Some(read(cursor))
}

fn read(cursor: &mut Cursor<'_>) -> Result<(Span, Span), &'static str> {
    let name = cursor.take(chars::TOKEN);
    cursor.skip_lws();
    if name.is_empty() || !cursor.eat(b'=') {
        return Err("a name, an equals sign and a value in every parameter");
    }
    cursor.skip_lws();
    let value = if cursor.peek() == Some(b'"') {
        cursor.quoted().ok_or("a closed quoted string")?
    } else {
        cursor.take(chars::PARAM_VALUE)
    };
    cursor.skip_lws();
    if cursor.is_at_end() || cursor.peek() == Some(b',') {
        Ok((name, value))
    } else {
        Err("a comma between parameters")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials() {
        let value =
            br#"Digest username="Alice", realm="atlanta.com",nonce="84a4cc6f3082121f32b42a2187831a9e" ,
            response = "7587245234b3434cc3412213e5f113a5432" , uri="sip:a@h;x,y", qop=auth,,nc=0000000a"#;
        let digest = AuthParams::parse(value, "Authorization").expect("credentials");
        assert_eq!(digest.scheme, "Digest");
        assert_eq!(digest.value("URI"), Some("sip:a@h;x,y"));
        assert_eq!(
            (digest.value("nc"), digest.value("qop"), digest.value("opaque")),
            (Some("0000000a"), Some("auth"), None)
        );
        for bad in [&b""[..], b"Digest x", b"Digest x=\"open", b"Digest a=\"b\" c=\"d\""] {
            assert!(AuthParams::parse(bad, "Authorization").is_err());
        }
        // RFC 4475 §3.3.7: another scheme is not for us to read.
        assert_eq!(
            AuthParams::parse(b"NoOneKnowsThisScheme opaque-data=here", "Authorization").map(|a| a.scheme),
            Ok("NoOneKnowsThisScheme")
        );
    }
}
