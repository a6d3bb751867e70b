//! The journal as its users see it: changes go in, and each tells when it is on the disk.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle, Thread};

use parking_lot::Mutex;

use crate::compact::Owner;
use crate::files::{Directory, Files};
use crate::frame::Frame;
use crate::writer::Writer;
use crate::{Change, Error, Metrics, Options, Pen, Record, Recovery, Replica, Unkept, recover};

/// Says which group of changes a change belongs to; of those that are written, later ones never have a smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Ticket {
    /// Of a change that is not written.
    const OF_NO_GROUP: Self = Self(u64::MAX);
}

/// Where changes gather; two owners' changes seldom meet in one.
const LANES: usize = 16;

/// Soft state on a disk. Changes gather in memory, and one thread writes all that came meanwhile as a group.
pub struct Journal {
    lanes: Box<[Mutex<Vec<u8>>]>,
    /// The group that gathers.
    gathering: AtomicU64,
    /// Octets of all changes so far.
    appended: AtomicU64,
    /// How many that may become before no more are accepted.
    limit: AtomicU64,
    /// What the writer is to do; see [`Call`].
    call: AtomicU8,
    progress: Mutex<Progress>,
    stop: AtomicBool,
    owners: OnceLock<Owners>,
    writer: OnceLock<Thread>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Those whose state this is.
pub(crate) struct Owners {
    pub(crate) list: Vec<Weak<dyn Owner>>,
    /// Knows the versions.
    pub(crate) replica: Option<Arc<Replica>>,
}

/// How far the writer is.
#[derive(Debug, Default)]
struct Progress {
    /// Groups up to this one are on the disk, but for the lost ones.
    durable: u64,
    /// All groups that were lost are after the first number, up to the second. Those between them that were not are taken
    /// for lost by who asks only now: that is answered 503 for nothing, but never the other way round.
    lost: (u64, u64),
    /// Nothing more is written.
    has_ended: bool,
    waiting: Vec<(Ticket, Waker)>,
}

impl Progress {
    fn outcome(&self, ticket: Ticket) -> Option<Result<(), Unkept>> {
        let (after, to) = self.lost;
        let is_lost = after < ticket.0 && ticket.0 <= to;
        if ticket.0 <= self.durable {
            Some(if is_lost { Err(Unkept::Lost) } else { Ok(()) })
        } else {
            (self.has_ended || ticket == Ticket::OF_NO_GROUP).then_some(Err(Unkept::Lost))
        }
    }

    /// Takes out who need not wait any more.
    fn ready(&mut self) -> Vec<Waker> {
        let waiting = std::mem::take(&mut self.waiting);
        let (ready, waiting) = waiting.into_iter().partition(|(ticket, _)| self.outcome(*ticket).is_some());
        self.waiting = waiting;
        let ready: Vec<_> = ready;
        ready.into_iter().map(|(_, waker)| waker).collect()
    }
}

/// What the writer is called for; a greater one takes precedence.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Call {
    Nothing,
    /// There are changes, and nobody waits for them.
    Changes,
    /// Somebody waits.
    Now,
}

impl Journal {
    /// Opens the journal in a directory, makes it if need be, and gives `restore` all that it held and that has not ended
    /// at `now_unix_ms`; then begins to take changes.
    ///
    /// # Errors
    /// If the directory cannot be had or read, or was written by a later version. Neither damage (it is told in
    /// [`Recovery`]) nor a full disk (no changes are accepted then) is an error.
    pub fn open(
        path: &Path,
        options: Options,
        metrics: Metrics,
        now_unix_ms: i64,
        restore: impl FnMut(Record<'_>),
    ) -> Result<(Arc<Self>, Recovery), Error> {
        Self::open_files(Arc::new(Directory::open(path)?), options, metrics, now_unix_ms, restore)
    }

    /// The same over other files than those of a directory.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_files(
        files: Arc<dyn Files>,
        options: Options,
        metrics: Metrics,
        now_unix_ms: i64,
        restore: impl FnMut(Record<'_>),
    ) -> Result<(Arc<Self>, Recovery), Error> {
        let (journal, writer, recovery) = Self::begin(files, options, metrics, now_unix_ms, restore)?;
        let written = Arc::clone(&journal);
        let thread = thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(&written))
            .map_err(Error::Thread)?;
        journal.writer.get_or_init(|| thread.thread().clone());
        *journal.thread.lock() = Some(thread);
        Ok((journal, recovery))
    }

    /// The same without a thread: it is written when the pen is told to.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_by_hand(
        files: Arc<dyn Files>,
        options: Options,
        metrics: Metrics,
        now_unix_ms: i64,
        restore: impl FnMut(Record<'_>),
    ) -> Result<(Arc<Self>, Pen, Recovery), Error> {
        let (journal, writer, recovery) = Self::begin(files, options, metrics, now_unix_ms, restore)?;
        Ok((Arc::clone(&journal), Pen::new(journal, writer), recovery))
    }

