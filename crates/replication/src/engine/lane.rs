//! What a node and its engine know of each other in one virtual shard.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::EngineError;
use super::entry::LogId;
use crate::Stamp;

/// How long the log may take to be read up to some entry.
const READ_WAIT: Duration = Duration::from_secs(10);

/// One virtual shard.
#[derive(Debug)]
pub(super) struct Lane {
    /// The last entry of its log that is here; `None` before the first look.
    read_to: watch::Sender<Option<LogId>>,
    progress: Mutex<Progress>,
}

/// How far the two sides are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Some of the log was missed, or nothing is known yet.
    is_comparison_due: bool,
    /// All that the engine had is here, and all that was here there.
    pub(super) is_synced: bool,
    /// All that the engine had then is here, by the clock of the map.
    pub(super) up_to: Stamp,
    pub(super) heard_at: Option<Instant>,
    /// The engine is being told what changes here.
    pub(super) is_telling: bool,
    /// The last group of which it has what is this shard's.
    pub(super) told: u64,
}

impl Progress {
    /// Of two shards, what is so of both.
    pub(super) fn least(self, other: Self) -> Self {
        Self {
            is_comparison_due: self.is_comparison_due || other.is_comparison_due,
            is_synced: self.is_synced && other.is_synced,
            up_to: self.up_to.min(other.up_to),
            heard_at: self.heard_at.min(other.heard_at),
            is_telling: self.is_telling && other.is_telling,
            told: self.told.min(other.told),
        }
    }
}

impl Lane {
    pub(super) fn new() -> Self {
        Self { read_to: watch::Sender::new(None), progress: Mutex::default() }
    }

    pub(super) fn progress(&self) -> Progress {
        *self.progress.lock()
    }

    pub(super) fn read_to(&self) -> Option<LogId> {
        *self.read_to.borrow()
    }

    pub(super) fn set_read_to(&self, id: LogId) {
        self.read_to.send_replace(Some(id));
    }

    /// Resolves when the log was read up to an entry.
    pub(super) async fn wait_read(&self, id: LogId) -> Result<(), EngineError> {
        let mut read_to = self.read_to.subscribe();
        let is_reached = read_to.wait_for(|read_to| read_to.is_some_and(|at| at >= id));
        // The sender is here.
        timeout(READ_WAIT, is_reached).await.map(drop).map_err(|_| EngineError::Late)
    }

    /// The engine answered, and what it had when it was asked is here.
    pub(super) fn heard(&self, now: Instant, up_to: Option<Stamp>) {
        let mut progress = self.progress.lock();
        progress.heard_at = progress.heard_at.max(Some(now));
        if let Some(up_to) = up_to.filter(|_| progress.is_synced) {
            progress.up_to = progress.up_to.max(up_to);
        }
    }

    pub(super) fn miss(&self) {
        let mut progress = self.progress.lock();
        progress.is_comparison_due = true;
        progress.is_synced = false;
    }

    /// Whether a comparison is due, which begins now.
    pub(super) fn begin_comparison(&self) -> bool {
        std::mem::take(&mut self.progress.lock().is_comparison_due)
    }

    /// Whether another is due than the one that has ended.
    pub(super) fn is_comparison_due(&self) -> bool {
        self.progress.lock().is_comparison_due
    }

    /// All was compared that was there when it began: it counts unless something was missed since.
    pub(super) fn end_comparison(&self) {
        let mut progress = self.progress.lock();
        progress.is_synced = !progress.is_comparison_due;
    }

    /// The engine has groups up to one; `None`: it is not being told.
    pub(super) fn told(&self, group: Option<u64>) {
        let mut progress = self.progress.lock();
        progress.is_telling = group.is_some();
        if let Some(group) = group {
            progress.told = group;
        }
    }

    /// Whether it has them up to that one, if it is being told.
    pub(super) fn has_told(&self, group: u64) -> bool {
        let progress = self.progress.lock();
        !progress.is_telling || progress.told >= group
    }
}
