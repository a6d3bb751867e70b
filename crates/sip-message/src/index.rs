//! One pass over the octets of a message: where its start line, header fields and body are.

use smallvec::SmallVec;

use crate::chars::{self, Span};
use crate::header::read_name;
use crate::{HeaderName, Limits, ParseError, StatusCode, scan};

/// One header field line, with its folds. The white space around its name and value is found when they are asked for:
/// most never are, and a message that is moved or copied is smaller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    start: u32,
    after_colon: u32,
    line_feed: u32,
    pub(crate) name: HeaderName,
}

impl Field {
    /// The line with its line end.
    #[inline]
    pub(crate) fn line(&self) -> Span {
        Span { start: self.start, end: self.line_feed.saturating_add(1) }
    }

    /// The name as written.
    pub(crate) fn name_bytes<'a>(&self, octets: &'a [u8]) -> &'a [u8] {
        let before_colon = Span { start: self.start, end: self.after_colon.saturating_sub(1) };
        chars::trim_blanks_end(before_colon.octets(octets))
    }

    /// The value, trimmed.
    #[inline]
    pub(crate) fn value(&self, octets: &[u8]) -> Span {
        self.untrimmed().trimmed(octets)
    }

    /// The octets of the value, trimmed.
    #[inline]
    pub(crate) fn text<'a>(&self, octets: &'a [u8]) -> &'a [u8] {
        chars::trim(self.untrimmed().octets(octets))
    }

    /// The value with the white space around it.
    #[inline]
    pub(crate) fn untrimmed(&self) -> Span {
        Span { start: self.after_colon, end: self.line_feed }
    }
}

pub(crate) type Fields = SmallVec<[Field; 24]>;

/// Where everything is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    pub(crate) start_line: Span,
    pub(crate) fields: Fields,
    /// Where the first line of each name is.
    firsts: Firsts,
    /// The first octet after the empty line.
    pub(crate) body: usize,
    /// The first fault that was found; the rest was still indexed as far as possible.
    pub(crate) fault: Option<ParseError>,
}

impl Index {
    /// Indexes a message.
    pub(crate) fn of(octets: &[u8], limits: &Limits) -> Self {
        let mut index = Self::default();
        index.read(octets, limits);
        index
    }

    /// Indexes a message into what is still empty. Line ends are CRLF or LF; a line that begins with white space
    /// continues the one before (§7.3.1).
    pub(crate) fn read(&mut self, octets: &[u8], limits: &Limits) {
        self.body = octets.len();
        let Some(line_end) = scan::find(b'\n', octets) else {
            return self.fault("", "a line end after the start line");
        };
        self.start_line = Span::new(0, without_cr(octets, line_end));
        let lines = Lines {
            octets,
            at: line_end + 1,
            fields: 0,
            fields_max: limits.header_fields_max.min(Firsts::PLACES_MAX),
            field_bytes_max: limits.header_field_bytes_max,
            firsts: &mut self.firsts,
            body: &mut self.body,
            fault: &mut self.fault,
        };
        self.fields.extend(lines);
    }

    #[cold]
    pub(crate) fn fault(&mut self, header: &'static str, what: &'static str) {
        self.fault.get_or_insert(ParseError::bad_request(header, what));
    }

    #[cold]
    pub(crate) fn fault_with(&mut self, code: StatusCode, what: &'static str) {
        self.fault.get_or_insert(ParseError { header: "", what, code });
    }

    /// The first line of a name.
    #[inline]
    pub(crate) fn first(&self, name: HeaderName) -> Option<&Field> {
        self.fields.get(self.firsts.of(name)?)
    }

    /// All lines of a name.
    #[inline]
    pub(crate) fn lines(&self, name: HeaderName) -> impl Iterator<Item = &Field> + Clone {
        self.around(name).iter().filter(move |f| f.name == name)
    }

    /// Lines among which are all of a name, from the first of them on; none if there is no such line.
    #[inline]
    pub(crate) fn around(&self, name: HeaderName) -> &[Field] {
        let Some(first) = self.firsts.of(name) else { return &[] };
        let end = if self.firsts.is_repeated(name) { self.fields.len() } else { first + 1 };
        self.fields.get(first..end).unwrap_or(&[])
    }

    /// Whether there is more than one line of a name.
    #[inline]
    pub(crate) fn is_repeated(&self, name: HeaderName) -> bool {
        self.firsts.is_repeated(name)
    }

