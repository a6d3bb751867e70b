//! URIs (RFC 3261 §19.1, RFC 3966, RFC 5954), borrowed from the bytes that hold them.

mod compare;
pub(crate) mod split;

use std::net::IpAddr;

use crate::chars::Span;
use crate::{ParseError, Transport};
pub(crate) use compare::{canonical, host_ip};
pub(crate) use split::UriParts;

/// The scheme of a URI. Schemes are case-insensitive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are the schemes
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    /// RFC 3859: names the same presentity as `sip:`.
    Pres,
    Im,
    Urn,
    /// Any other scheme: opaque to us.
    #[default]
    Other,
}

/// A URI, borrowed. For `sip`, `sips`, `pres` and `im` its parts are split; for others all is in
/// [`Uri::opaque`] (of `tel`, parameters are split off it).
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    raw: &'a str,
    parts: UriParts,
}

impl<'a> Uri<'a> {
    /// Reads a URI that stands alone (a Request-URI, or what stands between `<` and `>`).
    ///
    /// # Errors
    /// 400 with header empty, if the text does not follow §25.1 (of a `sip`, `sips`, `tel` URI) or has no scheme.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let parts = UriParts::split(bytes).map_err(|what| ParseError::bad_request("", what))?;
        // What split accepts is ASCII.
        let raw = std::str::from_utf8(bytes).map_err(|_| ParseError::bad_request("", "a URI in ASCII"))?;
        Ok(Self { raw, parts })
    }

    /// Text that was split before, or that is no URI (then all is opaque).
    pub(crate) const fn from_parts(raw: &'a str, parts: UriParts) -> Self {
        Self { raw, parts }
    }

    /// The text as it stands.
    pub fn as_str(&self) -> &'a str {
        self.raw
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.parts.scheme
    }

    /// `sip` or `sips`.
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme(), Scheme::Sip | Scheme::Sips)
    }

    /// The user part without password, escapes untouched; `None` if the URI has none.
    pub fn user(&self) -> Option<&'a str> {
        (!self.parts.user.is_empty()).then(|| self.parts.user.within(self.raw))
    }

    /// The password, escapes untouched; `None` if the URI has none.
    pub fn password(&self) -> Option<&'a str> {
        let Span { start, end } = self.parts.password;
        (start != 0).then(|| Span { start, end }.within(self.raw))
    }

    /// The host as written; an IPv6 reference keeps its brackets. Empty for schemes without one.
    pub fn host(&self) -> &'a str {
        self.parts.host.within(self.raw)
    }

    /// The host as an IP address, if it is one (brackets removed).
    pub fn ip(&self) -> Option<IpAddr> {
        host_ip(self.host())
    }

    /// The port, if one is written.
    pub fn port(&self) -> Option<u16> {
        self.parts.port
    }

    /// What a scheme without user and host is about, e.g. the number of a `tel` URI, `service:sos` of
    /// `urn:service:sos`; empty for the schemes whose parts are split.
    pub fn opaque(&self) -> &'a str {
        self.parts.opaque.within(self.raw)
    }

    /// The value of a URI parameter, name without case: `Some("")` for one without value, `None` if absent.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.unwrap_or(""))
    }

    /// The URI parameters in order as (name, value).
    pub fn params(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        self.parts.params.within(self.raw).split(';').filter(|p| !p.is_empty()).map(|p| {
            match p.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (p, None),
            }
        })
    }

    /// The `transport` parameter, if it names one that we know.
    pub fn transport(&self) -> Option<Transport> {
        self.param("transport").and_then(Transport::from_token)
    }

    /// The part after `?`, if any.
    pub fn headers(&self) -> Option<&'a str> {
        let Span { start, end } = self.parts.headers;
        (start != 0).then(|| Span { start, end }.within(self.raw))
    }

    /// Whether two URIs are equal by RFC 3261 §19.1.4 (with RFC 5954's rule for IPv6; `tel` by RFC 3966 §4).
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        compare::equivalent(self, other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    // RFC 3261 §19.1.1, §19.1.3, §25.1; RFC 4475 §3.1.1.2, §3.1.1.9.
    #[test]
    fn parts_of_sip_uris() {
        for (text, scheme, user, password, host, port, params, headers) in [
            ("sip:alice@atlanta.com", Scheme::Sip, Some("alice"), None, "atlanta.com", None, "", None),
            ("SIPS:h", Scheme::Sips, None, None, "h", None, "", None),
            (
                "sip:alice:secretword@atlanta.com:5080;transport=tcp;lr",
                Scheme::Sip,
                Some("alice"),
                Some("secretword"),
                "atlanta.com",
                Some(5080),
                "transport=tcp|lr",
                None,
            ),
            ("sip:a:@h", Scheme::Sip, Some("a"), Some(""), "h", None, "", None),
            (
                "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
                Scheme::Sips,
                Some("alice"),
                None,
                "atlanta.com",
                None,
                "",
                Some("subject=project%20x&priority=urgent"),
            ),
            (
                "sip:alice;day=tuesday@atlanta.com",
                Scheme::Sip,
                Some("alice;day=tuesday"),
                None,
                "atlanta.com",
                None,
                "",
                None,
            ),
            (
                "sip:user;par=u%40example.net@example.com",
                Scheme::Sip,
                Some("user;par=u%40example.net"),
                None,
                "example.com",
                None,
                "",
                None,
            ),
            (
                "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
                Scheme::Sip,
                Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"),
                Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"),
                "example.com",
                None,
                "",
                None,
            ),
            ("sip:[2001:db8::10:5070]", Scheme::Sip, None, None, "[2001:db8::10:5070]", None, "", None),
            ("sip:[2001:db8::10]:5070", Scheme::Sip, None, None, "[2001:db8::10]", Some(5070), "", None),
            (
                "sip:a@h;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
                Scheme::Sip,
                Some("a"),
                None,
                "h",
                None,
                "gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
                None,
            ),
            ("pres:alice@example.test", Scheme::Pres, Some("alice"), None, "example.test", None, "", None),
            ("im:alice@example.test", Scheme::Im, Some("alice"), None, "example.test", None, "", None),
            ("sip:*31#4711@h", Scheme::Sip, Some("*31#4711"), None, "h", None, "", None),
            ("sip:a@h:5060?x=y", Scheme::Sip, Some("a"), None, "h", Some(5060), "", Some("x=y")),
        ] {
            let uri = uri(text);
            assert_eq!(uri.as_str(), text);
            assert_eq!(uri.scheme(), scheme, "{text}");
            assert_eq!(uri.user(), user, "{text}");
            assert_eq!(uri.password(), password, "{text}");
            assert_eq!(uri.host(), host, "{text}");
            assert_eq!(uri.port(), port, "{text}");
            assert_eq!(uri.headers(), headers, "{text}");
            let found: Vec<String> =
                uri.params().map(|(n, v)| v.map_or_else(|| n.to_owned(), |v| format!("{n}={v}"))).collect();
            assert_eq!(found.join("|"), params, "{text}");
        }
    }

    // RFC 3261 §25.1; RFC 4475 §3.1.2.8; RFC 5118 §4.2.
    #[test]
    fn what_is_no_uri() {
        for text in [
            "",
            ":",
            "alice@example.test",
            "sip",
            "sip:",
            "sip:@h",
            "sip::pw@h",
            "sip:a@",
            "sip:a@b@c",
            "sip:a b@h",
            "sip:a@h h",
            "sip:2001:db8::10",
            "sip:[2001:db8::1",
            "sip:[]",
            "sip:[g::1]",
            "sip:[::1]x",
            "sip:h:",
            "sip:h:65536",
            "sip:h:99999999999999999999",
            "sip:h:5o60",
            "sip:h; lr",
            "sip:h;",
            "sip:h;;lr",
            "sip:100%@h",
            "sip:a%4@h",
            "sip:a%4g@h",
            "sip:a@h;x=%z1",
            "sip:j\u{f6}rg@h",
            "sip:.h",
            "sip:h..i",
            "sip:-h",
            "<sip:a@h>",
            "1sip:a@h",
            "sip:a@h<",
            "tel:",
            "tel:+",
            "tel:12 34",
            "tel:hello",
            "urn:",
            "foo:a b",
            "foo:<a>",
        ] {
            assert!(Uri::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    // RFC 3966 §3, RFC 4475 §3.3.2 and §3.3.3: schemes that are not SIP's are kept whole.
    #[test]
    fn other_schemes_are_opaque() {
        for (text, scheme, opaque) in [
            ("tel:+1-201-555-0123", Scheme::Tel, "+1-201-555-0123"),
            ("tel:7042;phone-context=example.com", Scheme::Tel, "7042"),
            ("urn:service:sos", Scheme::Urn, "service:sos"),
            ("nobodyKnowsThisScheme:totallyopaquecontent", Scheme::Other, "totallyopaquecontent"),
            ("soap.beep://192.0.2.103:3002", Scheme::Other, "//192.0.2.103:3002"),
            ("http://www.example.com", Scheme::Other, "//www.example.com"),
        ] {
            let uri = uri(text);
            assert_eq!((uri.scheme(), uri.opaque()), (scheme, opaque));
            assert_eq!((uri.user(), uri.host(), uri.port()), (None, "", None));
        }
        assert_eq!(uri("tel:7042;phone-context=example.com").param("Phone-Context"), Some("example.com"));
    }

    #[test]
    fn parameters_are_found_without_case() {
        let uri = uri("sip:h;Transport=TCP;lr;maddr=[::1]");
        assert_eq!(uri.transport(), Some(Transport::Tcp));
        assert_eq!(uri.param("LR"), Some(""));
        assert_eq!(uri.param("maddr"), Some("[::1]"));
        assert_eq!(uri.param("ob"), None);
    }

    // RFC 5118 §4.10: the extra colon of RFC 3261's grammar is tolerated.
    #[test]
    fn addresses() {
        let ip = |text: &str| uri(text).ip().map(|ip| ip.to_string());
        assert_eq!(ip("sip:a@192.0.2.4").as_deref(), Some("192.0.2.4"));
        assert_eq!(ip("sip:a@[2001:DB8:0::10]").as_deref(), Some("2001:db8::10"));
        assert_eq!(ip("sip:a@[2001:db8::192.0.2.1]").as_deref(), Some("2001:db8::c000:201"));
        assert_eq!(ip("sip:a@[2001:db8:::192.0.2.1]").as_deref(), Some("2001:db8::c000:201"));
        assert_eq!(ip("sip:a@example.com"), None);
        assert_eq!(ip("sip:a@300.1.1.1"), None);
    }
}
