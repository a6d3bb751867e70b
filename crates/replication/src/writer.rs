//! The thread that writes: groups of changes, and from time to time the whole state anew.

use std::io;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::files::Files;
use crate::recover::Found;
use crate::segments::Segments;
use crate::{Assertion, Journal, Metrics, Options, Owner, compact, frame};

/// The longest sleep: then it is seen whether the journal was dropped without being closed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Segments' worth of changes that are kept in memory after a failure: more than are ever accepted ahead, and some that
/// could not be refused.
const BACKLOG_SEGMENTS: u64 = 4;
/// The backlog is written as one frame.
const BACKLOG_BYTES_MAX: u64 = 1 << 30;

pub(crate) struct Writer {
    segments: Segments,
    options: Options,
    metrics: Metrics,
    /// Octets of all groups so far, written or lost.
    done_bytes: u64,
    compaction: Option<Compaction>,
    /// Octets of the state when it was last written anew.
    state_bytes: u64,
    /// The last group could not be written.
    is_failing: bool,
    /// Lanes of groups that could not be written: those who waited were told so, but later changes build on them. So they
    /// are written first when the disk takes them.
    backlog: Vec<Vec<u8>>,
    /// They became too many: no change is accepted until the whole state was written anew.
    is_broken: bool,
    /// Some segment may hold what a failure left there: the state is to be written anew.
    is_doubtful: bool,
    is_writable: bool,
    /// There are segments to delete.
    is_sweeping: bool,
    /// When the disk is asked again, after it refused something.
    try_again_at: Option<Instant>,
    /// What the log was last told of that, to tell it once.
    complaint: Option<&'static str>,
    /// When the next group may be written, if nothing else is to be done.
    group_not_before: Instant,
    /// Of the lanes, empty.
    buffers: Vec<Vec<u8>>,
    /// Where owners write a part of their state anew; not the journal itself, as it is written later, and can be done
    /// without if there is no room.
    anew: Journal,
    /// The part before that: it is written with the next group.
    part: Vec<Vec<u8>>,
}

/// The state is being written anew, into segments from `base` on.
struct Compaction {
    base: u64,
    owner: usize,
    part: usize,
    state_bytes: u64,
}

impl Writer {
    pub(crate) fn new(files: Arc<dyn Files>, options: Options, metrics: Metrics, found: Found) -> Self {
        Self {
            segments: Segments::new(files, options.segment_bytes, found.segments, found.recovery.damaged),
            options,
            metrics,
            done_bytes: 0,
            compaction: None,
            state_bytes: found.state_bytes,
            is_failing: false,
            backlog: vec![Vec::new(); Journal::lanes()],
            is_broken: false,
            is_doubtful: false,
            is_writable: true,
            is_sweeping: false,
            try_again_at: None,
            complaint: None,
            group_not_before: Instant::now(),
            buffers: vec![Vec::new(); Journal::lanes()],
            anew: Journal::bare(),
            part: vec![Vec::new(); Journal::lanes()],
        }
    }

