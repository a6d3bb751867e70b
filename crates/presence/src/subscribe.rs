//! SUBSCRIBE requests, read (RFC 6665 §4.2.1.1, §4.2.1.4; RFC 3856 §6.1 to §6.5).

use sip_message::Request;

use crate::headers::{self, Body};
use crate::{Config, Error, PIDF};

/// RFC 6665 §4.2.1.1: only what is shorter than an hour may be refused as too brief.
const HOUR_SECONDS: u32 = 3600;

/// What a SUBSCRIBE wants.
#[derive(Debug)]
pub(crate) struct SubscribeRequest<'a> {
    /// The Event header field's `id`.
    pub(crate) id: Option<&'a str>,
    /// The duration granted: 0 is a poll or an unsubscription.
    pub(crate) expires_seconds: u32,
}

impl<'a> SubscribeRequest<'a> {
    pub(crate) fn read(request: &'a Request, config: &Config) -> Result<Self, Error> {
        headers::check_require(request)?;
        let id = headers::event(request)?.id();
        let expires_seconds = granted(headers::expires(request)?, config)?;
        if sip_event::accepted(request, &[PIDF]).is_none() {
            return Err(Error::NotAcceptable { content_type: PIDF });
        }
        // RFC 3856 §6.3: a body would be a filter; we know none.
        match headers::body(request, "")? {
            Body::Absent | Body::Understood(_) => Ok(Self { id, expires_seconds }),
        }
    }
}

fn granted(requested: Option<u32>, config: &Config) -> Result<u32, Error> {
    // RFC 3856 §6.4: the package's default is an hour; a notifier may shorten it, never lengthen (RFC 6665 §4.2.1.1).
    let seconds = requested.unwrap_or(config.default_expires_seconds.min(HOUR_SECONDS));
    let is_brief = 0 < seconds && seconds < HOUR_SECONDS && seconds < config.min_expires_seconds;
    if is_brief && requested.is_some() {
        return Err(Error::IntervalTooBrief { min_expires_seconds: config.min_expires_seconds });
    }
    Ok(seconds.min(config.max_expires_seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 6665 §4.2.1.1, RFC 3856 §6.4.
    #[test]
    fn durations() {
        let config = Config { min_expires_seconds: 60, max_expires_seconds: 7200, ..Config::default() };
        let brief = Err(Error::IntervalTooBrief { min_expires_seconds: 60 });
        for (requested, expected) in [
            (None, Ok(3600)),
            (Some(0), Ok(0)),
            (Some(59), brief),
            (Some(60), Ok(60)),
            (Some(7201), Ok(7200)),
            (Some(u32::MAX), Ok(7200)),
        ] {
            assert_eq!(granted(requested, &config), expected, "{requested:?}");
        }
        // An hour is never too brief.
        let long = Config { min_expires_seconds: 4000, ..config };
        assert_eq!(granted(Some(3600), &long), Ok(3600));
        assert_eq!(granted(Some(3599), &long), Err(Error::IntervalTooBrief { min_expires_seconds: 4000 }));
        let generous = Config { default_expires_seconds: 7000, ..config };
        assert_eq!(granted(None, &generous), Ok(3600));
    }
}
