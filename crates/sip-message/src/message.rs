//! A received message: one buffer and an index of its header fields.

use std::ops::Deref;

use bytes::Bytes;

use crate::chars::{self, Span};
use crate::header::{CSeqParts, NameAddrParts, ViaParts};
use crate::index::{Field, Index};
use crate::uri::UriParts;
use crate::{
    CSeq, ContactList, HeaderName, Limits, Malformed, Method, NameAddr, ParseError, StatusCode, Uri, Values,
    Via, scan,
};

/// What requests and responses have in common. Top Via, From, To, Call-ID and CSeq were read once, when the message
/// came in, and are there.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    index: Index,
    body: Span,
    start: StartLine,
    via: ViaParts,
    from: NameAddrParts,
    to: NameAddrParts,
    call_id: Span,
    cseq: CSeqParts,
}

/// What the start line says.
#[derive(Clone, Copy, Debug)]
enum StartLine {
    Request { method: Span, uri: Span, parts: UriParts },
    Response { code: StatusCode, reason: Span },
}

/// One header field line.
#[derive(Clone, Copy, Debug)]
pub struct HeaderField<'a> {
    /// Its name.
    pub name: HeaderName,
    /// The name as written.
    pub name_bytes: &'a [u8],
    /// Its value, trimmed; folds not removed.
    pub value: &'a [u8],
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request(Message);

/// A response.
#[derive(Clone, Debug)]
pub struct Response(Message);

/// A message of either kind, or why it is none.
pub(crate) enum Read {
    Request(Request),
    Response(Response),
    Malformed(Malformed),
}

impl Read {
    /// Reads a whole message.
    #[inline]
    pub(crate) fn message(bytes: Bytes, limits: &Limits) -> Self {
        match Message::whole(bytes, limits) {
            Ok(message) if message.is_request() => Self::Request(Request(message)),
            Ok(message) => Self::Response(Response(message)),
            Err(malformed) => Self::Malformed(malformed),
        }
    }
}

impl StartLine {
    fn read(octets: &[u8], index: &mut Index) -> Self {
        let line = index.start_line.octets(octets);
        if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
            return Self::status_line(octets, index);
        }
        // Request-Line = Method SP Request-URI SP SIP-Version (§7.1): two single spaces, none elsewhere.
        let first = scan::find(b' ', line).unwrap_or(line.len());
        let after_method = line.get(first + 1..).unwrap_or(&[]);
        let last = scan::find(b' ', after_method).map_or(line.len(), |length| first + 1 + length);
        let method = Span::new(0, first);
        let uri = Span::new((first + 1).min(last), last);
        let version = line.get(last + 1..);
        let is_plain = version.is_some_and(|v| v == b"SIP/2.0");
        if !chars::is_token(method.octets(octets))
            || (!is_plain && version.is_some_and(|v| v.contains(&b' ')))
        {
            index.fault("", "a method, a URI and a version in the start line, single spaces between");
        }
        match version {
            _ if is_plain => {}
            Some(version) if version.eq_ignore_ascii_case(b"SIP/2.0") => {}
            Some(version) if version.get(..4).is_some_and(|v| v.eq_ignore_ascii_case(b"SIP/")) => {
                index.fault_with(StatusCode::VERSION_NOT_SUPPORTED, "SIP/2.0");
            }
            _ => index.fault("", "SIP/2.0 at the end of the start line"),
        }
        let parts = UriParts::split(uri.octets(octets)).unwrap_or_else(|what| {
            index.fault("", what);
            UriParts::opaque(uri.octets(octets).len())
        });
        if parts.has_headers() {
            // §19.1.1: header components must not stand in a Request-URI (RFC 4475 §3.1.2.11).
            index.fault("", "a Request-URI without header fields");
        }
        Self::Request { method, uri, parts }
    }

    /// Status-Line = SIP-Version SP Status-Code SP Reason-Phrase (§7.2); an empty phrase may come without its space.
    fn status_line(octets: &[u8], index: &mut Index) -> Self {
        let line = index.start_line.octets(octets);
        let code = line
            .get(8..11)
            .filter(|_| line.get(..8).is_some_and(|v| chars::is_text(v, b"SIP/2.0 ")))
            .filter(|_| matches!(line.get(11), None | Some(b' ')))
            .and_then(chars::digits)
            .and_then(|n| u16::try_from(n).ok())
            .and_then(StatusCode::new);
        if code.is_none() {
            index.fault("", "SIP/2.0 and a status code of three digits");
        }
        let reason = Span::new(12.min(line.len()), line.len());
        Self::Response { code: code.unwrap_or(StatusCode::SERVER_INTERNAL_ERROR), reason }
    }
}

