//! Header field names (RFC 3261 §7.3.1, §7.3.3, §20; compact forms as registered).

macro_rules! names {
    ($($variant:ident $text:literal $($compact:literal)?,)*) => {
        /// A header field name that Rollcall knows; compact forms (RFC 3261 §7.3.3) are the same name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // the names are the header fields
        #[repr(u8)]
        pub enum HeaderName {
            $($variant,)*
            /// A header field that Rollcall never reads: forwarded as it came. Look it up with [`crate::Message::other`].
            Other,
        }

        impl HeaderName {
            /// How many there are, `Other` included.
            pub(crate) const COUNT: usize = Self::ALL.len() + 1;

            const ALL: &[(HeaderName, &'static str)] = &[$((HeaderName::$variant, $text),)*];

            /// The spelling that we write: `Call-ID`, `SIP-ETag`; empty for `Other`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other => "",
                }
            }

            const fn compact(letter: u8) -> Self {
                match letter.to_ascii_lowercase() {
                    $($($compact => Self::$variant,)?)*
                    _ => Self::Other,
                }
            }
        }
    };
}

names! {
    Accept "Accept",
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    Allow "Allow",
    AllowEvents "Allow-Events" b'u',
    AuthenticationInfo "Authentication-Info",
    Authorization "Authorization",
    CallId "Call-ID" b'i',
    Contact "Contact" b'm',
    ContentDisposition "Content-Disposition",
    ContentEncoding "Content-Encoding" b'e',
    ContentLength "Content-Length" b'l',
    ContentType "Content-Type" b'c',
    CSeq "CSeq",
    Date "Date",
    Event "Event" b'o',
    Expires "Expires",
    From "From" b'f',
    MaxBreadth "Max-Breadth",
    MaxForwards "Max-Forwards",
    MimeVersion "MIME-Version",
    MinExpires "Min-Expires",
    Path "Path",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    ProxyRequire "Proxy-Require",
    Reason "Reason",
    RecordRoute "Record-Route",
    ReferTo "Refer-To" b'r',
    Require "Require",
    RetryAfter "Retry-After",
    Route "Route",
    Server "Server",
    ServiceRoute "Service-Route",
    SipEtag "SIP-ETag",
    SipIfMatch "SIP-If-Match",
    SubscriptionState "Subscription-State",
    Supported "Supported" b'k',
    Timestamp "Timestamp",
    To "To" b't',
    Unsupported "Unsupported",
    UserAgent "User-Agent",
    Via "Via" b'v',
    Warning "Warning",
    WwwAuthenticate "WWW-Authenticate",
}

/// A set of names is the bits of a `u64`.
const _: () = assert!(HeaderName::COUNT <= 64);

/// The longest name, `Proxy-Authorization`, and one.
const LENGTHS: usize = 20;
/// How many names of one length there are at most.
const SAME_LENGTH: usize = 8;

type Entry = (HeaderName, &'static str);

/// Names by length: a name is compared with a handful at most.
static BY_LENGTH: [[Entry; SAME_LENGTH]; LENGTHS] = by_length();

#[allow(clippy::indexing_slicing)] // evaluated by the compiler, which checks it
const fn by_length() -> [[Entry; SAME_LENGTH]; LENGTHS] {
    let mut table = [[(HeaderName::Other, ""); SAME_LENGTH]; LENGTHS];
    let mut filled = [0usize; LENGTHS];
    let mut i = 0;
    while i < HeaderName::ALL.len() {
        let (name, text) = HeaderName::ALL[i];
        table[text.len()][filled[text.len()]] = (name, text);
        filled[text.len()] += 1;
        i += 1;
    }
    table
}

impl HeaderName {
    /// The name that octets spell, long or compact, in any case.
    #[inline]
    pub fn from_bytes(name: &[u8]) -> Self {
        if let [letter] = name {
            return Self::compact(*letter);
        }
        let Some(candidates) = BY_LENGTH.get(name.len()) else { return Self::Other };
        let Some(first) = name.first().map(u8::to_ascii_lowercase) else { return Self::Other };
        let found = candidates.iter().find(|(_, text)| {
            let text = text.as_bytes();
            // The first letter sets nearly all others apart.
            text.first().is_some_and(|b| b.to_ascii_lowercase() == first)
                && (text == name || text.eq_ignore_ascii_case(name))
        });
        found.map_or(Self::Other, |(name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (name, text) in HeaderName::ALL {
            assert_eq!(HeaderName::from_bytes(text.as_bytes()), *name);
            assert_eq!(HeaderName::from_bytes(text.to_uppercase().as_bytes()), *name);
        }
        for other in ["", "X-Foo", "Vi", "Call_ID", "Proxy-Authorization-But-Longer", "q"] {
            assert_eq!(HeaderName::from_bytes(other.as_bytes()), HeaderName::Other);
        }
    }

    // RFC 3261 §7.3.3.
    #[test]
    fn compact_forms() {
        for (letter, name) in [
            ("v", "Via"),
            ("F", "From"),
            ("i", "Call-ID"),
            ("m", "Contact"),
            ("o", "Event"),
            ("u", "Allow-Events"),
        ] {
            assert_eq!(HeaderName::from_bytes(letter.as_bytes()).as_str(), name);
        }
    }
}
