//! How patient and how fast a notifier is.

use std::time::Duration;

/// What the operator may choose about NOTIFYs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Least time between two NOTIFYs of changes in one dialog. The latest state is always delivered, later. NOTIFYs that
    /// a SUBSCRIBE asks for, and last ones, do not wait. Default 0: a change is told at once.
    pub notify_min_interval: Duration,
    /// How many NOTIFYs in a row may be lost, or refused as by an overloaded peer, before the dialog is given up.
    /// RFC 6665 §4.2.2 says that one timeout SHOULD remove a subscription; we depart from it, because one lost
    /// datagram burst, or a phone that changes networks, is not a watcher that went away. Default 3.
    pub failures_max: u32,
    /// How long after such a failure the latest state is tried again; doubled with each further failure. A longer
    /// Retry-After is honoured. Default 2 s.
    pub retry_delay: Duration,
    /// Subscriptions with ids of their own in one dialog (RFC 6665 §4.5.2). Default 4.
    pub subscriptions_per_dialog_max: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            notify_min_interval: Duration::ZERO,
            failures_max: 3,
            retry_delay: Duration::from_secs(2),
            subscriptions_per_dialog_max: 4,
        }
    }
}