/// The body as Content-Length delimits it (§18.3): of a datagram, what is beyond it is discarded, less is a fault, and
/// without it the body is the rest.
fn body(octets: &[u8], index: &mut Index) -> Span {
    let rest = octets.len().saturating_sub(index.body);
    let length = match index.content_length(octets) {
        None => rest,
        Some(Ok(length)) if length <= rest => length,
        Some(Ok(_)) => {
            index.fault("Content-Length", "no more than the octets that there are");
            rest
        }
        Some(Err(error)) => {
            index.fault.get_or_insert(error);
            rest
        }
    };
    Span::new(index.body, index.body + length)
}

/// Reads the header fields that every message needs, and notes whether a response could still be built.
struct Reader<'a> {
    octets: &'a [u8],
    index: &'a mut Index,
    answerable: bool,
}

impl Reader<'_> {
    /// The line of a header field that must be there once (RFC 4475 §3.3.8).
    fn single(&mut self, name: HeaderName) -> Option<Field> {
        let first = self.index.first(name).copied();
        if first.is_none() || self.index.is_repeated(name) {
            self.answerable &= first.is_some();
            self.index.fault(name.as_str(), "the header field, once");
        }
        first
    }

    fn via(&mut self, via: &mut ViaParts) {
        let Some(line) = self.index.first(HeaderName::Via).map(Field::untrimmed) else {
            self.answerable = false;
            return self.index.fault("Via", "the header field");
        };
        if let Err(what) = via.read(self.octets, line) {
            self.index.fault("Via", what);
            self.answerable &= via.has_sent_by();
        }
    }

    fn name_addr(&mut self, name: HeaderName, parts: &mut NameAddrParts) {
        if let Some(field) = self.single(name)
            && let Err(what) = parts.read(self.octets, field.untrimmed())
        {
            self.index.fault(name.as_str(), what);
        }
    }

    fn call_id(&mut self) -> Span {
        let Some(field) = self.single(HeaderName::CallId) else { return Span::default() };
        let value = field.value(self.octets);
        // callid = word [ "@" word ]: no white space, visible ASCII (§25.1).
        if value.is_empty() || scan::any(value.octets(self.octets), |b| !b.is_ascii_graphic()) {
            self.index.fault("Call-ID", "a word without white space");
        }
        value
    }

    fn cseq(&mut self) -> CSeqParts {
        let Some(field) = self.single(HeaderName::CSeq) else { return CSeqParts::default() };
        CSeqParts::read(self.octets, field.untrimmed()).unwrap_or_else(|what| {
            self.index.fault("CSeq", what);
            CSeqParts::default()
        })
    }

    /// §20.22: 0 to 255. It may be absent (RFC 2543); said twice it is ambiguous.
    fn max_forwards(&mut self) {
        let valid = match self.index.first(HeaderName::MaxForwards) {
            None => true,
            Some(_) if self.index.is_repeated(HeaderName::MaxForwards) => false,
            Some(field) => chars::digits(field.text(self.octets)).is_some_and(|n| n <= 255),
        };
        if !valid {
            self.index.fault("Max-Forwards", "one number from 0 to 255");
        }
    }
}

impl Message {
    fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// Reads a whole message. Without Content-Length the body is all that follows, as of a datagram (§18.3).
    fn whole(bytes: Bytes, limits: &Limits) -> Result<Self, Malformed> {
        let mut message = Self::unread(bytes);
        let answerable = message.read(limits);
        let Some(error) = message.index.fault.take() else { return Ok(message) };
        let request = Request(message);
        // An ACK gets no response (§17).
        let answerable = answerable && request.is_request() && request.method() != Method::Ack;
        Err(Malformed { error, request: answerable.then(|| Box::new(request)) })
    }

    /// Octets of which nothing was read yet.
    fn unread(bytes: Bytes) -> Self {
        Self {
            bytes,
            index: Index::default(),
            body: Span::default(),
            start: StartLine::Response { code: StatusCode::SERVER_INTERNAL_ERROR, reason: Span::default() },
            via: ViaParts::default(),
            from: NameAddrParts::default(),
            to: NameAddrParts::default(),
            call_id: Span::default(),
            cseq: CSeqParts::default(),
        }
    }