    /// Content-Length: `None` without the header field, the error if it is no number or said twice differently (a second
    /// value would let two elements frame one stream differently).
    pub(crate) fn content_length(&self, octets: &[u8]) -> Option<Result<usize, ParseError>> {
        let name = HeaderName::ContentLength;
        let number = |field: &Field| chars::digits(field.text(octets)).and_then(|n| usize::try_from(n).ok());
        let first = number(self.first(name)?);
        let is_ambiguous = self.is_repeated(name) && self.lines(name).any(|field| number(field) != first);
        let error = ParseError::bad_request("Content-Length", "one number of octets");
        Some(first.filter(|_| !is_ambiguous).ok_or(error))
    }
}

/// The header field lines, up to the empty line.
struct Lines<'a> {
    octets: &'a [u8],
    /// Where the next line begins.
    at: usize,
    fields: usize,
    fields_max: usize,
    field_bytes_max: usize,
    firsts: &'a mut Firsts,
    body: &'a mut usize,
    fault: &'a mut Option<ParseError>,
}

impl Lines<'_> {
    #[cold]
    fn fault(&mut self, what: &'static str) {
        self.fault.get_or_insert(ParseError::bad_request("", what));
    }
}

impl Iterator for Lines<'_> {
    type Item = Field;

    #[inline(always)] // in the two loops of `SmallVec::extend`: within its inline capacity, and beyond
    fn next(&mut self) -> Option<Field> {
        loop {
            let (octets, start) = (self.octets, self.at);
            let Some(mut end) = next_line_end(octets, start) else {
                // §7: an empty line must end the header fields, even without a body.
                self.fault("an empty line after the header fields");
                return None;
            };
            if end <= start + 1 && without_cr(octets, end) == start {
                *self.body = end + 1;
                return None;
            }
            while octets.get(end + 1).is_some_and(|b| matches!(b, b' ' | b'\t')) {
                let Some(next) = next_line_end(octets, end + 1) else { break };
                end = next;
            }
            self.at = end + 1;
            if self.fields >= self.fields_max {
                self.fault("at most header_fields_max header fields");
            } else if end - start > self.field_bytes_max {
                self.fault("header fields of at most header_field_bytes_max octets");
            } else if let Some((name, name_bytes, colon)) = read_name(octets, start, end) {
                if name_bytes > usize::from(u16::MAX) {
                    self.fault("names of at most 65,535 octets");
                    continue;
                }
                self.firsts.note(name, self.fields);
                self.fields += 1;
                return Some(Field {
                    start: chars::offset(start),
                    after_colon: chars::offset(start + colon + 1),
                    line_feed: chars::offset(end),
                    name,
                });
            } else {
                self.fault("a name and a colon in every header field");
            }
        }
    }
}

/// The first line of each name, so that a name is found, or known to be absent, without a search.
#[derive(Clone, Debug)]
struct Firsts {
    /// By name, one more than the line's place among all; 0: none.
    places: [u16; HeaderName::COUNT],
    /// By name, a bit: there are further lines.
    repeated: u64,
}

impl Default for Firsts {
    fn default() -> Self {
        Self { places: [0; HeaderName::COUNT], repeated: 0 }
    }
}

impl Firsts {
    const PLACES_MAX: usize = u16::MAX as usize - 1;

    fn note(&mut self, name: HeaderName, place: usize) {
        let Some(first) = self.places.get_mut(name as usize) else { return };
        if *first == 0 {
            *first = u16::try_from(place + 1).unwrap_or(u16::MAX);
        } else {
            self.repeated |= 1 << name as u32;
        }
    }

    #[inline]
    fn of(&self, name: HeaderName) -> Option<usize> {
        usize::from(*self.places.get(name as usize)?).checked_sub(1)
    }

    #[inline]
    fn is_repeated(&self, name: HeaderName) -> bool {
        self.repeated & 1 << name as u32 != 0
    }
}

#[inline(always)] // two callers in the loop over all lines
fn next_line_end(octets: &[u8], from: usize) -> Option<usize> {
    scan::find(b'\n', octets.get(from..)?).map(|length| from + length)
}

/// The end of a line without the CR before its LF.
fn without_cr(octets: &[u8], line_feed: usize) -> usize {
    match line_feed.checked_sub(1) {
        Some(before) if octets.get(before) == Some(&b'\r') => before,
        _ => line_feed,
    }
}
