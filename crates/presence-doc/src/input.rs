//! What goes into a composition and what comes out.

use std::fmt;
use std::str::FromStr;

use crate::{Document, Provenance};

/// How several publications of one presentity become one document (no RFC fixes it: RFC 3903 §6, RFC 4479 §3.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Composition {
    /// Resolve ambiguity: one tuple per contact, one device per device ID, one person per class; newer wins.
    #[default]
    Merge,
    /// Keep ambiguity: every tuple, person and device of every input, with ids made unique.
    Union,
}

/// A name that is neither `merge` nor `union`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("composition {given:?}, expected \"merge\" or \"union\"")]
pub struct UnknownComposition {
    /// What came instead.
    pub given: String,
}

impl FromStr for Composition {
    type Err = UnknownComposition;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "merge" => Ok(Self::Merge),
            "union" => Ok(Self::Union),
            other => Err(UnknownComposition { given: other.to_owned() }),
        }
    }
}

impl fmt::Display for Composition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Merge => "merge",
            Self::Union => "union",
        })
    }
}

/// Where an input comes from; the order is that of precedence, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputKind {
    /// Derived from registrations: it counts only for a contact that nobody published about (RFC 3856 §6.7).
    Registration,
    /// Configured state without expiry (RFC 3903 §3): soft state overrides it.
    HardState,
    /// A live publication (RFC 3903).
    Publication,
}

/// One input of a composition.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What was published.
    pub document: &'a Document,
    /// When its last *body* was received, in milliseconds since 1970 UTC. A refresh without body keeps it. Who
    /// receives two bodies within one millisecond gives the later one a later time; equal times are told apart by
    /// content, which knows nothing of arrival.
    pub received_unix_ms: i64,
    /// A name for explanations; it has no part in the result.
    pub label: &'a str,
    /// Its class of precedence.
    pub kind: InputKind,
}

/// The one document that watchers get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// `application/pidf+xml`, UTF-8.
    pub body: Vec<u8>,
    /// Where each element came from, in document order; empty unless asked for.
    pub explanation: Vec<Provenance>,
}
