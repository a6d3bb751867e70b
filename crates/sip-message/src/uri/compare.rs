//! Whether two URIs are the same (RFC 3261 §19.1.4, RFC 5954 §4.2, RFC 3966 §4).

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv6Addr};

use smallvec::SmallVec;

use super::{Scheme, Uri};
use crate::chars::hex;

/// The characters of a URI component with escapes resolved where that does not change the meaning.
///
/// §19.1.4: a character outside the reserved set equals its escape; a reserved one does not (so `a%2Bb` and `a+b`
/// differ: RFC 2396 leaves it open, and taking two users for one would be the graver error). The flag tells an escaped
/// reserved character from a plain one.
pub(crate) fn canonical(text: &str) -> impl Iterator<Item = (u8, bool)> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || match rest {
        [] => None,
        [b'%', high, low, after @ ..] => {
            if let (Some(high), Some(low)) = (hex(*high), hex(*low)) {
                rest = after;
                let octet = high << 4 | low;
                Some((octet, is_reserved(octet)))
            } else {
                rest = rest.get(1..).unwrap_or(&[]);
                Some((b'%', false))
            }
        }
        [octet, after @ ..] => {
            rest = after;
            Some((*octet, false))
        }
    })
}

/// `reserved` of RFC 2396 §2.2; besides `%`, whose escape must stay one.
const fn is_reserved(octet: u8) -> bool {
    matches!(octet, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',' | b'%')
}

fn folded(text: &str) -> impl Iterator<Item = (u8, bool)> {
    canonical(text).map(|(octet, escaped)| (octet.to_ascii_lowercase(), escaped))
}

/// A host as an IP address: brackets removed, the three colons of RFC 5118 §4.10 read as two.
pub(crate) fn host_ip(host: &str) -> Option<IpAddr> {
    let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) else {
        return host.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4);
    };
    let address = inner.parse::<Ipv6Addr>().or_else(|error| {
        let (before, after) = inner.split_once(":::").ok_or(error)?;
        let mut text = arrayvec(before);
        text.extend_from_slice(b"::");
        text.extend_from_slice(after.as_bytes());
        std::str::from_utf8(&text).unwrap_or("").parse()
    });
    address.ok().map(IpAddr::V6)
}

fn arrayvec(text: &str) -> SmallVec<[u8; 64]> {
    SmallVec::from_slice(text.as_bytes())
}

fn hosts_match(a: &str, b: &str) -> bool {
    // A trailing dot only says that the name is complete.
    let (a, b) = (a.strip_suffix('.').unwrap_or(a), b.strip_suffix('.').unwrap_or(b));
    a.eq_ignore_ascii_case(b) || matches!((host_ip(a), host_ip(b)), (Some(a), Some(b)) if a == b)
}

pub(super) fn equivalent(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    if a.scheme() != b.scheme() {
        return false;
    }
    match a.scheme() {
        Scheme::Sip | Scheme::Sips | Scheme::Pres | Scheme::Im => {
            a.port() == b.port()
                && options_match(a.user(), b.user(), |a, b| canonical(a).eq(canonical(b)))
                && options_match(a.password(), b.password(), |a, b| canonical(a).eq(canonical(b)))
                && hosts_match(a.host(), b.host())
                && sip_params_match(a, b)
                && headers_match(a, b)
        }
        Scheme::Tel => tel_match(a, b),
        // RFC 8141 §3.1: `urn` and the namespace identifier have no case, the rest has.
        Scheme::Urn => {
            let split = |uri: &Uri<'_>| uri.opaque().find(':').unwrap_or(uri.opaque().len());
            let (a_end, b_end) = (split(a), split(b));
            let namespace = |text: &'_ str, end: usize| text.get(..end).unwrap_or("").to_ascii_lowercase();
            namespace(a.opaque(), a_end) == namespace(b.opaque(), b_end)
                && a.opaque().get(a_end..) == b.opaque().get(b_end..)
        }
        // Nothing is known of the scheme but that its own name has no case.
        Scheme::Other => {
            let after = |uri: &Uri<'_>| uri.as_str().find(':').unwrap_or(0);
            let (a_colon, b_colon) = (after(a), after(b));
            let name = |text: &'_ str, end: usize| text.get(..end).unwrap_or("").to_ascii_lowercase();
            name(a.as_str(), a_colon) == name(b.as_str(), b_colon)
                && a.as_str().get(a_colon..) == b.as_str().get(b_colon..)
        }
    }
}

fn options_match(a: Option<&str>, b: Option<&str>, matches: impl Fn(&str, &str) -> bool) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => matches(a, b),
        _ => false,
    }
}

type Pairs<'a> = SmallVec<[(&'a str, Option<&'a str>); 8]>;

/// In order of names, so that two lists are compared in one walk however long a peer makes them.
fn sorted<'a>(pairs: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> Pairs<'a> {
    let mut pairs: Pairs<'a> = pairs.collect();
    pairs.sort_by(|a, b| folded(a.0).cmp(folded(b.0)));
    pairs
}