    /// Makes the room that is to be there before a change is accepted. A full disk is no reason not to begin: what is
    /// there can be served.
    pub(crate) fn prepare(&mut self, journal: &Journal) -> io::Result<()> {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match self.segments.reserve(self.segments.segment_bytes()) {
            Err(error) if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) => {
                self.postpone("no room can be reserved for the journal", &error);
            }
            reserved => reserved?,
        }
        self.accept(journal);
        Ok(())
    }

    /// Writes until the journal is closed, or nobody else has it.
    pub(crate) fn run(mut self, journal: &Arc<Journal>) {
        let _ended = Ended(journal);
        while self.step(journal) {
            self.wait(journal);
        }
    }

    /// Does what there is to do at present. Returns whether there may be more later.
    pub(crate) fn step(&mut self, journal: &Arc<Journal>) -> bool {
        let is_last = journal.is_stopping() || Arc::strong_count(journal) == 1;
        // What those did who had it is to be seen.
        fence(Ordering::Acquire);
        if is_last || self.try_again_at.is_some_and(|at| Instant::now() >= at) {
            self.try_again_at = None;
        }
        if !is_last {
            self.compact(journal);
        }
        let has_part = self.anew.is_called() || octets(&self.part) > 0;
        let is_retry_due = self.is_failing && self.try_again_at.is_none();
        if journal.is_called() || has_part || is_retry_due {
            self.write_group(journal);
        }
        if is_last {
            return false;
        }
        self.reserve();
        self.accept(journal);
        self.sweep();
        self.metrics.bytes.set(i64::try_from(self.segments.used_bytes()).unwrap_or(i64::MAX));
        true
    }

    /// Until there is something to do. Changes that nobody waits for may gather for a while; and where groups come one
    /// upon another, somebody waits for a few more to come with them, which costs less than a group each.
    fn wait(&self, journal: &Journal) {
        let is_busy = self.is_sweeping || self.compaction.is_some() && self.try_again_at.is_none();
        let began = Instant::now();
        while !is_busy && !journal.is_stopping() {
            let until = if journal.is_called_now() {
                self.group_not_before
            } else if journal.is_called() {
                began + self.options.relaxed_delay
            } else {
                self.try_again_at.unwrap_or(began + LOOK_AGAIN)
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    fn write_group(&mut self, journal: &Journal) {
        let group = journal.take(&mut self.buffers);
        let began = Instant::now();
        self.group_not_before = began + self.options.commit_interval;
        self.done_bytes += octets(&self.buffers);
        // After a failure nothing is tried before its time.
        let is_postponed = self.is_failing && self.try_again_at.is_some();
        let written = if is_postponed {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            // Some of the backlog may be on the disk where writing failed. If not all of it were found here, what is found
            // would be the older state.
            let backlog = frame::join(&self.backlog);
            let buffers = [&backlog].into_iter().chain(&self.part).chain(&self.buffers);
            self.segments.write(buffers.map(Vec::as_slice))
        };
        match &written {
            Ok(octets) => {
                self.is_failing = false;
                clear(&mut self.backlog);
                if *octets > 0 {
                    self.metrics.commits.inc();
                    self.metrics.written.inc_by(*octets);
                    self.metrics.commit_duration.observe(began.elapsed().as_secs_f64());
                }
            }
            Err(error) => {
                if !is_postponed {
                    self.postpone("the journal cannot be written: no change is accepted", error);
                    (self.is_failing, self.is_doubtful) = (true, true);
                    self.compaction = None;
                    self.segments.abandon();
                }
                self.hold_back();
                // Before those who wait are told.
                self.accept(journal);
            }
        }
        journal.conclude(group, written.is_ok());
        clear(&mut self.part);
        if self.anew.is_called() {
            self.take_part();
        }
        clear(&mut self.buffers);
    }

    /// Keeps a group that could not be written, unless the backlog becomes too large.
    fn hold_back(&mut self) {
        for (held, buffer) in self.backlog.iter_mut().zip(&self.buffers) {
            held.extend_from_slice(buffer);
        }
        let most = self.segments.segment_bytes().saturating_mul(BACKLOG_SEGMENTS).min(BACKLOG_BYTES_MAX);
        if octets(&self.backlog) > most {
            self.is_broken = true;
        }
        if self.is_broken {
            clear(&mut self.backlog);
        }
    }

    /// Takes the part that was asserted before the group that is now on the disk.
    fn take_part(&mut self) {
        self.anew.take(&mut self.part);
        // If the group could not be written, there is no compaction any more.
        let Some(compaction) = &mut self.compaction else { return clear(&mut self.part) };
        compact::leave_out(&mut self.part, &self.buffers);
        let part_bytes = octets(&self.part);
        // The room that there is, is left for changes.
        match self.segments.reserve(part_bytes + self.segments.segment_bytes()) {
            Ok(()) => {
                compaction.part += 1;
                compaction.state_bytes += part_bytes;
            }
            // It is asserted again later.
            Err(error) => {
                clear(&mut self.part);
                self.postpone("there is no room to write the journal anew", &error);
            }
        }
    }

    /// Keeps a segment's worth of room ahead of what is written.
    fn reserve(&mut self) {
        if self.try_again_at.is_none()
            && let Err(error) = self.segments.reserve(self.segments.segment_bytes())
        {
            self.postpone("no room can be reserved for the journal", &error);
        }
    }

    /// Says up to where changes are accepted: as far as there is room, but for a quarter of a segment. It is for those
    /// that cannot be refused (what ends, what was told) and those that are under way.
    fn accept(&mut self, journal: &Journal) {
        let kept_back = self.segments.segment_bytes() / 4 + octets(&self.part);
        let room = self.segments.room().saturating_sub(kept_back);
        journal.accept_until(if self.is_failing || self.is_broken { 0 } else { self.done_bytes + room });
        let was_writable = std::mem::replace(&mut self.is_writable, journal.admit().is_ok());
        self.metrics.writable.set(i64::from(self.is_writable));
        match (was_writable, self.is_writable) {
            (true, false) => tracing::warn!("the journal takes no changes"),
            (false, true) => {
                self.complaint = None;
                tracing::info!("the journal takes changes again");
            }
            (true, true) | (false, false) => {}
        }
    }

    fn postpone(&mut self, what: &'static str, error: &io::Error) {
        if self.complaint.replace(what) == Some(what) {
            tracing::debug!(%error, "still {what}");
        } else {
            tracing::error!(%error, "{what}");
        }
        self.metrics.errors.inc();
        // A second, with the default delay.
        let delay = self.options.relaxed_delay.saturating_mul(20);
        self.try_again_at = Some(Instant::now() + delay.clamp(Duration::from_millis(1), LOOK_AGAIN));
    }

    /// Does the next step of writing the state anew, or begins with it.
    fn compact(&mut self, journal: &Journal) {
        if self.is_failing
            || self.try_again_at.is_some()
            || self.compaction.is_none() && !self.is_compaction_due()
        {
            return;
        }
        let named = journal.owners();
        let owners: Option<Vec<Arc<dyn Owner>>> =
            named.and_then(|owners| owners.list.iter().map(Weak::upgrade).collect());
        let Some(owners) = owners.filter(|owners| !owners.is_empty()) else {
            self.compaction = None;
            return;
        };
        let Some(compaction) = &mut self.compaction else {
            // What is left of the current segment is given up: changes have their room without it.
            let reserved = self.segments.reserve(self.segments.segment_bytes().saturating_mul(2));
            match reserved.and_then(|()| self.segments.begin()) {
                Ok(base) => self.compaction = Some(Compaction { base, owner: 0, part: 0, state_bytes: 0 }),
                Err(error) => self.postpone("the journal cannot be written anew", &error),
            }
            return;
        };
        match owners.get(compaction.owner) {
            Some(owner) if compaction.part < owner.parts() => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let into = Assertion {
                    journal: &self.anew,
                    replica: named.and_then(|owners| owners.replica.as_deref()),
                    wanted: None,
                    now: Instant::now(),
                    unix_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                };
                owner.assert(compaction.part, &into);
                if !self.anew.is_called() {
                    compaction.part += 1; // there is nothing in it
                }
            }
            Some(_) => {
                compaction.owner += 1;
                compaction.part = 0;
            }
            // The last part is on the disk: it was written with the step before this one, and a failure would have ended
            // the compaction.
            None => {
                debug_assert_eq!(octets(&self.part), 0);
                self.state_bytes = compaction.state_bytes;
                self.segments.retire(compaction.base);
                self.compaction = None;
                (self.is_broken, self.is_doubtful) = (false, false);
                self.is_sweeping = true;
                self.complaint = None;
                self.metrics.compactions.inc();
            }
        }
    }

    fn is_compaction_due(&self) -> bool {
        let least = self.options.compact_bytes_min.max(self.segments.segment_bytes());
        let limit = least.max(self.state_bytes.saturating_mul(2));
        self.is_broken
            || self.is_doubtful
            || self.segments.has_damaged()
            || self.segments.used_bytes() > limit
    }

    /// Deletes a segment that holds no state any more.
    fn sweep(&mut self) {
        if self.is_sweeping {
            self.is_sweeping = self.segments.sweep().unwrap_or_else(|error| {
                // It is tried again after the next compaction; at a start it is read again, before what is newer.
                tracing::warn!(%error, "an old journal segment stays");
                self.metrics.errors.inc();
                false
            });
        }
    }
}

fn octets(buffers: &[Vec<u8>]) -> u64 {
    buffers.iter().map(|buffer| buffer.len() as u64).sum()
}

fn clear(buffers: &mut [Vec<u8>]) {
    for buffer in buffers {
        buffer.clear();
        buffer.shrink_to(1 << 20);
    }
}

/// Whatever ends the writer, nobody waits for it in vain.
struct Ended<'a>(&'a Journal);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
