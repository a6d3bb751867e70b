//! When two contacts are one service (RFC 4479 §3.3.2, RFC 3261 §19.1.4).

use sip_message::{Scheme, Uri};

/// A coarse form of a contact URI: equal URIs have equal keys, equal keys still ask for [`equal`].
pub(crate) fn key(contact: &str) -> Box<str> {
    let Ok(uri) = Uri::parse(contact.as_bytes()) else { return contact.into() };
    let scheme = match uri.scheme() {
        Scheme::Sip => "sip:",
        Scheme::Sips => "sips:",
        Scheme::Pres => "pres:",
        Scheme::Im => "im:",
        Scheme::Tel => {
            // RFC 3966 §5: visual separators and the case of hexadecimal digits do not count.
            let number = contact.split(';').next().unwrap_or_default();
            let plain = number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')'));
            return plain.map(|c| c.to_ascii_lowercase()).collect();
        }
        Scheme::Urn | Scheme::Other => return contact.to_ascii_lowercase().into(),
    };
    let mut key = String::from(scheme);
    if let Some(user) = uri.user() {
        unescape(user, &mut key);
    }
    key.push('@');
    match uri.ip() {
        Some(ip) => key.push_str(&ip.to_string()),
        None => key.extend(uri.host().chars().map(|c| c.to_ascii_lowercase())),
    }
    // RFC 5627 §3: a GRUU names one instance, so it is another service than the address without `gr`, although
    // RFC 3261 §19.1.4 would let a parameter that only one of them has pass.
    if let Some((_, value)) = uri.params().find(|(name, _)| name.eq_ignore_ascii_case("gr")) {
        key.push_str(";gr=");
        key.push_str(value.unwrap_or_default());
    }
    key.into()
}

/// A device ID as a key (RFC 4479 §3.4, RFC 8141 §3.1): the parts of a URN that know no case in lower case.
pub(crate) fn urn_key(urn: &str) -> Box<str> {
    let folded = match urn.get(..9) {
        Some(start) if start.eq_ignore_ascii_case("urn:uuid:") => urn.len(),
        _ => match urn.get(..4) {
            Some(start) if start.eq_ignore_ascii_case("urn:") => {
                urn[4..].find(':').map_or(urn.len(), |at| at + 4)
            }
            _ => 0,
        },
    };
    let (folded, exact) = urn.split_at(folded);
    let mut key = folded.to_ascii_lowercase();
    key.push_str(exact);
    key.into()
}

/// Whether two contacts of one key are equal; what is no URI is compared as text.
pub(crate) fn equal(a: &str, b: &str) -> bool {
    a == b
        || match (Uri::parse(a.as_bytes()), Uri::parse(b.as_bytes())) {
            (Ok(a), Ok(b)) => a.equivalent(&b),
            _ => false,
        }
}

/// Undoes every escape: coarser than §19.1.4, which spares reserved characters.
fn unescape(text: &str, out: &mut String) {
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escape = match (byte, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        // One character per byte: what matters is that equal things stay equal, not what they look like.
        match escape {
            Some((high, low)) => {
                out.push(char::from(high * 16 + low));
                rest = &tail[2..];
            }
            None => {
                out.push(char::from(byte));
                rest = tail;
            }
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Whether a `priority` is one that RFC 3863 §4.1.5 allows: 0 to 1 with at most three digits behind the point.
pub(crate) fn is_priority(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    fraction.len() <= 3
        && match whole {
            "0" => fraction.bytes().all(|b| b.is_ascii_digit()),
            "1" => fraction.bytes().all(|b| b == b'0'),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_service(a: &str, b: &str) -> bool {
        key(a) == key(b) && equal(a, b)
    }

    #[test]
    fn equality_of_rfc_3261_section_19_1_4() {
        for (a, b) in [
            ("sip:alice@PC.example.com", "sip:%61lice@pc.example.com"),
            ("sip:alice@AtLanTa.CoM;Transport=tcp", "SIP:alice@AtlanTa.CoM;transport=TCP"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:alice@[2001:db8::1]", "sip:alice@[2001:DB8:0::1]"),
            ("tel:+1-201-555-0123", "tel:+12015550123"),
            ("pres:alice@example.com", "pres:alice@EXAMPLE.com"),
            ("not a uri", "not a uri"),
        ] {
            assert!(one_service(a, b), "{a} = {b}");
        }
        for (a, b) in [
            ("sip:alice@example.com", "sip:Alice@example.com"),
            ("sip:alice@example.com", "sips:alice@example.com"),
            ("sip:alice@example.com", "sip:alice@example.com:5060"),
            ("sip:alice@example.com;gr=1", "sip:alice@example.com;gr=2"),
            ("sip:alice@example.com;gr=1", "sip:alice@example.com"),
            ("not a uri", "not  a uri"),
        ] {
            assert!(!one_service(a, b), "{a} != {b}");
        }
    }

    #[test]
    fn device_ids_of_rfc_8141_section_3_1() {
        assert_eq!(urn_key("URN:UUID:ABC"), urn_key("urn:uuid:abc"));
        assert_eq!(urn_key("URN:Esn:Ab"), urn_key("urn:esn:Ab"));
        assert_ne!(urn_key("urn:esn:Ab"), urn_key("urn:esn:ab"));
        assert_ne!(urn_key("mac:A"), urn_key("mac:a"));
    }

    #[test]
    fn priorities_of_rfc_3863_section_4_1_5() {
        assert!(["0", "0.021", "0.5", "1.00", "1", "0."].into_iter().all(is_priority));
        assert!(!["7", "-1", "0.0001", "1.1", "0x5", "", ".5", "00.5"].into_iter().any(is_priority));
    }
}
