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

            pub(super) const ALL: &[(HeaderName, &'static str)] = &[$((HeaderName::$variant, $text),)*];

            /// The spelling that we write: `Call-ID`, `SIP-ETag`; empty for `Other`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other => "",
                }
            }

            /// Every spelling in lower case, compact forms too.
            pub(super) const SPELLINGS: &[(HeaderName, &[u8])] = &[
                $((HeaderName::$variant, $text.as_bytes()), $((HeaderName::$variant, &[$compact]),)?)*
            ];
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
