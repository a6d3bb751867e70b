//! The surroundings of every decision, and what comes out to be sent.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::Histogram;
use replication::{Kind, Persistence};
use sip_event::Cause;
use sip_message::Aor;
use sip_service::{Flow, Network, Registrations};
use sip_transaction::ClientId;

use crate::error::RETRY_AFTER_SECONDS;
use crate::keys::WatcherKey;
use crate::persist;
use crate::settings::Current;
use crate::watcher::Watcher;
use crate::{Clock, Error, Metrics};

/// What every decision looks at beside the state: the time and the surroundings.
pub(crate) struct Scene<'a> {
    pub(crate) now: Instant,
    pub(crate) unix_ms: i64,
    pub(crate) clock: Clock,
    pub(crate) settings: &'a Current,
    pub(crate) registrations: &'a dyn Registrations,
    pub(crate) network: &'a dyn Network,
    pub(crate) metrics: &'a Metrics,
    pub(crate) counts: &'a Counts,
    pub(crate) kept: &'a Kept,
    /// A NOTIFY has a CSeq number that is not known to be reserved on the disk: nothing is sent before it is.
    pub(crate) has_reserved: Cell<bool>,
}

/// How each kind of state is kept; `None`: as long as the process lives.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Publications.
    pub publications: Option<Persistence>,
    /// Subscriptions, and what watchers were told.
    pub subscriptions: Option<Persistence>,
}

impl Kept {
    /// How records of a kind are kept.
    pub(crate) fn of(&self, kind: Kind) -> Option<&Persistence> {
        if kind == persist::PUBLICATION { self.publications.as_ref() } else { self.subscriptions.as_ref() }
    }
}

/// What the process holds in all shards, for the limits.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) publications: AtomicUsize,
    pub(crate) watchers: AtomicUsize,
}

/// A request to be sent, as the client transaction needs it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) client: ClientId,
    pub(crate) flow: Flow,
    pub(crate) bytes: Bytes,
    pub(crate) key: WatcherKey,
    /// When the PUBLISH came whose change this tells.
    pub(crate) published_at: Option<Instant>,
}

impl Scene<'_> {
    /// Runs something and puts its duration into a histogram.
    pub(crate) fn measure<T>(&self, histogram: &Histogram, run: impl FnOnce() -> T) -> T {
        let began = (self.clock.monotonic)();
        let value = run();
        histogram.observe((self.clock.monotonic)().saturating_duration_since(began).as_secs_f64());
        value
    }

    /// The longest that anything may last that is taken back or comes from another node.
    pub(crate) fn lifetime_max(&self) -> Duration {
        Duration::from_secs(self.settings.config.max_expires_seconds.into())
    }

    /// Publications came back, or from another node, whatever the limits.
    pub(crate) fn remember_publications(&self, aor: &Aor, count: usize) {
        if count > 0 {
            self.counts.publications.fetch_add(count, Ordering::Relaxed);
            self.settings.gauges(aor).publications.add(count as i64);
        }
    }

    /// A watcher came back, or from another node, whatever the limits.
    pub(crate) fn remember_watcher(&self, watcher: &Watcher) {
        self.counts.watchers.fetch_add(1, Ordering::Relaxed);
        self.settings.gauges(&watcher.presentity).subscriptions.add(watcher.dialog.len() as i64);
    }

    /// Publications are gone.
    pub(crate) fn forget_publications(&self, aor: &Aor, count: usize) {
        if count > 0 {
            self.counts.publications.fetch_sub(count, Ordering::Relaxed);
            self.settings.gauges(aor).publications.sub(count as i64);
        }
    }

    /// A subscription is gone.
    pub(crate) fn subscription_ended(&self, watcher: &Watcher, cause: Cause) {
        self.settings.gauges(&watcher.presentity).subscriptions.dec();
        tracing::debug!(
            presentity = %watcher.presentity,
            watcher = watcher.dialog.remote_target(),
            call_id = watcher.dialog.call_id(),
            ?cause,
            "subscription ended"
        );
    }
}

impl Counts {
    /// One publication more.
    pub(crate) fn admit_publication(&self, max: usize) -> Result<(), Error> {
        let error = Error::TooManyPublications { max, retry_after_seconds: RETRY_AFTER_SECONDS };
        admit(&self.publications, max).then_some(()).ok_or(error)
    }

    /// One subscription dialog more.
    pub(crate) fn admit_watcher(&self, max: usize) -> Result<(), Error> {
        let error = Error::TooManySubscriptions { max, retry_after_seconds: RETRY_AFTER_SECONDS };
        admit(&self.watchers, max).then_some(()).ok_or(error)
    }
}

/// Counts one more, if that is within a limit.
fn admit(count: &AtomicUsize, max: usize) -> bool {
    let one_more = |n| if n < max { Some(n + 1) } else { None };
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
}
