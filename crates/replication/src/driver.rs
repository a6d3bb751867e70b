//! What drives a replica: a thread of its own, on which what changed is gathered, what is due is done, and tasks carry it
//! to others, so that those who serve are not disturbed.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::{PARTS, Replica};

/// How often the replica is asked what is due. A part is swept each time, so all are within seven seconds.
const TICK: Duration = Duration::from_millis(100);
/// The least time from one group to the next: after a pause a change is sent at once, and in larger groups under load.
const GATHER_INTERVAL: Duration = Duration::from_millis(1);
/// How long a node that stops waits until all who are told have what it changed.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long its connections may take to close after that.
const CLOSING: Duration = Duration::from_secs(2);
/// Threads that look names up: one of them may hang for long.
const LOOKUP_THREADS: usize = 4;

/// What tasks go by.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Changes whenever there may be something to say, and a few times a second.
    pub(crate) wakes: watch::Receiver<()>,
    /// Becomes true when connections are to be closed.
    pub(crate) closing: watch::Receiver<bool>,
    /// All is there that this node begins with.
    pub(crate) is_serving: Arc<AtomicBool>,
    /// The wall clock.
    pub(crate) unix_ms: fn() -> i64,
}

/// Runs until it is stopped; see [`Driving`].
pub(crate) struct Driver {
    replica: Arc<Replica>,
    has_changed: Arc<Notify>,
    is_serving: Arc<AtomicBool>,
    wake: watch::Sender<()>,
    close: watch::Sender<bool>,
}

/// A thread that drives a replica. It ends, in order, when this is dropped.
#[derive(Debug)]
pub(crate) struct Driving {
    is_serving: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Driver {
    /// Is woken by `replica` from now on.
    pub(crate) fn new(replica: Arc<Replica>, unix_ms: fn() -> i64) -> (Self, Pace) {
        let (wake, wakes) = watch::channel(());
        let (close, closing) = watch::channel(false);
        let has_changed = Arc::new(Notify::new());
        let waking = Arc::downgrade(&has_changed);
        replica.set_wake(move || {
            if let Some(has_changed) = waking.upgrade() {
                has_changed.notify_one();
            }
        });
        let is_serving = Arc::default();
        let pace = Pace { wakes, closing, is_serving: Arc::clone(&is_serving), unix_ms };
        (Self { replica, has_changed, is_serving, wake, close }, pace)
    }

    /// Begins, on a thread of that name: `begin` starts the tasks there, and `is_all_told` says whether all who are told have
    /// all.
    ///
    /// # Errors
    /// The thread cannot be had.
    pub(crate) fn start(
        self,
        name: &str,
        begin: impl FnOnce(&mut JoinSet<()>) + Send + 'static,
        is_all_told: impl Fn() -> bool + Send + 'static,
    ) -> io::Result<Driving> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(LOOKUP_THREADS)
            .build()?;
        let (stop, stopping) = watch::channel(false);
        let is_serving = Arc::clone(&self.is_serving);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            runtime.block_on(async move {
                let mut tasks = JoinSet::new();
                begin(&mut tasks);
                self.run(tasks, stopping, is_all_told).await;
            });
            // A name that is being looked up is waited for no longer.
            runtime.shutdown_background();
        })?;
        Ok(Driving { is_serving, stop, thread: Some(thread) })
    }

    async fn run(
        self,
        mut tasks: JoinSet<()>,
        mut stopping: watch::Receiver<bool>,
        is_all_told: impl Fn() -> bool,
    ) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweeping = (0..PARTS).cycle();
        let mut ticked_at = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let before = std::mem::replace(&mut ticked_at, Instant::now());
                    self.tick(before, ticked_at, sweeping.next().unwrap_or(0));
                }
                () = self.has_changed.notified() => {
                    self.gather();
                    sleep(GATHER_INTERVAL).await;
                }
                Some(Err(error)) = tasks.join_next() => report_panic(error),
                () = until_true(&mut stopping) => break,
            }
        }
        let farewell = async {
            self.gather();
            while !is_all_told() {
                sleep(GATHER_INTERVAL).await;
                self.wake.send_replace(());
            }
        };
        if timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!(
                "not all that was changed here is known to others: it will be when this node is back"
            );
        }
        self.close.send_replace(true);
        let all_closed = async { while tasks.join_next().await.is_some() {} };
        // They are dropped then.
        let _ = timeout(CLOSING, all_closed).await;
    }

    fn tick(&self, before: Instant, now: Instant, sweeping: usize) {
        let replica = &self.replica;
        // The process was stopped, or the machine: what came meanwhile is yet to be read.
        if now.saturating_duration_since(before) >= replica.options.peer_timeout / 4 {
            tracing::warn!("this node did nothing for a while");
            replica.was_away(now);
        }
        // What owners do for a node that is gone is not ours: a fault there costs that, not the links.
        let ticked = catch_unwind(AssertUnwindSafe(|| {
            if self.is_serving.load(Ordering::Relaxed) {
                replica.tick(now);
            }
            replica.sweep(now, sweeping, PARTS);
        }));
        if ticked.is_err() {
            tracing::error!("acting for a node that is gone ended by a panic");
        }
        self.gather();
    }

    fn gather(&self) {
        self.replica.gather(Instant::now());
        self.wake.send_replace(());
    }
}

impl Driving {
    /// All is there that this node begins with: from now on it acts for nodes that are gone.
    pub(crate) fn serve(&self) {
        self.is_serving.store(true, Ordering::Relaxed);
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.stop.send(true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("replication ended by a panic");
        }
    }
}

/// Tells of a task that ended by a panic.
pub(crate) fn report_panic(error: JoinError) {
    if error.is_panic() {
        tracing::error!(%error, "a link ended by a panic");
    }
}

/// Resolves when it is true, or nobody is there any more who could say so.
pub(crate) async fn until_true(what: &mut watch::Receiver<bool>) {
    let _ = what.wait_for(|is_true| *is_true).await;
}

/// `None` if it is time to stop first.
pub(crate) async fn unless<T>(
    stopping: &mut watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let work = pin!(work);
    tokio::select! {
        done = work => Some(done),
        () = until_true(stopping) => None,
    }
}
