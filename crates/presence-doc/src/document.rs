//! A parsed, accepted presence document: one publication, with all that composing needs worked out once.

use std::fmt;

use crate::instant;
use crate::{Error, read, scan};

/// Bounds of what is accepted as one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentLimits {
    /// Longest body, in bytes; default 65 536.
    pub bytes_max: usize,
    /// Deepest nesting, the root being 1; default 32.
    pub depth_max: usize,
    /// Most nodes (elements, texts, comments, processing instructions); default 10 000.
    pub nodes_max: u32,
}

impl Default for DocumentLimits {
    fn default() -> Self {
        Self { bytes_max: 65_536, depth_max: 32, nodes_max: 10_000 }
    }
}

/// A parsed, accepted PIDF document (RFC 3863 with RFC 4479 and any extension).
///
/// It keeps the source and, into it, the places of what a composition may take; nothing of it is copied until then.
pub struct Document {
    pub(crate) text: Box<str>,
    pub(crate) entity: Box<str>,
    /// Namespace names, each once. Index 0 is "no namespace".
    pub(crate) namespaces: Vec<Box<str>>,
    /// Bindings that fragments rely on; see [`Child::needs`].
    pub(crate) needs: Vec<Need>,
    /// Places of `xs:ID` values inside fragments; see [`Child::ids`].
    pub(crate) ids: Vec<Span>,
    pub(crate) attributes: Vec<Attribute>,
    /// Tuples, persons and devices, each kind in document order.
    pub(crate) tuples: Vec<Occurrence>,
    pub(crate) persons: Vec<Occurrence>,
    pub(crate) devices: Vec<Occurrence>,
    /// Notes and extensions directly below the root.
    pub(crate) notes: Vec<Child>,
    pub(crate) extensions: Vec<Child>,
}

impl Document {
    /// Parses a body of type `application/pidf+xml`.
    ///
    /// # Errors
    /// What a PUBLISH is refused for: see [`Error`]. A document that breaks the schema is not refused (RFC 4479 §5).
    pub fn parse(body: &[u8], limits: &DocumentLimits) -> Result<Self, Error> {
        if body.len() > limits.bytes_max.min(u32::MAX as usize) {
            return Err(Error::TooLarge { bytes: body.len(), max: limits.bytes_max });
        }
        let text = str::from_utf8(body).map_err(|_| Error::NotUtf8 { encoding: None })?;
        scan::check(text, limits)?;
        read::document(text, limits)
    }

    /// The `entity` attribute as published: the presentity's URI in the publisher's spelling (RFC 3863 §4.1.1).
    pub fn entity(&self) -> &str {
        &self.entity
    }

    /// The body as it was received.
    pub fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    pub(crate) fn slice(&self, span: Span) -> &str {
        &self.text[span.range()]
    }

    pub(crate) fn namespace(&self, index: u32) -> &str {
        &self.namespaces[index as usize]
    }

    pub(crate) fn needs(&self, child: &Child) -> &[Need] {
        &self.needs[child.needs.0 as usize..child.needs.1 as usize]
    }

    pub(crate) fn ids(&self, child: &Child) -> &[Span] {
        &self.ids[child.ids.0 as usize..child.ids.1 as usize]
    }

    pub(crate) fn occurrences(&self, kind: Kind) -> &[Occurrence] {
        match kind {
            Kind::Tuple => &self.tuples,
            Kind::Person => &self.persons,
            Kind::Device => &self.devices,
        }
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("bytes", &self.text.len())
            .field("tuples", &self.tuples.len())
            .field("persons", &self.persons.len())
            .field("devices", &self.devices.len())
            .finish_non_exhaustive()
    }
}

/// A place in the text of a document, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        // `Document::parse` bounds the text to what 32 bits can index.
        let narrow = |n: usize| u32::try_from(n).expect("a document is shorter than 4 GiB");
        Self { start: narrow(start), end: narrow(end) }
    }

    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What an occurrence describes (RFC 4479 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Tuple,
    Person,
    Device,
}

