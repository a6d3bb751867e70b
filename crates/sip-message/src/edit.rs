//! Rewriting a message on its way through: a list of changes, then one copy of all the rest.

use std::fmt::{self, Arguments, Write};
use std::net::IpAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::chars::Span;
use crate::header::{Place, value_spans};
use crate::index::Field;
use crate::{HeaderName, Message, Request, scan};

/// Changes to a message. Nothing is written until [`Edit::finish`]; what is not named stays octet for octet.
#[derive(Debug)]
pub struct Edit<'m> {
    message: &'m Message,
    /// The text of all changes.
    scratch: Vec<u8>,
    changes: SmallVec<[Change; 12]>,
    pops: SmallVec<[Pop; 3]>,
}

/// Octets `at` are replaced by the text at `text` of the scratch; an insertion replaces nothing.
#[derive(Clone, Copy, Debug)]
struct Change {
    at: Span,
    text: Span,
    /// Among changes at one place, the higher rank goes first.
    rank: u16,
}

#[derive(Clone, Copy, Debug)]
struct Pop {
    name: HeaderName,
    first: usize,
    last: usize,
}

impl<'m> Edit<'m> {
    /// No changes yet.
    pub fn new(message: &'m Message) -> Self {
        Self { message, scratch: Vec::with_capacity(384), changes: SmallVec::new(), pops: SmallVec::new() }
    }

    /// Replaces the Request-URI. `request` is the message that is edited.
    pub fn request_uri(&mut self, request: &Request, uri: &str) -> &mut Self {
        let text = self.text(uri);
        self.change(request.uri_span(), text)
    }

    /// Inserts a line before the first line of that name, or as the first header field if there is none. Several
    /// insertions at one place stand in the order of the calls reversed (each goes on top).
    pub fn push(&mut self, name: HeaderName, value: Arguments<'_>) -> &mut Self {
        let at = match self.first(name) {
            Some(field) => field.line().start as usize,
            None => self.message.fields_start(),
        };
        let text = self.line(name, value);
        self.change(Span::new(at, at), text)
    }

    /// Adds a line after the last header field.
    pub fn append(&mut self, name: HeaderName, value: Arguments<'_>) -> &mut Self {
        let at = self.message.fields_end();
        let text = self.line(name, value);
        // Appended lines stand in the order of the calls: each later one ranks lower.
        let rank = 0;
        self.changes.push(Change { at: Span::new(at, at), text, rank });
        self
    }

    /// Replaces the value of the first line of that name and removes its other lines; appends it if there is none.
    pub fn set(&mut self, name: HeaderName, value: Arguments<'_>) -> &mut Self {
        let Some(first) = self.first(name) else { return self.append(name, value) };
        let text = self.write(value);
        self.change(first.value(self.message.bytes()), text);
        if self.message.is_repeated(name) {
            self.remove_lines(name, 1);
        }
        self
    }

    /// Removes the first comma-separated value of a list header field (a whole line if it is alone in it); called
    /// again, the next one.
    pub fn pop(&mut self, name: HeaderName) -> &mut Self {
        self.pops_of(name).first += 1;
        self
    }

    /// Removes the last value of a list header field.
    pub fn pop_last(&mut self, name: HeaderName) -> &mut Self {
        self.pops_of(name).last += 1;
        self
    }

    /// Removes every line of that name.
    pub fn remove(&mut self, name: HeaderName) -> &mut Self {
        self.remove_lines(name, 0);
        self
    }

    /// Removes the `index`th line (from 0) of that name.
    pub fn remove_line(&mut self, name: HeaderName, index: usize) -> &mut Self {
        if let Some(field) = self.fields(name).nth(index) {
            self.change(field.line(), Span::default());
        }
        self
    }

    /// Sets `received` and `rport` of the top Via (RFC 3261 §18.2.1, RFC 3581 §4). `None` leaves it.
    pub fn received(&mut self, received: Option<IpAddr>, rport: Option<u16>) -> &mut Self {
        let via = self.message.via_parts();
        if let (Some(port), Some(Place { name, value })) = (rport, via.rport) {
            let at = Span { start: name.end, end: value.map_or(name.end, |v| v.end) };
            let text = self.put(|out| {
                out.push(b'=');
                out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
            });
            self.change(at, text);
        }
        if let Some(ip) = received {
            match via.received {
                // Whatever stands there was not put there by us.
                Some(Place { value: Some(value), .. }) => {
                    let text = self.put(|out| push_ip(out, ip));
                    self.change(value, text);
                }
                _ => {
                    // Right after sent-by and its port, or the first parameter's place: where parameters begin.
                    let at = via.params.start;
                    let text = self.put(|out| {
                        out.extend_from_slice(b";received=");
                        push_ip(out, ip);
                    });
                    self.change(Span::empty_at(at), text);
                }
            }
        }
        self
    }