fn sip_params_match(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    if a.parts.params.is_empty() && b.parts.params.is_empty() {
        return true;
    }
    let (a, b) = (sorted(a.params()), sorted(b.params()));
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return true,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => folded(a.0).cmp(folded(b.0)),
        };
        match order {
            // One that stands in one URI only is ignored but for these. The text of §19.1.4 names user, ttl, method
            // and maddr; that transport belongs to them is shown by its examples.
            Ordering::Less => {
                if a.next().is_some_and(|p| counts_alone(p.0)) {
                    return false;
                }
            }
            Ordering::Greater => {
                if b.next().is_some_and(|p| counts_alone(p.0)) {
                    return false;
                }
            }
            Ordering::Equal => {
                if let (Some((name, a)), Some((_, b))) = (a.next(), b.next()) {
                    let (a, b) = (a.unwrap_or(""), b.unwrap_or(""));
                    // Methods are case-sensitive (§7.1), other values are not.
                    let same = if name.eq_ignore_ascii_case("method") {
                        canonical(a).eq(canonical(b))
                    } else {
                        folded(a).eq(folded(b))
                    };
                    if !same {
                        return false;
                    }
                }
            }
        }
    }
}

fn counts_alone(name: &str) -> bool {
    ["transport", "user", "ttl", "method", "maddr"].iter().any(|n| n.eq_ignore_ascii_case(name))
}

/// Any header component must be in both. The matching rule of each header field (§20) is not applied to its value:
/// values are the same if their text is, so at worst two bindings are kept where one would do.
fn headers_match(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    let (Some(a), Some(b)) = (a.headers(), b.headers()) else {
        return a.headers().is_none() && b.headers().is_none();
    };
    let pairs = |text| {
        let pairs = str::split(text, '&').map(|h| match h.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (h, None),
        });
        let mut pairs: Pairs<'_> = pairs.collect();
        pairs.sort_by(|a, b| {
            folded(a.0)
                .cmp(folded(b.0))
                .then_with(|| canonical(a.1.unwrap_or("")).cmp(canonical(b.1.unwrap_or(""))))
        });
        pairs
    };
    let (a, b) = (pairs(a), pairs(b));
    a.len() == b.len()
        && a.iter().zip(&b).all(|(a, b)| {
            folded(a.0).eq(folded(b.0)) && canonical(a.1.unwrap_or("")).eq(canonical(b.1.unwrap_or("")))
        })
}

/// RFC 3966 §4: numbers without visual separators, every parameter in both, nothing with case.
fn tel_match(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    if !number(a.opaque()).eq(number(b.opaque())) {
        return false;
    }
    let (a, b) = (sorted(a.params()), sorted(b.params()));
    a.len() == b.len()
        && a.iter().zip(&b).all(|((name, a), (b_name, b))| {
            let (a, b) = (a.unwrap_or(""), b.unwrap_or(""));
            let is_number = name.eq_ignore_ascii_case("ext")
                || (name.eq_ignore_ascii_case("phone-context") && a.starts_with('+'));
            folded(name).eq(folded(b_name))
                && if is_number { number(a).eq(number(b)) } else { folded(a).eq(folded(b)) }
        })
}

fn number(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().filter(|b| !matches!(b, b'-' | b'.' | b'(' | b')')).map(|b| b.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use crate::Uri;

    fn same(a: &str, b: &str) -> bool {
        let (a, b) = (Uri::parse(a.as_bytes()).unwrap(), Uri::parse(b.as_bytes()).unwrap());
        assert_eq!(a.equivalent(&b), b.equivalent(&a), "{} {}", a.as_str(), b.as_str());
        a.equivalent(&b)
    }

    // RFC 3966 §4.
    #[test]
    fn telephone_numbers() {
        assert!(same("tel:+1-201-555-0123", "TEL:+1(201)5550123"));
        assert!(same("tel:7042;phone-context=example.com", "tel:70-42;Phone-Context=EXAMPLE.com"));
        assert!(same("tel:7042;ext=1-2;phone-context=+1-201", "tel:7042;phone-context=+1201;ext=12"));
        assert!(!same("tel:+12015550123", "tel:12015550123"));
        assert!(!same("tel:7042;phone-context=example.com", "tel:7042"));
        assert!(!same("tel:7042;phone-context=example.com", "tel:7042;phone-context=example.org"));
    }

    #[test]
    fn other_schemes() {
        assert!(same("URN:Service:sos", "urn:service:sos"));
        assert!(!same("urn:service:sos", "urn:service:SOS"));
        assert!(same("HTTP://a/B", "http://a/B"));
        assert!(!same("http://a/B", "http://a/b"));
        assert!(!same("http:x", "https:x"));
        assert!(!same("pres:a@h", "sip:a@h"));
        assert!(same("pres:%61@H", "pres:a@h"));
    }

    #[test]
    fn escapes_of_reserved_characters_stay_escapes() {
        assert!(same("sip:%61%6c%69ce@h", "sip:alice@h"));
        assert!(same("sip:a%2bb@h", "sip:a%2Bb@h"));
        assert!(!same("sip:a%2Bb@h", "sip:a+b@h"));
        assert!(!same("sip:a%3Bx@h", "sip:a;x@h"));
        assert!(!same("sip:%2561@h", "sip:%61@h"));
        assert!(!same("sip:%00@h", "sip:%00%00@h"));
        assert!(same("sip:a@h.", "sip:a@H"));
    }

    #[test]
    fn many_parameters_cost_no_square() {
        let text = |n: usize| format!("sip:h{}", (0..n).map(|i| format!(";p{i}=v")).collect::<String>());
        let (a, b) = (text(8_000), text(8_000).to_uppercase().replace("SIP:H", "sip:h"));
        assert!(same(&a, &b));
    }
}
