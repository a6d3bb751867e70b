//! Where the elements of a composed document came from.

use std::fmt;

/// The kinds of elements directly below `presence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// A service (RFC 4479 §3.3).
    Tuple,
    /// The person (RFC 4479 §3.2).
    Person,
    /// A device (RFC 4479 §3.4).
    Device,
    /// A note about the presentity as a whole (RFC 3863 §4.1.6).
    Note,
    /// Anything else that an extension put there.
    Extension,
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tuple => "tuple",
            Self::Person => "person",
            Self::Device => "device",
            Self::Note => "note",
            Self::Extension => "extension",
        })
    }
}

/// One element of the result: where it came from and what it displaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The element below `presence` that this is, or that this is a child of.
    pub element: Element,
    /// Its id in the composed document; empty for notes and extensions, which have none.
    pub id: String,
    /// `None` for the element itself; else the child, as its namespace and local name.
    pub child: Option<(String, String)>,
    /// Label of the input that gave it. For a tuple, person or device itself: of its newest contributor.
    pub source: String,
    /// Labels of inputs that said something else, or the same, in this place and yielded; newest first. For a tuple,
    /// person or device itself: of its other contributors, and of registrations that a publication silenced.
    pub displaced: Vec<String>,
}