    /// Writes the message: one exact buffer.
    pub fn finish(&mut self) -> Bytes {
        self.resolve_pops();
        self.changes.sort_by_key(|c| (c.at.start, c.at.end, u16::MAX - c.rank));
        let end = self.message.body_span().end;
        let (mut at, mut length) = (0, 0);
        for change in &mut self.changes {
            // A change within what another one removed keeps its text only.
            change.at.start = change.at.start.max(at);
            change.at.end = change.at.end.max(change.at.start);
            length += Span { start: at, end: change.at.start }.len() + change.text.len();
            at = change.at.end;
        }
        // Exact, so that the buffer becomes `Bytes` as it is.
        let mut out = Vec::with_capacity(length + Span { start: at, end }.len());
        let (octets, scratch): (&[u8], &[u8]) = (self.message.bytes(), &self.scratch);
        let mut at = 0;
        for change in &self.changes {
            out.extend_from_slice(Span { start: at, end: change.at.start }.octets(octets));
            out.extend_from_slice(change.text.octets(scratch));
            at = change.at.end;
        }
        out.extend_from_slice(Span { start: at, end }.octets(octets));
        out.into()
    }

    fn fields(&self, name: HeaderName) -> impl Iterator<Item = &'m Field> + use<'m> {
        self.message.fields_of(name)
    }

    fn first(&self, name: HeaderName) -> Option<&'m Field> {
        self.message.first_field(name)
    }

    fn change(&mut self, at: Span, text: Span) -> &mut Self {
        let rank = u16::try_from(self.changes.len() + 1).unwrap_or(u16::MAX);
        self.changes.push(Change { at, text, rank });
        self
    }

    fn remove_lines(&mut self, name: HeaderName, from: usize) {
        for field in self.fields(name).skip(from) {
            self.change(field.line(), Span::default());
        }
    }

    fn pops_of(&mut self, name: HeaderName) -> &mut Pop {
        let index = self.pops.iter().position(|p| p.name == name).unwrap_or_else(|| {
            self.pops.push(Pop { name, first: 0, last: 0 });
            self.pops.len() - 1
        });
        // `index` was found or just pushed.
        #[allow(clippy::indexing_slicing)]
        &mut self.pops[index]
    }

    /// Turns the numbers of values to remove into ranges of octets.
    fn resolve_pops(&mut self) {
        let octets: &[u8] = self.message.bytes();
        while let Some(Pop { name, first, last }) = self.pops.pop() {
            let count = |field: &Field| value_spans(octets, field.untrimmed()).count();
            let total: usize = if last == 0 { usize::MAX } else { self.fields(name).map(count).sum() };
            let keep = first.min(total)..total.saturating_sub(last);
            let mut number = 0;
            for field in self.fields(name) {
                if number >= keep.start && last == 0 {
                    break;
                }
                let mut kept: Option<Span> = None;
                let mut is_whole = true;
                for value in value_spans(octets, field.untrimmed()) {
                    if keep.contains(&number) {
                        kept = Some(Span { start: kept.map_or(value.start, |k| k.start), end: value.end });
                    } else {
                        is_whole = false;
                    }
                    number += 1;
                }
                match kept {
                    Some(_) if is_whole => {}
                    Some(kept) => {
                        let whole = field.value(octets);
                        self.change(Span { start: whole.start, end: kept.start }, Span::default());
                        self.change(Span { start: kept.end, end: whole.end }, Span::default());
                    }
                    None => {
                        self.change(field.line(), Span::default());
                    }
                }
            }
        }
    }

    fn line(&mut self, name: HeaderName, value: Arguments<'_>) -> Span {
        let start = self.scratch.len();
        self.scratch.extend_from_slice(name.as_str().as_bytes());
        self.scratch.extend_from_slice(b": ");
        self.write(value);
        self.scratch.extend_from_slice(b"\r\n");
        Span::new(start, self.scratch.len())
    }

    /// A value at the end of the scratch.
    fn write(&mut self, value: Arguments<'_>) -> Span {
        match value.as_str() {
            Some(text) => self.text(text),
            // Writing to a Vec cannot fail but by the formatted value's own error: then what it wrote so far stands.
            None => self.in_one_line(|out| {
                let _ = Formatted(out).write_fmt(value);
            }),
        }
    }

    fn text(&mut self, text: &str) -> Span {
        self.in_one_line(|out| out.extend_from_slice(text.as_bytes()))
    }

    /// What is written, at the end of the scratch; a line end in it would forge a header field, so it becomes a space.
    fn in_one_line(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let text = self.put(write);
        let written = self.scratch.get_mut(text.start as usize..).unwrap_or_default();
        // Asked first, as it costs less: there is hardly ever a control character.
        if scan::any(written, |b| b < b' ') {
            for octet in written.iter_mut().filter(|b| matches!(**b, b'\r' | b'\n')) {
                *octet = b' ';
            }
        }
        text
    }

    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.scratch.len();
        write(&mut self.scratch);
        Span::new(start, self.scratch.len())
    }
}

/// Where formatted text goes.
struct Formatted<'a>(&'a mut Vec<u8>);

impl Write for Formatted<'_> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// `ADDRESS`, as in `received`.
fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let [first, rest @ ..] = ip.octets();
            push_octet(out, first);
            for octet in rest {
                out.push(b'.');
                push_octet(out, octet);
            }
        }
        IpAddr::V6(ip) => {
            // Writing to a Vec cannot fail.
            let _ = write!(Formatted(out), "{ip}");
        }
    }
}

