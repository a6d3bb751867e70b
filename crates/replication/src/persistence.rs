//! How an owner keeps its state.

use std::fmt;
use std::sync::Arc;

use crate::{Change, Durable, Journal, Unkept};

/// A journal, and whether acknowledgements wait for it.
#[derive(Clone)]
pub struct Persistence {
    /// Where changes go.
    pub journal: Arc<Journal>,
    /// Whether a change is acknowledged only when it is on the disk.
    pub is_awaited: bool,
    /// The wall clock, in milliseconds since 1970 UTC: what expiry is written down in.
    pub unix_ms: fn() -> i64,
}

impl Persistence {
    /// Whether another change may be made: to be asked before it is.
    ///
    /// # Errors
    /// [`Unkept::Full`].
    pub fn admit(&self) -> Result<(), Unkept> {
        self.journal.admit()
    }

    /// Writes down a change; see [`Journal::append`]. Returns what its acknowledgement has to wait for, if it has to.
    pub fn append(&self, lane: usize, write: impl FnOnce(&mut Change<'_>)) -> Option<Durable> {
        let ticket = self.journal.append(lane, write);
        self.is_awaited.then(|| self.journal.durable(ticket))
    }

    /// What the acknowledgement of all that this thread has appended so far has to wait for, if it has to.
    pub fn so_far(&self) -> Option<Durable> {
        self.is_awaited.then(|| self.journal.durable(self.journal.so_far()))
    }
}

impl fmt::Debug for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Persistence").field("is_awaited", &self.is_awaited).finish_non_exhaustive()
    }
}