    fn begin(
        files: Arc<dyn Files>,
        options: Options,
        metrics: Metrics,
        now_unix_ms: i64,
        mut restore: impl FnMut(Record<'_>),
    ) -> Result<(Arc<Self>, Writer, Recovery), Error> {
        let found = recover::recover(&*files, now_unix_ms, &mut restore)?;
        let recovery = found.recovery.clone();
        metrics.damaged.set(i64::try_from(recovery.damaged_bytes).unwrap_or(i64::MAX));
        let journal = Arc::new(Self::bare());
        let mut writer = Writer::new(files, options, metrics, found);
        writer.prepare(&journal).map_err(|source| Error::Io { path: "journal".into(), source })?;
        Ok((journal, writer, recovery))
    }

    /// One that nobody writes.
    pub(crate) fn bare() -> Self {
        Self {
            lanes: (0..LANES).map(|_| Mutex::default()).collect(),
            gathering: AtomicU64::new(1),
            appended: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            call: AtomicU8::new(Call::Nothing as u8),
            progress: Mutex::default(),
            stop: AtomicBool::new(false),
            owners: OnceLock::new(),
            writer: OnceLock::new(),
            thread: Mutex::new(None),
        }
    }

    /// Names those whose state this is. From then on the state is written anew, and older segments are deleted, when there
    /// is much more in them than the state. `replica` knows the versions of what other nodes have too.
    pub fn set_owners(&self, list: Vec<Weak<dyn Owner>>, replica: Option<Arc<Replica>>) {
        self.owners.get_or_init(|| Owners { list, replica });
        // It may be time already: if a segment is damaged, say.
        self.call(Call::Changes);
    }

    /// Whether another change may be made: to be asked before it is.
    ///
    /// # Errors
    /// [`Unkept::Full`].
    pub fn admit(&self) -> Result<(), Unkept> {
        let has_room = self.appended.load(Ordering::Acquire) < self.limit.load(Ordering::Acquire);
        if has_room { Ok(()) } else { Err(Unkept::Full) }
    }

    /// Writes down a change, which is to be called while nobody else can change these keys, with the same `lane` for all
    /// changes of one key. It never waits for the disk.
    pub fn append(&self, lane: usize, write: impl FnOnce(&mut Change<'_>)) -> Ticket {
        if self.is_stopping() {
            return Ticket::OF_NO_GROUP;
        }
        let ticket = {
            let mut lane = self.lanes[lane % LANES].lock();
            let mut frame = Frame::begin(&mut lane);
            let mut change = Change::new(frame.octets());
            write(&mut change);
            let written = if change.is_within_bounds() { frame.end() } else { None };
            let Some(octets) = written else {
                tracing::error!("a change is too large to be written");
                return Ticket::OF_NO_GROUP;
            };
            self.appended.fetch_add(octets as u64, Ordering::AcqRel);
            // The lane is locked: the group that takes it is this one, or an earlier one.
            Ticket(self.gathering.load(Ordering::Acquire))
        };
        self.call(Call::Changes);
        ticket
    }

    /// The ticket of all that this thread has appended so far.
    pub fn so_far(&self) -> Ticket {
        Ticket(self.gathering.load(Ordering::Acquire))
    }

    /// When the change with this ticket, and all before it that were not lost, are on the disk.
    pub fn durable(self: &Arc<Self>, ticket: Ticket) -> OnDisk {
        OnDisk { journal: Arc::clone(self), ticket }
    }

    /// Writes what is there and ends the writer. Changes that come later are not written, and who waits for them is told
    /// so.
    pub fn close(&self) {
        self.stop.store(true, Ordering::Release);
        self.call(Call::Now);
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the journal ended by a panic");
        }
    }

    fn call(&self, call: Call) {
        if self.call.fetch_max(call as u8, Ordering::AcqRel) < call as u8
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }
}

/// What the writer does with the journal.
impl Journal {
    pub(crate) fn owners(&self) -> Option<&Owners> {
        self.owners.get()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn is_called_now(&self) -> bool {
        self.call.load(Ordering::Acquire) == Call::Now as u8
    }

    pub(crate) fn is_called(&self) -> bool {
        self.call.load(Ordering::Acquire) != Call::Nothing as u8
    }

    /// Takes all changes that have gathered, into buffers that are empty, and returns the number of their group.
    ///
    /// The call is forgotten first: who appends after it calls again, and whose call is forgotten has appended before, and
    /// so into this group.
    pub(crate) fn take(&self, into: &mut [Vec<u8>]) -> u64 {
        self.call.store(Call::Nothing as u8, Ordering::Release);
        // Who appends from now on may get the next number though the change goes with this group: it waits longer.
        let group = self.gathering.fetch_add(1, Ordering::AcqRel);
        for (lane, buffer) in self.lanes.iter().zip(into) {
            std::mem::swap(&mut *lane.lock(), buffer);
        }
        group
    }

    pub(crate) const fn lanes() -> usize {
        LANES
    }

    /// Says how many octets all changes together may become before no more are accepted.
    pub(crate) fn accept_until(&self, limit: u64) {
        self.limit.store(limit, Ordering::Release);
    }

    /// A group is on the disk, or lost.
    pub(crate) fn conclude(&self, group: u64, is_durable: bool) {
        let ready = {
            let mut progress = self.progress.lock();
            if !is_durable {
                let after = if progress.lost.1 == 0 { group - 1 } else { progress.lost.0 };
                progress.lost = (after, group);
            }
            progress.durable = group;
            progress.ready()
        };
        ready.into_iter().for_each(Waker::wake);
    }

    /// Nothing more is written, and nothing accepted.
    pub(crate) fn end(&self) {
        self.stop.store(true, Ordering::Release);
        self.accept_until(0);
        let ready = {
            let mut progress = self.progress.lock();
            progress.has_ended = true;
            progress.ready()
        };
        ready.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("gathering", &self.gathering).finish_non_exhaustive()
    }
}

/// Resolves when a change is on the disk.
#[derive(Debug)]
#[must_use = "a change that nobody waits for is written some time later"]
pub struct OnDisk {
    journal: Arc<Journal>,
    ticket: Ticket,
}

impl Future for OnDisk {
    type Output = Result<(), Unkept>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        {
            let mut progress = self.journal.progress.lock();
            if let Some(outcome) = progress.outcome(self.ticket) {
                return Poll::Ready(outcome);
            }
            progress.waiting.push((self.ticket, context.waker().clone()));
        }
        self.journal.call(Call::Now);
        Poll::Pending
    }
}
