//! When something under a lock is due, for whoever would rather not take the lock to see that nothing is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The earliest time at which something may be due, in milliseconds since its owner began. Its clones are the same one.
///
/// It is written under the owner's lock, and read without: what another thread adds at that moment may be seen only when
/// it is asked again.
#[derive(Clone, Debug)]
pub struct Due(Arc<AtomicU64>);

impl Due {
    /// Of an owner that has nothing.
    pub fn never() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }

    /// Something may be due at that time, and nothing before it.
    pub fn set(&self, at_ms: u64) {
        self.0.store(at_ms, Ordering::Release);
    }

    /// Something more may be due at that time.
    pub fn bring_forward(&self, at_ms: u64) {
        // The lock is held: nobody else writes.
        if at_ms < self.0.load(Ordering::Acquire) {
            self.set(at_ms);
        }
    }

    /// Whether something may be due.
    pub fn is_reached(&self, now_ms: u64) -> bool {
        self.0.load(Ordering::Acquire) <= now_ms
    }
}
