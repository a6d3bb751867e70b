//! What PUBLISH and SUBSCRIBE have in common: header fields that decide whether a request is understood at all.

use sip_message::{EventType, HeaderName, Message, Request};

use crate::{Error, PACKAGE};

/// No extension that a request could require is supported (RFC 3261 §8.2.2.3).
pub(crate) fn check_require(request: &Request) -> Result<(), Error> {
    let required = || request.values(HeaderName::Require).map(String::from_utf8_lossy);
    match required().next() {
        None => Ok(()),
        Some(_) => Err(Error::BadExtension { unsupported: required().collect::<Vec<_>>().join(", ") }),
    }
}

/// The Event header field: our package, once (RFC 6665 §8.2.1: exactly one event type). Its parameters other than `id` do
/// not matter (RFC 3856 §6.2).
pub(crate) fn event(request: &Request) -> Result<EventType<'_>, Error> {
    let bad = Error::BadEvent { allow_events: PACKAGE };
    let Some(value) = request.header(HeaderName::Event) else { return Err(bad) };
    let malformed = Error::Malformed { header: "Event", expected: "exactly one event type" };
    if request.count(HeaderName::Event) > 1 {
        return Err(malformed);
    }
    let event = EventType::parse(value).map_err(|_| malformed)?;
    // Byte by byte (RFC 6665 §8.2.1): `Presence` is another package.
    if event.package == PACKAGE { Ok(event) } else { Err(bad) }
}

/// The value of Expires: `None` without the header field. A number beyond 32 bits is the greatest (RFC 3261 §20.19).
pub(crate) fn expires(request: &Request) -> Result<Option<u32>, Error> {
    match request.number(HeaderName::Expires) {
        None => Ok(None),
        Some(Ok(seconds)) => Ok(Some(seconds)),
        Some(Err(_)) => Err(Error::Malformed { header: "Expires", expected: "a number of seconds" }),
    }
}

/// The seconds of a Retry-After, which may be followed by a comment and parameters (RFC 3261 §20.33).
pub(crate) fn retry_after_seconds(message: &Message) -> Option<u32> {
    let text = message.text(HeaderName::RetryAfter)?;
    let digits = text.find(|c: char| !c.is_ascii_digit()).map_or(text, |end| &text[..end]);
    match digits {
        "" => None,
        digits => Some(digits.parse().unwrap_or(u32::MAX)),
    }
}

/// A body as its header fields describe it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    /// None, or one that may be ignored and has to be.
    Absent,
    /// Of a type that is understood.
    Understood(&'a [u8]),
}

/// Whether the body can be read (RFC 3261 §8.2.3): its type, which is compared without case and parameters, and its
/// encoding. What is not understood is an error, unless Content-Disposition says that it may be ignored (§20.11).
pub(crate) fn body<'a>(request: &'a Request, understood: &'static str) -> Result<Body<'a>, Error> {
    let body = request.body();
    if body.is_empty() {
        return Ok(Body::Absent);
    }
    let type_fits = request
        .text(HeaderName::ContentType)
        .and_then(|value| value.split(';').next())
        .is_some_and(|media| !understood.is_empty() && media.trim().eq_ignore_ascii_case(understood));
    let encoding_fits =
        request.values(HeaderName::ContentEncoding).all(|coding| coding.eq_ignore_ascii_case(b"identity"));
    match (type_fits, encoding_fits) {
        (true, true) => Ok(Body::Understood(body)),
        _ if is_optional(request) => Ok(Body::Absent),
        (false, _) => Err(Error::UnsupportedMediaType { accept: understood }),
        (true, false) => Err(Error::UnsupportedEncoding { accept_encoding: "identity" }),
    }
}

fn is_optional(request: &Request) -> bool {
    request.text(HeaderName::ContentDisposition).is_some_and(|value| {
        value.split(';').skip(1).filter_map(|p| p.split_once('=')).any(|(name, handling)| {
            name.trim().eq_ignore_ascii_case("handling") && handling.trim().eq_ignore_ascii_case("optional")
        })
    })
}