    /// Reads all of what is unread, in place: to move a message costs as much as to read a header field. The first fault
    /// is in the index; returns whether a response could be built nevertheless.
    fn read(&mut self, limits: &Limits) -> bool {
        let Self { bytes, index, .. } = self;
        index.read(bytes, limits);
        if bytes.len() > limits.message_bytes_max.min(chars::OFFSET_MAX) {
            index.fault_with(StatusCode::MESSAGE_TOO_LARGE, "a message of at most message_bytes_max octets");
        }
        self.start = StartLine::read(bytes, index);
        self.body = body(bytes, index);
        let mut reader = Reader { octets: bytes, index, answerable: true };
        reader.via(&mut self.via);
        reader.name_addr(HeaderName::From, &mut self.from);
        reader.name_addr(HeaderName::To, &mut self.to);
        self.call_id = reader.call_id();
        self.cseq = reader.cseq();
        reader.max_forwards();
        let answerable = reader.answerable;
        if let StartLine::Request { method, .. } = self.start
            && method.octets(bytes) != self.cseq.method.octets(bytes)
        {
            // §8.1.1.5, RFC 4475 §3.1.2.17.
            index.fault("CSeq", "the method of the request");
        }
        answerable
    }

    /// The whole message as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The body as Content-Length delimits it.
    pub fn body(&self) -> &[u8] {
        self.body.octets(&self.bytes)
    }

    /// The body, sharing the buffer.
    pub fn body_bytes(&self) -> Bytes {
        self.bytes.slice_ref(self.body())
    }

    /// All header field lines in order.
    pub fn fields(&self) -> impl Iterator<Item = HeaderField<'_>> {
        self.index.fields.iter().map(|field| HeaderField {
            name: field.name,
            name_bytes: field.name_bytes(&self.bytes),
            value: field.text(&self.bytes),
        })
    }

    /// The value of the first header field line of a name, trimmed.
    pub fn header(&self, name: HeaderName) -> Option<&[u8]> {
        self.index.first(name).map(|field| field.text(&self.bytes))
    }

    /// The values of every line of a name, each trimmed and whole.
    pub fn lines(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.index.lines(name).map(|f| f.text(&self.bytes))
    }

    /// The value of the first line of a name as text; `None` also if it is not UTF-8.
    pub fn text(&self, name: HeaderName) -> Option<&str> {
        self.header(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// How many header field lines of a name there are.
    pub fn count(&self, name: HeaderName) -> usize {
        self.index.lines(name).count()
    }

    /// The values of every line of a header field that we keep no name for, by its name in any case.
    pub fn other<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields()
            .filter(move |f| {
                f.name == HeaderName::Other && f.name_bytes.eq_ignore_ascii_case(name.as_bytes())
            })
            .map(|f| f.value)
    }

    /// The comma-separated values over all lines of a header field that is a list (Via, Route, Contact, Require, …).
    pub fn values(&self, name: HeaderName) -> Values<'_> {
        Values::new(&self.bytes, self.index.around(name), name)
    }

    /// Whether a list of tokens (Require, Supported, Allow, …) holds one, compared without case.
    pub fn has_token(&self, name: HeaderName, token: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The number in a header field (Expires, Max-Forwards, …): `Some(Err)` if it is there but not 1*DIGIT; a number
    /// beyond 2^32-1 is `u32::MAX` (§20.19).
    pub fn number(&self, name: HeaderName) -> Option<Result<u32, ParseError>> {
        let value = self.header(name)?;
        Some(match chars::digits(value) {
            Some(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
            None => Err(ParseError::bad_request(name.as_str(), "a number")),
        })
    }

    /// The top Via.
    pub fn via(&self) -> Via<'_> {
        self.via.view(&self.bytes)
    }

    /// From.
    pub fn from(&self) -> NameAddr<'_> {
        self.from.view(&self.bytes)
    }

    /// To.
    pub fn to(&self) -> NameAddr<'_> {
        self.to.view(&self.bytes)
    }

    /// Call-ID as text.
    pub fn call_id(&self) -> &str {
        self.call_id.text(&self.bytes)
    }

    /// CSeq.
    pub fn cseq(&self) -> CSeq<'_> {
        self.cseq.view(&self.bytes)
    }

    /// The Contact header field.
    ///
    /// # Errors
    /// 400 if a value is not a contact, or `*` stands beside others.
    pub fn contacts(&self) -> Result<ContactList<'_>, ParseError> {
        let mut contacts = Vec::new();
        let mut stars = 0;
        for value in self.values(HeaderName::Contact) {
            if value == b"*" {
                stars += 1;
            } else {
                contacts.push(NameAddr::parse(value, "Contact")?);
            }
        }
        match (stars, contacts.is_empty()) {
            (0, _) => Ok(ContactList::Contacts(contacts)),
            (1, true) => Ok(ContactList::Star),
            _ => Err(ParseError::bad_request("Contact", "`*` alone, or contacts")),
        }
    }

    pub(crate) fn first_field(&self, name: HeaderName) -> Option<&Field> {
        self.index.first(name)
    }

    pub(crate) fn is_repeated(&self, name: HeaderName) -> bool {
        self.index.is_repeated(name)
    }

    pub(crate) fn fields_of(&self, name: HeaderName) -> impl Iterator<Item = &Field> + Clone {
        self.index.lines(name)
    }

    pub(crate) fn raw_fields(&self) -> &[Field] {
        &self.index.fields
    }

    pub(crate) fn body_span(&self) -> Span {
        self.body
    }

    pub(crate) fn via_parts(&self) -> &ViaParts {
        &self.via
    }

    /// Where the header fields begin.
    pub(crate) fn fields_start(&self) -> usize {
        match self.index.fields.first() {
            Some(field) => field.line().start as usize,
            None => self.fields_end(),
        }
    }

    /// Where the empty line is.
    pub(crate) fn fields_end(&self) -> usize {
        match self.index.fields.last() {
            Some(field) => field.line().end as usize,
            None => self.index.body,
        }
    }
}

