//! The requests that a transaction sends of its own: CANCEL, and the ACK for a non-2xx.
//!
//! Both are rare beside the request that they follow, so that request is read again from the octets that were sent.

use bytes::Bytes;
use sip_message::{HeaderName, Limits, Method, Request, RequestBuilder, Response};

/// The ACK for a non-2xx response (RFC 3261 §17.1.1.3): To from the response, all else from the INVITE.
pub(super) fn ack(invite: &Bytes, response: &Response) -> Option<Bytes> {
    let to = response.header(HeaderName::To)?;
    follow_up(invite, Method::Ack, Some(to)).map(RequestBuilder::finish)
}

/// The CANCEL of an INVITE (§9.1): one Via, Route as the INVITE has it, no Require or Proxy-Require.
pub(super) fn cancel(invite: &Bytes, reason: Option<&str>) -> Option<Bytes> {
    let builder = follow_up(invite, Method::Cancel, None)?;
    Some(match reason {
        Some(reason) => builder.header(HeaderName::Reason, reason).finish(),
        None => builder.finish(),
    })
}

fn follow_up(sent: &Bytes, method: Method<'_>, to: Option<&[u8]>) -> Option<RequestBuilder> {
    let request = Request::parse(sent.clone(), &Limits::default()).ok()?;
    let mut builder = RequestBuilder::new(method, request.uri_text());
    builder = builder.raw(HeaderName::Via, request.values(HeaderName::Via).next()?);
    for route in request.lines(HeaderName::Route) {
        builder = builder.raw(HeaderName::Route, route);
    }
    let to = to.or_else(|| request.header(HeaderName::To))?;
    Some(
        builder
            .header(HeaderName::MaxForwards, 70)
            .raw(HeaderName::From, request.header(HeaderName::From)?)
            .raw(HeaderName::To, to)
            .header(HeaderName::CallId, request.call_id())
            .header(HeaderName::CSeq, format_args!("{} {method}", request.cseq().number)),
    )
}
