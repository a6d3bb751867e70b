//! Messages of our own making.

use std::fmt::Display;
use std::net::IpAddr;

use bytes::Bytes;

use crate::chars::Span;
use crate::header::Place;
use crate::{HeaderName, Method, Request, StatusCode};

/// A response ready to be sent: its code and its octets.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub code: StatusCode,
    /// The whole message.
    pub bytes: Bytes,
}

/// Builds a response to a request (RFC 3261 §8.2.6): Via values (the top one with `received` and `rport` if given),
/// From, To with a tag, Call-ID, CSeq, and for a 100 Timestamp, are copied; then what is added; Content-Length last.
#[derive(Debug)]
pub struct ReplyBuilder {
    code: StatusCode,
    text: Vec<u8>,
    /// How long the status line is.
    status_line: usize,
}

impl ReplyBuilder {
    /// Begins a response. `to_tag` is added to To if it has none and the code is not 100.
    pub fn new(request: &Request, code: StatusCode, to_tag: &str) -> Self {
        Self::with_source(request, code, to_tag, None, None)
    }

    /// The same, with what the top Via must carry of the source (see [`crate::Via::received_for`]).
    pub fn with_source(
        request: &Request,
        code: StatusCode,
        to_tag: &str,
        received: Option<IpAddr>,
        rport: Option<u16>,
    ) -> Self {
        let octets = request.bytes();
        let mut builder =
            Self { code, text: Vec::with_capacity(512.max(request.fields_end() / 2)), status_line: 0 };
        builder.put(b"SIP/2.0 ");
        builder.put_display(code);
        builder.put(b" ");
        builder.put(code.reason().as_bytes());
        builder.put(b"\r\n");
        builder.status_line = builder.text.len();
        let mut is_top_via = true;
        for field in request.raw_fields() {
            match field.name {
                HeaderName::Via => {
                    builder.put(b"Via: ");
                    if std::mem::take(&mut is_top_via) {
                        builder.top_via(request, field.value(octets), received, rport);
                    } else {
                        builder.put(field.text(octets));
                    }
                    builder.put(b"\r\n");
                }
                HeaderName::To => {
                    builder.put(b"To: ");
                    builder.put(field.text(octets));
                    // §8.2.6.2: any response but 100 has a tag; one that is there stays (also in a malformed To, where
                    // it cannot be told).
                    if code != StatusCode::TRYING && request.to().tag().is_none() {
                        builder.put(b";tag=");
                        builder.put(to_tag.as_bytes());
                    }
                    builder.put(b"\r\n");
                }
                HeaderName::From | HeaderName::CallId | HeaderName::CSeq => {
                    builder.put_line(field.name, field.text(octets));
                }
                // §8.2.6.1.
                HeaderName::Timestamp if code == StatusCode::TRYING => {
                    builder.put_line(field.name, field.text(octets));
                }
                _ => {}
            }
        }
        builder
    }

    /// The line of the top Via: its first value changed, others that share the line as they stand.
    fn top_via(&mut self, request: &Request, line: Span, received: Option<IpAddr>, rport: Option<u16>) {
        let octets = request.bytes();
        let via = request.via_parts();
        let mut at = line.start;
        let mut edits: [Option<(Span, String)>; 2] = [None, None];
        if let Some(ip) = received {
            edits[0] = Some(match via.received {
                Some(Place { value: Some(value), .. }) => (value, ip.to_string()),
                _ => (Span::empty_at(via.params.start), format!(";received={ip}")),
            });
        }
        if let (Some(port), Some(Place { name, value })) = (rport, via.rport) {
            let place = Span { start: name.end, end: value.map_or(name.end, |v| v.end) };
            edits[1] = Some((place, format!("={port}")));
        }
        edits.sort_by_key(|edit| edit.as_ref().map(|(span, _)| span.start));
        for (span, text) in edits.iter().flatten() {
            self.put(Span { start: at, end: span.start }.octets(octets));
            self.put(text.as_bytes());
            at = span.end;
        }
        self.put(Span { start: at, end: line.end }.octets(octets));
    }

    /// Another reason phrase than the code's own.
    #[must_use]
    pub fn reason(mut self, phrase: &str) -> Self {
        let phrase: String = phrase.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let line = format!("SIP/2.0 {} {phrase}\r\n", self.code);
        self.text.splice(..self.status_line, line.bytes());
        self.status_line = line.len();
        self
    }

    /// Copies every line of a header field of the request, e.g. Record-Route.
    #[must_use]
    pub fn copy(mut self, request: &Request, name: HeaderName) -> Self {
        for value in request.lines(name) {
            self.put_line(name, value);
        }
        self
    }

