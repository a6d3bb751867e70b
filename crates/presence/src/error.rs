//! Why a PUBLISH or SUBSCRIBE is refused. What was there before stays as it was.

/// A refused request; each variant names its status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 503 with Retry-After: nothing can be written down at present.
    #[error(transparent)]
    Storage(#[from] replication::Unkept),
    /// A header field that says nothing we can act on: 400.
    #[error("{header}: {expected} is expected")]
    Malformed {
        /// The header field.
        header: &'static str,
        /// What should stand there.
        expected: &'static str,
    },
    /// A PUBLISH with neither body nor entity-tag: 400 (RFC 3903 §6 step 5).
    #[error("an initial publication without body")]
    NoBody,
    /// Not a presence document, or one that is too deep: 400 (RFC 3903 §6 step 5).
    #[error("{0}")]
    Document(#[source] presence_doc::Error),
    /// A published document over `document_bytes_max` or `document_nodes_max`: 413.
    #[error("{0}")]
    TooLarge(#[source] presence_doc::Error),
    /// The sender may not do that for this AOR: 403 (RFC 3903 §14.1, RFC 3856 §6.6.2, RFC 6665 §4.2.1.3).
    #[error("the sender is not allowed to {action}")]
    Forbidden {
        /// What was asked.
        action: &'static str,
    },
    /// `publications_per_aor_max`: 403.
    #[error("the AOR has {max} live publications")]
    TooManyPublicationsOfAor {
        /// The limit.
        max: usize,
    },
    /// `subscriptions_per_dialog_max`: 403 (RFC 6665 §4.5.2).
    #[error("the dialog has {max} subscriptions")]
    TooManySubscriptionsInDialog {
        /// The limit.
        max: usize,
    },
    /// No such user, or no presence for the domain: 404 (RFC 3903 §6 step 1).
    #[error("no such presentity")]
    NotFound,
    /// The watcher takes no body that we can write: 406 (RFC 3856 §6.5).
    #[error("{content_type} is not accepted")]
    NotAcceptable {
        /// What we could have written.
        content_type: &'static str,
    },
    /// The entity-tag names no live publication of this AOR: 412 (RFC 3903 §6 step 3).
    #[error("the entity-tag matches no publication")]
    ConditionFailed,
    /// A body of another type: 415 with Accept (RFC 3903 §6 step 5, RFC 3261 §8.2.3).
    #[error("content type not understood")]
    UnsupportedMediaType {
        /// The value of Accept; empty if no body is understood.
        accept: &'static str,
    },
    /// An encoded body: 415 with Accept-Encoding (RFC 3261 §8.2.3).
    #[error("content encoding not understood")]
    UnsupportedEncoding {
        /// The value of Accept-Encoding.
        accept_encoding: &'static str,
    },
    /// An extension is required that we do not have: 420 with Unsupported (RFC 3261 §8.2.2.3).
    #[error("required extensions not supported: {unsupported}")]
    BadExtension {
        /// The value of Unsupported.
        unsupported: String,
    },
    /// 423 with Min-Expires (RFC 3903 §6 step 4, RFC 6665 §4.2.1.1).
    #[error("shorter than {min_expires_seconds} s")]
    IntervalTooBrief {
        /// The value of Min-Expires.
        min_expires_seconds: u32,
    },
    /// Nothing is published, and the domain does not say closed for that: 480.
    #[error("nothing is published")]
    NothingPublished,
    /// `watchers_per_presentity_max`: 480 with Retry-After (RFC 3261 §21.4.18).
    #[error("the presentity has {max} watchers")]
    TooManyWatchers {
        /// The limit.
        max: usize,
        /// The value of Retry-After.
        retry_after_seconds: u32,
    },
    /// No such dialog, or its subscription has ended: 481 (RFC 3261 §12.2.2).
    #[error("no such subscription")]
    NoSubscription,
    /// The same SUBSCRIBE came by another way: 482 (RFC 3261 §8.2.2.2).
    #[error("merged request")]
    MergedRequest,
    /// No Event, or another package: 489 with Allow-Events (RFC 3903 §6 step 2, RFC 6665 §4.2.1.1).
    #[error("event package not served")]
    BadEvent {
        /// The value of Allow-Events.
        allow_events: &'static str,
    },
    /// A CSeq lower than that of an earlier request in the dialog: 500 (RFC 3261 §12.2.2).
    #[error("CSeq {cseq} is lower than {last}")]
    OutOfOrder {
        /// What came.
        cseq: u32,
        /// The highest so far.
        last: u32,
    },
    /// `publications_max`: 503 with Retry-After.
    #[error("{max} live publications")]
    TooManyPublications {
        /// The limit.
        max: usize,
        /// The value of Retry-After.
        retry_after_seconds: u32,
    },
    /// `subscriptions_max`: 503 with Retry-After.
    #[error("{max} live subscriptions")]
    TooManySubscriptions {
        /// The limit.
        max: usize,
        /// The value of Retry-After.
        retry_after_seconds: u32,
    },
}

/// When a limit has been reached, how long to stay away: long enough for something to expire.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 60;

impl From<presence_doc::Error> for Error {
    fn from(error: presence_doc::Error) -> Self {
        if error.is_too_large() { Self::TooLarge(error) } else { Self::Document(error) }
    }
}

impl From<sip_event::Error> for Error {
    fn from(error: sip_event::Error) -> Self {
        match error {
            sip_event::Error::OutOfOrder { cseq, last } => Self::OutOfOrder { cseq, last },
            sip_event::Error::ContactCount { .. } => {
                Self::Malformed { header: "Contact", expected: "exactly one value" }
            }
            sip_event::Error::Header { header, expected } => Self::Malformed { header, expected },
            sip_event::Error::Ended => Self::NoSubscription,
            sip_event::Error::TooManySubscriptions { max } => Self::TooManySubscriptionsInDialog { max },
        }
    }
}