impl Request {
    /// Reads one request from a whole datagram, or from a part of a stream that was framed.
    ///
    /// # Errors
    /// If the bytes are no request that RFC 3261 allows to process.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Self, Malformed> {
        match Message::whole(bytes, limits) {
            Ok(message) if !message.is_request() => {
                Err(Malformed { error: ParseError::bad_request("", "a request"), request: None })
            }
            read => read.map(Self),
        }
    }

    /// The method.
    pub fn method(&self) -> Method<'_> {
        match self.0.start {
            StartLine::Request { method, .. } => Method::from_token(method.text(&self.0.bytes)),
            StartLine::Response { .. } => Method::Extension(""),
        }
    }

    /// The text of the Request-URI.
    pub fn uri_text(&self) -> &str {
        self.uri_span().text(&self.0.bytes)
    }

    /// The Request-URI, read when the message came in.
    pub fn uri(&self) -> Uri<'_> {
        match self.0.start {
            StartLine::Request { parts, .. } => Uri::from_parts(self.uri_text(), parts),
            StartLine::Response { .. } => Uri::from_parts("", UriParts::opaque(0)),
        }
    }

    pub(crate) fn uri_span(&self) -> Span {
        match self.0.start {
            StartLine::Request { uri, .. } => uri,
            StartLine::Response { .. } => Span::default(),
        }
    }
}

impl Response {
    /// Reads one response.
    ///
    /// # Errors
    /// If it is none; a malformed response is dropped (RFC 3261 §16.7, §18.1.2).
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Self, Malformed> {
        match Read::message(bytes, limits) {
            Read::Response(response) => Ok(response),
            Read::Request(_) => {
                Err(Malformed { error: ParseError::bad_request("", "a response"), request: None })
            }
            Read::Malformed(malformed) => Err(Malformed { request: None, ..malformed }),
        }
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        match self.0.start {
            StartLine::Response { code, .. } => code,
            StartLine::Request { .. } => StatusCode::SERVER_INTERNAL_ERROR,
        }
    }

    /// The reason phrase as it came.
    pub fn reason(&self) -> &[u8] {
        match self.0.start {
            StartLine::Response { reason, .. } => reason.octets(&self.0.bytes),
            StartLine::Request { .. } => &[],
        }
    }
}

impl Deref for Request {
    type Target = Message;
    fn deref(&self) -> &Message {
        &self.0
    }
}

impl Deref for Response {
    type Target = Message;
    fn deref(&self) -> &Message {
        &self.0
    }
}
