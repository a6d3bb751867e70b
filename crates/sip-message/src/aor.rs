//! Addresses-of-record (RFC 3261 §6, §10.3 step 5).

use std::fmt;
use std::sync::Arc;

use crate::uri::{canonical, host_ip};
use crate::{Scheme, Uri, chars};

/// The canonical name of a user in a domain: `user@host`.
///
/// The user's escapes are normalised (§19.1.4: an escape equals the character where it needs none), the host is in
/// lower case; scheme, password, port, parameters and header fields are dropped: `sip:`, `sips:` and `pres:` name the
/// same AOR, and neither a port nor the case of the host splits one. Cloning copies a pointer. It names a person:
/// log it at `debug` level only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Aor(Arc<str>);

impl Aor {
    /// The AOR that a `sip`, `sips`, `pres` or `im` URI with a user part names; `None` for others.
    pub fn of(uri: &Uri<'_>) -> Option<Self> {
        if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips | Scheme::Pres | Scheme::Im) {
            return None;
        }
        let user = uri.user()?;
        let host = uri.host();
        let mut text = String::with_capacity(user.len() + host.len() + 1);
        for (octet, escaped) in canonical(user) {
            if !escaped && chars::is(chars::USER, octet) {
                text.push(char::from(octet));
            } else {
                const DIGITS: [char; 16] =
                    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
                text.push('%');
                text.extend([octet >> 4, octet & 15].iter().filter_map(|d| DIGITS.get(usize::from(*d))));
            }
        }
        text.push('@');
        match host_ip(host) {
            Some(ip @ std::net::IpAddr::V6(_)) => text.push_str(&format!("[{ip}]")),
            _ => {
                let host = host.strip_suffix('.').unwrap_or(host);
                text.extend(host.chars().map(|c| c.to_ascii_lowercase()));
            }
        }
        Some(Self(text.into()))
    }

    /// Reads `alice@example.test` or the same with a scheme.
    pub fn parse(text: &str) -> Option<Self> {
        let (user, _) = text.split_once('@')?;
        if user.contains(':') {
            return Self::of(&Uri::parse(text.as_bytes()).ok()?);
        }
        Self::of(&Uri::parse(format!("sip:{text}").as_bytes()).ok()?)
    }

    /// `user@host`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The user part, canonically escaped.
    pub fn user(&self) -> &str {
        self.0.split_once('@').map_or("", |(user, _)| user)
    }

    /// The host, in lower case.
    pub fn domain(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, domain)| domain)
    }
}

impl fmt::Debug for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 3261 §10.3 step 5, §19.1.4; RFC 3859 §2: `pres:` names the same presentity.
    #[test]
    fn spellings_of_one_user() {
        for text in [
            "sip:alice@example.test",
            "sips:alice@EXAMPLE.test:5061;transport=tls",
            "pres:alice@example.test.",
            "sip:%61lice:secret@example.test?x=y",
            "alice@example.test",
        ] {
            assert_eq!(
                Aor::parse(text).map(|a| a.to_string()).as_deref(),
                Some("alice@example.test"),
                "{text}"
            );
        }
        let aor = Aor::parse("sip:a%2fb%40c%00@[2001:DB8:0::1]:5070").expect("an AOR");
        assert_eq!((aor.user(), aor.domain()), ("a%2Fb%40c%00", "[2001:db8::1]"));
        for none in ["sip:example.test", "tel:+1201", "", "sip:@h", "example.test"] {
            assert!(Aor::parse(none).is_none(), "{none}");
        }
        assert_ne!(Aor::parse("ALICE@h"), Aor::parse("alice@h"));
    }
}