    /// Adds a header field. A line end in the value becomes a space.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Display) -> Self {
        put_header(&mut self.text, name, value);
        self
    }

    /// Ends it with a body; without a body call [`ReplyBuilder::finish`].
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Reply {
        put_body(&mut self.text, content_type, body);
        Reply { code: self.code, bytes: self.text.into() }
    }

    /// Ends it without a body.
    pub fn finish(mut self) -> Reply {
        self.put(b"Content-Length: 0\r\n\r\n");
        Reply { code: self.code, bytes: self.text.into() }
    }

    fn put(&mut self, octets: &[u8]) {
        self.text.extend_from_slice(octets);
    }

    fn put_display(&mut self, value: impl Display) {
        use std::io::Write as _;
        // Writing to a Vec cannot fail.
        let _ = write!(self.text, "{value}");
    }

    fn put_line(&mut self, name: HeaderName, value: &[u8]) {
        self.put(name.as_str().as_bytes());
        self.put(b": ");
        self.put(value);
        self.put(b"\r\n");
    }
}

/// Builds a request, header field after header field, in the order of the calls.
#[derive(Debug)]
pub struct RequestBuilder {
    text: Vec<u8>,
}

impl RequestBuilder {
    /// Begins with the request line.
    pub fn new(method: Method<'_>, uri: &str) -> Self {
        let mut text = Vec::with_capacity(768);
        for part in [method.as_str(), " ", uri, " SIP/2.0\r\n"] {
            text.extend_from_slice(part.as_bytes());
        }
        Self { text }
    }

    /// Adds a header field. A line end in the value becomes a space.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Display) -> Self {
        put_header(&mut self.text, name, value);
        self
    }

    /// Adds a header field whose value is octets of a message (it may be folded).
    #[must_use]
    pub fn raw(mut self, name: HeaderName, value: &[u8]) -> Self {
        for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
            self.text.extend_from_slice(part);
        }
        self
    }

    /// Ends it with a body.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Bytes {
        put_body(&mut self.text, content_type, body);
        self.text.into()
    }

    /// Ends it without a body.
    pub fn finish(mut self) -> Bytes {
        self.text.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        self.text.into()
    }
}

fn put_header(out: &mut Vec<u8>, name: HeaderName, value: impl Display) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    let start = out.len();
    use std::io::Write as _;
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value}");
    for octet in out.iter_mut().skip(start) {
        if matches!(octet, b'\r' | b'\n') {
            *octet = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn put_body(out: &mut Vec<u8>, content_type: &str, body: &[u8]) {
    put_header(out, HeaderName::ContentType, content_type);
    put_header(out, HeaderName::ContentLength, body.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Response};

    // RFC 3261 §8.2.6; RFC 3581 §4.
    #[test]
    fn a_response_copies_what_section_8_2_6_names() {
        let text = "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP pc:1;rport;branch=z9hG4bK1, SIP/2.0/UDP x;branch=z9hG4bK0\r\n\
            v: SIP/2.0/UDP y\r\nf: <sip:a@h>;tag=1\r\nt: <sip:b@h>\r\ni: c\r\nCSeq: 1 INVITE\r\nTimestamp: 54\r\nSubject: x\r\n\
            Record-Route: <sip:r;lr>\r\n\r\n";
        let request = Request::parse(Bytes::from(text), &Limits::default()).expect("a request");
        let reply =
            ReplyBuilder::with_source(&request, StatusCode::RINGING, "tt", "192.0.2.9".parse().ok(), Some(7))
                .copy(&request, HeaderName::RecordRoute)
                .header(HeaderName::Contact, "<sip:b@h>\r\nForged: 1")
                .body("text/plain", b"hi");
        assert_eq!(
            String::from_utf8_lossy(&reply.bytes),
            "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP pc:1;received=192.0.2.9;rport=7;branch=z9hG4bK1, SIP/2.0/UDP x;branch=z9hG4bK0\r\n\
            Via: SIP/2.0/UDP y\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=tt\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
            Record-Route: <sip:r;lr>\r\nContact: <sip:b@h>  Forged: 1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
        );
        let trying = ReplyBuilder::new(&request, StatusCode::TRYING, "tt").reason("Wait a\r\nbit").finish();
        let trying = Response::parse(trying.bytes, &Limits::default()).expect("a response");
        assert_eq!((trying.reason(), trying.to().tag()), (&b"Wait a  bit"[..], None));
        assert_eq!(trying.header(HeaderName::Timestamp), Some(&b"54"[..]));
    }
}
