//! The Subscription-State header field (RFC 6665 §8.2.3) as we write it, and why a subscription ends.

use std::fmt;

/// The value of Subscription-State in a NOTIFY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Accepted, and authorised.
    Active {
        /// Whole seconds left (§4.2.2: never more than was granted).
        expires_seconds: u64,
    },
    /// Accepted; permission is still to be given.
    Pending {
        /// Whole seconds left.
        expires_seconds: u64,
    },
    /// Over. It carries no `expires` (§4.1.3).
    Terminated(Reason),
}

impl fmt::Display for SubscriptionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active { expires_seconds } => write!(f, "active;expires={expires_seconds}"),
            Self::Pending { expires_seconds } => write!(f, "pending;expires={expires_seconds}"),
            Self::Terminated(reason) => write!(f, "terminated;reason={reason}"),
        }
    }
}

/// Why the notifier ended a subscription (RFC 6665 §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Subscribe again at once: another notifier, or a proxy in our place, will answer.
    Deactivated,
    /// Subscribe again later.
    Probation,
    /// The watcher may no longer see this.
    Rejected,
    /// It expired, or a SUBSCRIBE with Expires 0 ended it.
    Timeout,
    /// Permission did not come in time.
    Giveup,
    /// There is nothing to watch any more.
    NoResource,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deactivated => "deactivated",
            Self::Probation => "probation",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Giveup => "giveup",
            Self::NoResource => "noresource",
        })
    }
}

/// How a subscription came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The last NOTIFY was sent and answered, or went unanswered.
    Terminated(Reason),
    /// The watcher refused a NOTIFY with a code that ends the subscription.
    Refused {
        /// That code.
        code: u16,
    },
    /// [`crate::Policy::failures_max`] NOTIFYs in a row failed.
    Lost,
}
