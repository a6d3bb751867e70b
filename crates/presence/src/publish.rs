//! PUBLISH requests, read (RFC 3903 §6 steps 2 to 5, as far as the request alone decides).

use presence_doc::Document;
use sip_message::{HeaderName, Request};

use crate::entity_tag::EntityTag;
use crate::headers::{self, Body};
use crate::{Config, Error, PIDF};

/// What a PUBLISH wants done.
#[derive(Debug)]
pub(crate) struct PublishRequest {
    /// The publication it is about; `None` for a new one.
    pub(crate) if_match: IfMatch,
    /// The duration granted: 0 removes.
    pub(crate) expires_seconds: u32,
    /// The state; `None` leaves what is there.
    pub(crate) document: Option<Document>,
}

/// The precondition (RFC 3903 §6 step 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// No SIP-If-Match.
    New,
    /// One entity-tag of ours.
    Tag(EntityTag),
    /// One entity-tag that cannot be ours, so that it matches nothing.
    Foreign,
}

impl PublishRequest {
    /// Reads a request in the order of RFC 3903 §6, so that the first failing step names the error. `is_live` tells whether
    /// the AOR has a live publication under a tag: step 3 comes before the duration and the body are looked at.
    pub(crate) fn read(
        request: &Request,
        config: &Config,
        is_live: impl FnOnce(EntityTag) -> bool,
    ) -> Result<Self, Error> {
        let if_match = if_match(request)?;
        match if_match {
            IfMatch::New => {}
            IfMatch::Tag(tag) if is_live(tag) => {}
            IfMatch::Tag(_) | IfMatch::Foreign => return Err(Error::ConditionFailed),
        }
        let expires_seconds = granted(headers::expires(request)?, config)?;
        // Step 5: what is removed needs no body, and one that comes along is not stored, so it is not looked at.
        if expires_seconds == 0 && if_match != IfMatch::New {
            return Ok(Self { if_match, expires_seconds, document: None });
        }
        let document = match headers::body(request, PIDF)? {
            Body::Understood(body) => Some(Document::parse(body, &config.document_limits())?),
            Body::Absent if if_match == IfMatch::New => return Err(Error::NoBody),
            Body::Absent => None,
        };
        Ok(Self { if_match, expires_seconds, document })
    }
}

/// Step 3: a single entity-tag, or none. `*` is a token like any other here (§8.1 knows no wildcard) and matches nothing.
fn if_match(request: &Request) -> Result<IfMatch, Error> {
    let mut values = request.values(HeaderName::SipIfMatch);
    match (values.next(), values.next(), request.count(HeaderName::SipIfMatch)) {
        (None, _, 0) => Ok(IfMatch::New),
        (Some(tag), None, 1) if !tag.is_empty() => Ok(std::str::from_utf8(tag)
            .ok()
            .and_then(EntityTag::parse)
            .map_or(IfMatch::Foreign, IfMatch::Tag)),
        _ => Err(Error::Malformed { header: "SIP-If-Match", expected: "a single entity-tag" }),
    }
}

/// Step 4.
fn granted(requested: Option<u32>, config: &Config) -> Result<u32, Error> {
    let seconds = requested.unwrap_or(config.default_expires_seconds.max(config.min_expires_seconds));
    if 0 < seconds && seconds < config.min_expires_seconds {
        return Err(Error::IntervalTooBrief { min_expires_seconds: config.min_expires_seconds });
    }
    Ok(seconds.min(config.max_expires_seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 3903 §6 step 4: never longer than asked, never 423 for 0, never wrapped.
    #[test]
    fn durations() {
        let config = Config { min_expires_seconds: 60, max_expires_seconds: 7200, ..Config::default() };
        let brief = Err(Error::IntervalTooBrief { min_expires_seconds: 60 });
        for (requested, expected) in [
            (None, Ok(3600)),
            (Some(0), Ok(0)),
            (Some(1), brief.clone()),
            (Some(59), brief),
            (Some(60), Ok(60)),
            (Some(7200), Ok(7200)),
            (Some(7201), Ok(7200)),
            (Some(u32::MAX), Ok(7200)),
        ] {
            assert_eq!(granted(requested, &config), expected, "{requested:?}");
        }
        let short = Config { max_expires_seconds: 600, ..config };
        assert_eq!(granted(None, &short), Ok(600));
    }
}
