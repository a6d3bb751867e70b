//! Why a SUBSCRIBE makes no subscription, as far as dialogs are concerned.

/// A SUBSCRIBE that is refused. The dialog and its subscriptions stay as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A CSeq lower than that of an earlier request in the dialog: 500 (RFC 3261 §12.2.2).
    #[error("CSeq {cseq} is lower than {last} of an earlier request")]
    OutOfOrder {
        /// What came.
        cseq: u32,
        /// The highest so far.
        last: u32,
    },
    /// Not exactly one Contact: 400 (RFC 3261 §8.1.1.8, §12.1.1).
    #[error("{count} contacts, exactly one is expected")]
    ContactCount {
        /// How many came; `*` counts as none.
        count: usize,
    },
    /// A header field that the dialog would have to repeat cannot be used: 400.
    #[error("{header}: {expected} is expected")]
    Header {
        /// The header field.
        header: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// The subscription has ended, its last NOTIFY is on its way: 481 (RFC 6665 §4.4.1).
    #[error("the subscription has ended")]
    Ended,
    /// [`crate::Policy::subscriptions_per_dialog_max`]: 403, as for a notifier that shares no dialogs (RFC 6665 §4.5.2).
    #[error("more than {max} subscriptions in one dialog")]
    TooManySubscriptions {
        /// The limit.
        max: usize,
    },
}