/// One occurrence of a service, of the person or of a device (RFC 4479 §3.5).
pub(crate) struct Occurrence {
    pub(crate) kind: Kind,
    /// As written, trimmed; it may be absent or no NCName.
    pub(crate) id: Box<str>,
    /// What is equal for all occurrences of one thing: of a tuple a coarse form of the contact (see `contact::key`),
    /// of a device its URN, of a person nothing. `None`: it stands for itself alone.
    pub(crate) key: Option<Box<str>>,
    /// What keeps apart things of one key: class (RFC 4480 §3.3) and, of tuples, relationship (§3.9). Compared exactly.
    pub(crate) variant: Box<str>,
    pub(crate) contact: Option<Contact>,
    pub(crate) timestamp: Option<Timestamp>,
    /// Attributes of the element itself, of its `status` and `contact`.
    pub(crate) attributes: Vec<Attribute>,
    /// In the order of their slots, within one slot in document order.
    pub(crate) children: Vec<Child>,
}

pub(crate) struct Contact {
    pub(crate) uri: Box<str>,
    /// Only one that RFC 3863 §4.1.5 allows: others SHOULD be ignored as if absent.
    pub(crate) priority: Option<Box<str>>,
}

/// A timestamp that follows the schema; others say nothing and are left out.
pub(crate) struct Timestamp {
    pub(crate) text: Box<str>,
    pub(crate) unix_us: i64,
}

impl Timestamp {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let unix_us = instant::parse(text)?;
        Some(Self { text: text.into(), unix_us })
    }
}

/// The element that an extension's attribute stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Itself,
    Status,
    Contact,
}

/// An attribute that the schema does not know, on an element that the compositor writes itself.
pub(crate) struct Attribute {
    pub(crate) owner: Owner,
    pub(crate) namespace: u32,
    /// As in the source: a wish, not a promise. Empty if `namespace` is none.
    pub(crate) prefix: Box<str>,
    pub(crate) local: Box<str>,
    /// Decoded.
    pub(crate) value: Box<str>,
}

/// Where the schema wants a child; the order is that of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    Basic,
    Status,
    Any,
    DeviceId,
    Note,
}

/// How children of one name from several sources become those of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// The newest source that has any gives all of them.
    Newest,
    /// Bounded in time, in microseconds: kept unless it overlaps a newer one (RFC 4480 §3.1, RFC 4481 §3).
    Range { from: i64, until: i64 },
    /// Kept unless a newer source has the same value: `dm:deviceID` in a tuple, what stands below the root.
    Union,
}

/// A child element, copied verbatim into the result together with what its text relies on.
pub(crate) struct Child {
    pub(crate) slot: Slot,
    pub(crate) rule: Rule,
    /// It yields to any other of its name: `<unknown/>` (RFC 4480 §3.2), a `basic` that is neither open nor closed.
    pub(crate) weak: bool,
    pub(crate) namespace: u32,
    /// From `<` to the end of the end tag.
    pub(crate) span: Span,
    /// Local name in the start tag; declarations are inserted behind it.
    pub(crate) local: Span,
    /// Whether the element may be written under its canonical name: it holds no element, declares no namespace, and
    /// its source name is another.
    pub(crate) rename: bool,
    /// Bindings from outside that its text uses, as a range of `Document::needs`.
    pub(crate) needs: (u32, u32),
    /// Its `xs:ID` values, as a range of `Document::ids`.
    pub(crate) ids: (u32, u32),
    /// What tells apart children of one name: the language of a note, the value of a `deviceID`.
    pub(crate) discriminator: Box<str>,
    /// An `xml:lang` that it inherits from an element which is not copied.
    pub(crate) inherited_lang: Option<Box<str>>,
}

/// A namespace binding from outside a fragment that its text relies on.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    /// Empty for the default namespace.
    pub(crate) prefix: Span,
    pub(crate) namespace: u32,
}
