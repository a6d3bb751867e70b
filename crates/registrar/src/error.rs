//! Why a REGISTER is refused.

use replication::Unkept;
use sip_message::ParseError;

/// Each variant names the status that answers it. None is worth a retry of the same request but [`Error::OutOfOrder`],
/// which is worth one with a higher CSeq.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 420 with Unsupported (RFC 3261 §10.3 step 2, §8.2.2.3).
    #[error("extensions are required that the registrar does not have")]
    BadExtension {
        /// The option tags, each a `token`: the values of Unsupported.
        unsupported: Vec<String>,
    },
    /// 415 with an empty Accept (§8.2.3, §20.1): a body that is not optional. No body means anything to a registrar.
    #[error("a body that must be understood")]
    UnsupportedBody,
    /// 403 (§10.3 step 4): not the sender's own AOR, or nobody proved who sends.
    #[error("not the sender's own address-of-record")]
    Forbidden,
    /// 404 (§10.3 step 1 and 5): the Request-URI or To names no domain of ours, or two different ones.
    #[error("not a domain of this registrar")]
    ForeignDomain,
    /// 404 (§10.3 step 5): no such user in the domain.
    #[error("no such user")]
    NotFound,
    /// 400 (§10.3 step 6 for the use of `*`; RFC 5626 §6; RFC 5630 §5.2; else syntax).
    #[error("{header}: expected {expected}")]
    BadRequest {
        /// The header field at fault.
        header: &'static str,
        /// What was expected of it.
        expected: &'static str,
    },
    /// 403 (RFC 5627 §5.1): a Contact that leads back to its own AOR, or one of an instance that is no SIP URI.
    #[error("a contact must be {expected}")]
    ForbiddenContact {
        /// What was expected.
        expected: &'static str,
    },
    /// 423 with Min-Expires (RFC 3261 §10.3 step 7).
    #[error("a lifetime shorter than {min_expires_seconds} s")]
    IntervalTooBrief {
        /// The value of Min-Expires.
        min_expires_seconds: u32,
    },
    /// 500 (§10.3 steps 6 and 7): a CSeq that is not higher than the one that the binding was made by, under the same
    /// Call-ID. "The request fails"; of the failures that §10.3 has a status for this is the one that it gives to a
    /// request whose bindings could not be updated.
    #[error("CSeq is not higher than that of the binding")]
    OutOfOrder,
    /// 403: `bindings_per_aor_max`. The request is understood and refused, and does not get better by repetition
    /// (§21.4.4); 5xx would send a client to try the next server.
    #[error("more than {max} bindings of one address-of-record")]
    TooManyBindings {
        /// `bindings_per_aor_max`.
        max: usize,
    },
    /// 403, for the same reason: another limit of the configuration.
    #[error("{limit} is {max}")]
    LimitExceeded {
        /// Its key in the configuration.
        limit: &'static str,
        /// Its value.
        max: usize,
    },
    /// 503 with Retry-After: nothing can be written down at present. No binding was changed, or what was changed is not
    /// on the disk.
    #[error(transparent)]
    Storage(#[from] Unkept),
}

impl Error {
    /// For metrics and logs: the variant, one of a closed set.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::BadExtension { .. } => "bad_extension",
            Self::UnsupportedBody => "unsupported_body",
            Self::Forbidden => "forbidden",
            Self::ForeignDomain => "foreign_domain",
            Self::NotFound => "not_found",
            Self::BadRequest { .. } => "bad_request",
            Self::ForbiddenContact { .. } => "forbidden_contact",
            Self::IntervalTooBrief { .. } => "interval_too_brief",
            Self::OutOfOrder => "out_of_order",
            Self::TooManyBindings { .. } => "too_many_bindings",
            Self::LimitExceeded { .. } => "limit_exceeded",
            Self::Storage(_) => "storage",
        }
    }
}

impl Error {
    /// A header field that cannot be read, under its name.
    pub(crate) fn unreadable(header: &'static str) -> impl Fn(ParseError) -> Self {
        move |error| Self::BadRequest { header, expected: error.what }
    }
}
