//! Whether this process was stopped: by a signal, a debugger, or a machine that had no time for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Stamp;
use crate::part::scale;

/// Sees that time went by of which the process knows nothing. Whoever serves asks on every message, so it takes no lock.
#[derive(Debug)]
pub(crate) struct Pause {
    began: Instant,
    /// Milliseconds of silence that others may take for the end of this node: half of what they wait.
    limit_ms: u64,
    /// Milliseconds that peers are waited for.
    patience_ms: u64,
    /// When somebody looked last, in milliseconds since `began`; 0: nobody ever has.
    looked_ms: AtomicU64,
    /// When it was seen that time had gone by; 0: all is heard.
    woke_ms: AtomicU64,
    /// The same by the clock that nodes share.
    woke: AtomicU64,
}

impl Pause {
    pub(crate) fn new(now: Instant, peer_timeout: Duration) -> Self {
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            began: now,
            limit_ms: milliseconds(peer_timeout / 2),
            patience_ms: milliseconds(peer_timeout),
            looked_ms: AtomicU64::new(0),
            woke_ms: AtomicU64::new(0),
            woke: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_behind(&self, now: Instant, stamp: impl FnOnce() -> Stamp) -> bool {
        let looked_ms = self.looked_ms.load(Ordering::Relaxed);
        let now_ms = scale(self.began, now);
        if looked_ms > 0 && now_ms.saturating_sub(looked_ms) > self.limit_ms {
            self.wake(now_ms, stamp());
        }
        self.woke_ms.load(Ordering::Acquire) > 0
    }

    /// To be called a few times a second. `has_heard` tells whether all that others did up to a time is here.
    pub(crate) fn look(
        &self,
        now: Instant,
        stamp: impl FnOnce() -> Stamp,
        has_heard: impl FnOnce(Stamp) -> bool,
    ) {
        let now_ms = scale(self.began, now).max(1);
        let is_behind = self.is_behind(now, stamp);
        self.looked_ms.store(now_ms, Ordering::Relaxed);
        if !is_behind {
            return;
        }
        let woke_ms = self.woke_ms.load(Ordering::Acquire);
        let is_over = now_ms.saturating_sub(woke_ms) >= self.patience_ms;
        if is_over || has_heard(Stamp(self.woke.load(Ordering::Acquire))) {
            self.woke_ms.store(0, Ordering::Release);
            // Not before it is so: whoever reads it may act on it at once.
            tracing::info!(
                milliseconds = now_ms.saturating_sub(woke_ms),
                "what others did meanwhile is here: requests are taken again"
            );
        }
    }

    fn wake(&self, now_ms: u64, stamp: Stamp) {
        if self.woke_ms.load(Ordering::Acquire) == 0 {
            self.woke.store(stamp.0, Ordering::Release);
            let first = self.woke_ms.compare_exchange(0, now_ms.max(1), Ordering::AcqRel, Ordering::Relaxed);
            if first.is_ok() {
                tracing::warn!(
                    "this node was stopped: it takes no requests until it has heard what others did"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_was_stopped_waits_for_the_others() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let pause = Pause::new(began, Duration::from_secs(1));
        let stamp = || Stamp(7);
        assert!(!pause.is_behind(at(5_000), stamp), "it has not begun");
        pause.look(at(5_000), stamp, |_| unreachable!("nothing was missed"));
        assert!(!pause.is_behind(at(5_500), stamp));
        assert!(pause.is_behind(at(5_501), stamp));
        pause.look(at(5_510), stamp, |since| since < Stamp(7));
        assert!(pause.is_behind(at(5_520), stamp));
        pause.look(at(5_600), stamp, |since| since == Stamp(7));
        assert!(!pause.is_behind(at(5_600), stamp));
        // The one who looks sees it, too; and who says nothing is not waited for.
        pause.look(at(9_000), stamp, |_| false);
        pause.look(at(9_400), stamp, |_| false);
        pause.look(at(9_800), stamp, |_| false);
        assert!(pause.is_behind(at(9_800), stamp));
        pause.look(at(10_000), stamp, |_| false);
        assert!(!pause.is_behind(at(10_000), stamp));
    }
}
