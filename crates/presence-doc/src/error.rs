//! Why a body is not accepted as a presence document.

/// A body that is refused at PUBLISH time; what was published before stays in force (RFC 3903 §6 step 5).
///
/// Schema errors are not among these: documents that parse are tolerated (RFC 4479 §5).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body is longer than [`bytes_max`](crate::DocumentLimits::bytes_max).
    #[error("document of {bytes} bytes, at most {max} are accepted")]
    TooLarge {
        /// Length of the body.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More nodes than [`nodes_max`](crate::DocumentLimits::nodes_max).
    #[error("document of more than {max} nodes")]
    TooManyNodes {
        /// The limit.
        max: u32,
    },
    /// Elements nested deeper than [`depth_max`](crate::DocumentLimits::depth_max).
    #[error("elements nested deeper than {max}")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// An element with more attributes, or with more namespace prefixes in scope, than any honest document needs.
    #[error("an element with more than {max} attributes or namespaces in scope")]
    TooManyAttributes {
        /// The limit.
        max: usize,
    },
    /// Octets that are not UTF-8, or a declaration of another encoding (RFC 3863 §4.1: UTF-8 is what we take).
    #[error("document in encoding {encoding:?}, UTF-8 is expected")]
    NotUtf8 {
        /// The declared encoding; `None` if the octets themselves are not UTF-8.
        encoding: Option<String>,
    },
    /// A document type declaration. It has no use in PIDF and is the door to entity expansion.
    #[error("document type declarations are not accepted")]
    Dtd,
    /// Not well-formed XML 1.0 with namespaces.
    #[error("not well-formed XML at {line}:{column}: {reason}")]
    NotWellFormed {
        /// Line, from 1.
        line: u32,
        /// Column, from 1.
        column: u32,
        /// What is wrong there.
        reason: String,
    },
    /// The root element is not `presence` of the PIDF namespace (RFC 3863 §4.1.1).
    #[error("root element {{{namespace}}}{name}, {{urn:ietf:params:xml:ns:pidf}}presence is expected")]
    WrongRoot {
        /// Namespace of the root; empty if it has none.
        namespace: String,
        /// Local name of the root.
        name: String,
    },
    /// The root has no `entity` attribute, or an empty one (RFC 3863 §4.1.1: it MUST have one).
    #[error("presence element without entity")]
    NoEntity,
}

impl Error {
    /// Whether the document is too large (413 Request Entity Too Large) rather than bad (400 Bad Request).
    pub fn is_too_large(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::TooManyNodes { .. } => true,
            Self::TooDeep { .. }
            | Self::TooManyAttributes { .. }
            | Self::NotUtf8 { .. }
            | Self::Dtd
            | Self::NotWellFormed { .. }
            | Self::WrongRoot { .. }
            | Self::NoEntity => false,
        }
    }
}
