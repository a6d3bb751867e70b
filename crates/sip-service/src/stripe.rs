//! State in stripes, each under a lock of its own.

use parking_lot::{Mutex, MutexGuard};
use sip_transaction::Due;

/// One of several tables, and when it has to be looked at: a tick takes no lock where there is nothing to do.
pub struct Stripe<T> {
    due: Due,
    table: Mutex<T>,
}

impl<T> Stripe<T> {
    /// A table that says in `due` when it is to be looked at.
    pub fn new(due: Due, table: T) -> Self {
        Self { due, table: Mutex::new(table) }
    }

    /// The table.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.table.lock()
    }

    /// The table if something in it may be due, at a time in milliseconds since it began.
    pub fn if_due(&self, now_ms: u64) -> Option<MutexGuard<'_, T>> {
        self.due.is_reached(now_ms).then(|| self.table.lock())
    }
}