/// A decimal number of up to three digits.
fn push_octet(out: &mut Vec<u8>, octet: u8) {
    let digit = |n: u8| b'0' + n % 10;
    if octet >= 100 {
        out.push(digit(octet / 100));
    }
    if octet >= 10 {
        out.push(digit(octet / 10));
    }
    out.push(digit(octet));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    fn request(text: &str) -> Request {
        let text = text.trim_start().replace("\n", "\r\n");
        Request::parse(Bytes::from(text), &Limits::default()).unwrap_or_else(|e| panic!("{e}"))
    }

    const INVITE: &str = "
INVITE sip:bob@biloxi.test SIP/2.0
v: SIP/2.0/UDP pc33.atlanta.test:5061;rport;branch=z9hG4bK776 , SIP/2.0/TCP x;branch=z9hG4bK2
Route: <sip:p1;lr>, <sip:p2;lr>
X-Odd :  kept
  folded
Route: <sip:p3;lr>
Max-Forwards: 0070
to: Bob <sip:bob@biloxi.test>
From: Alice <sip:alice@atlanta.test>;tag=1928301774
Call-ID: a84b4c76e66710
CSeq: 314159 INVITE
Content-Length: 4

body";

    #[test]
    fn addresses_are_written_as_they_display() {
        let octets = (0..=255).map(|octet| IpAddr::from([octet, 0, 255 - octet, octet]));
        for ip in octets.chain(["2001:db8::1".parse().expect("an address")]) {
            let mut text = Vec::new();
            push_ip(&mut text, ip);
            assert_eq!(String::from_utf8_lossy(&text), ip.to_string());
        }
    }

    #[test]
    fn nothing_edited_is_nothing_changed() {
        let request = request(INVITE);
        assert_eq!(Edit::new(&request).finish(), request.bytes());
    }

    // RFC 3261 §16.6 as one edit; §18.2.1 and RFC 3581 §4 for the Via that stays.
    #[test]
    fn a_forwarded_request() {
        let request = request(INVITE);
        let bytes = Edit::new(&request)
            .request_uri(&request, "sip:bob@192.0.2.4")
            .received("192.0.2.1".parse().ok(), Some(4711))
            .set(HeaderName::MaxForwards, format_args!("{}", 69))
            .pop(HeaderName::Route)
            .push(HeaderName::RecordRoute, format_args!("<sip:us;lr>"))
            .push(HeaderName::Via, format_args!("SIP/2.0/UDP us;branch=z9hG4bK9"))
            .append(HeaderName::Path, format_args!("a"))
            .append(HeaderName::Path, format_args!("b\r\nX: forged"))
            .finish();
        let expected = "
INVITE sip:bob@192.0.2.4 SIP/2.0
Via: SIP/2.0/UDP us;branch=z9hG4bK9
Record-Route: <sip:us;lr>
v: SIP/2.0/UDP pc33.atlanta.test:5061;received=192.0.2.1;rport=4711;branch=z9hG4bK776 , SIP/2.0/TCP x;branch=z9hG4bK2
Route: <sip:p2;lr>
X-Odd :  kept
  folded
Route: <sip:p3;lr>
Max-Forwards: 69
to: Bob <sip:bob@biloxi.test>
From: Alice <sip:alice@atlanta.test>;tag=1928301774
Call-ID: a84b4c76e66710
CSeq: 314159 INVITE
Content-Length: 4
Path: a
Path: b  X: forged

body";
        assert_eq!(String::from_utf8_lossy(&bytes), expected.trim_start().replace('\n', "\r\n"));
    }

    #[test]
    fn values_are_popped_from_both_ends() {
        let request = request(INVITE);
        let routes = |edit: &mut Edit<'_>| {
            let edited = Request::parse(edit.finish(), &Limits::default()).expect("a request");
            let values: Vec<String> =
                edited.values(HeaderName::Route).map(|v| String::from_utf8_lossy(v).into_owned()).collect();
            values.join(" ")
        };
        assert_eq!(routes(Edit::new(&request).pop(HeaderName::Route).pop(HeaderName::Route)), "<sip:p3;lr>");
        assert_eq!(routes(Edit::new(&request).pop_last(HeaderName::Route)), "<sip:p1;lr> <sip:p2;lr>");
        assert_eq!(
            routes(Edit::new(&request).pop_last(HeaderName::Route).pop(HeaderName::Route)),
            "<sip:p2;lr>"
        );
        assert_eq!(
            routes(Edit::new(&request).pop_last(HeaderName::Route).pop_last(HeaderName::Route)),
            "<sip:p1;lr>"
        );
        assert_eq!(routes(Edit::new(&request).remove(HeaderName::Route)), "");
        assert_eq!(routes(Edit::new(&request).remove_line(HeaderName::Route, 0)), "<sip:p3;lr>");
        let popped = Edit::new(&request).pop(HeaderName::Via).finish();
        assert!(String::from_utf8_lossy(&popped).contains("\r\nv: SIP/2.0/TCP x;branch=z9hG4bK2\r\n"));
    }
}
