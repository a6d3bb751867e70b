//! Which body a watcher takes (RFC 3261 §20.1, RFC 6665 §3.2.1 and §7.2).

use sip_message::{HeaderName, Request};

/// The first type of `offered` (best first) that a SUBSCRIBE accepts.
///
/// Without an Accept header field the package's default, the first offered, is meant (RFC 6665 §3.2.1). Types are compared
/// without case, their parameters do not matter; `*/*` and `application/*` match; a `q` of zero refuses. An empty Accept
/// accepts nothing (RFC 3261 §20.1).
pub fn accepted(request: &Request, offered: &[&'static str]) -> Option<&'static str> {
    if request.header(HeaderName::Accept).is_none() {
        return offered.first().copied();
    }
    let ranges: Vec<Range<'_>> = request.values(HeaderName::Accept).filter_map(Range::read).collect();
    offered.iter().copied().find(|offer| {
        // The most specific range decides (RFC 2616 §14.1, which RFC 3261 §20.1 refers to).
        let best = ranges.iter().filter(|r| r.matches(offer)).max_by_key(|r| r.precision());
        best.is_some_and(|r| !r.is_refused)
    })
}

struct Range<'a> {
    media: &'a str,
    is_refused: bool,
}

impl<'a> Range<'a> {
    fn read(value: &'a [u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(value).ok()?.split(';');
        let media = parts.next()?.trim();
        let is_refused = parts.any(|p| {
            p.split_once('=').is_some_and(|(name, q)| {
                name.trim().eq_ignore_ascii_case("q") && q.trim().bytes().all(|b| matches!(b, b'0' | b'.'))
            })
        });
        Some(Self { media, is_refused })
    }

    fn matches(&self, offer: &str) -> bool {
        match self.media.split_once('/') {
            Some(("*", "*")) => true,
            Some((kind, "*")) => offer.split_once('/').is_some_and(|(k, _)| k.eq_ignore_ascii_case(kind)),
            _ => self.media.eq_ignore_ascii_case(offer),
        }
    }

    /// 0 for `*/*`, 1 for `application/*`, 2 for a type.
    fn precision(&self) -> u8 {
        match self.media.split_once('/') {
            Some(("*", "*")) => 0,
            Some((_, "*")) => 1,
            _ => 2,
        }
    }
}
