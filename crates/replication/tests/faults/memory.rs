//! Segments in memory, which survive a crash as those on a disk do: what was synced is there; of what was only written,
//! any octets may be.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use replication::{Files, SegmentFile};

/// A disk. Its clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Disk>>);

#[derive(Default)]
pub(crate) struct Disk {
    segments: BTreeMap<u64, Segment>,
    set_aside: Vec<u64>,
    /// Operations until the power goes, in the middle of the last.
    operations_left: Option<u64>,
    operations: u64,
    has_crashed: bool,
    /// Octets of all segments beyond which none is made.
    pub(crate) capacity: Option<u64>,
    /// How many of the next ones fail.
    pub(crate) failing_writes: u32,
    pub(crate) failing_syncs: u32,
    pub(crate) failing_removals: u32,
}

#[derive(Default)]
struct Segment {
    synced: Vec<u8>,
    /// What the next sync puts on the disk.
    written: Vec<(usize, Vec<u8>)>,
    /// What no sync puts on the disk any more, as one has failed; it may be there all the same.
    doubtful: Vec<(usize, Vec<u8>)>,
    /// It may as well be gone after a crash: it is being made, or deleted.
    is_uncertain: bool,
}

impl Memory {
    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an operation, unless the power goes.
    fn operation(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.disk();
        disk.operations += 1;
        if let Some(left) = &mut disk.operations_left {
            *left = left.saturating_sub(1);
            disk.has_crashed |= *left == 0;
        }
        if disk.has_crashed { Err(io::Error::other("no power")) } else { Ok(disk) }
    }

    pub(crate) fn crash_after(&self, operations: u64) {
        self.disk().operations_left = Some(operations);
    }

    /// Cuts the power now.
    pub(crate) fn crash(&self) {
        self.disk().has_crashed = true;
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.disk().has_crashed
    }

    /// The disk as it is found after a crash.
    pub(crate) fn reboot(&self, rng: &mut StdRng) -> Self {
        let mut segments = BTreeMap::new();
        for (&number, segment) in &self.disk().segments {
            if segment.is_uncertain && rng.random_bool(0.5) {
                continue;
            }
            let mut synced = segment.synced.clone();
            for (at, octets) in segment.doubtful.iter().chain(&segment.written) {
                survive(&mut synced[*at..*at + octets.len()], octets, rng);
            }
            segments.insert(number, Segment { synced, ..Segment::default() });
        }
        Self(Arc::new(Mutex::new(Disk { segments, ..Disk::default() })))
    }

    /// The same where everything that is not promised is lost.
    pub(crate) fn reboot_at_worst(&self) -> Self {
        let durable = |segment: &Segment| Segment { synced: segment.synced.clone(), ..Segment::default() };
        let segments =
            self.disk().segments.iter().map(|(&number, segment)| (number, durable(segment))).collect();
        Self(Arc::new(Mutex::new(Disk { segments, ..Disk::default() })))
    }
}

/// Of octets that were written: nothing, all, a beginning, or bits and pieces.
fn survive(disk: &mut [u8], octets: &[u8], rng: &mut StdRng) {
    match rng.random_range(0..4) {
        0 => {}
        1 => disk.copy_from_slice(octets),
        2 => {
            let length = rng.random_range(0..=octets.len());
            disk[..length].copy_from_slice(&octets[..length]);
        }
        _ => {
            let mut at = 0;
            while at < octets.len() {
                let end = (at + rng.random_range(1..200)).min(octets.len());
                if rng.random_bool(0.5) {
                    disk[at..end].copy_from_slice(&octets[at..end]);
                }
                at = end;
            }
        }
    }
}

impl Disk {
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.segments.keys().copied().collect()
    }

    pub(crate) fn set_aside(&self) -> &[u64] {
        &self.set_aside
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    pub(crate) fn damage(&mut self, number: u64, at: usize) {
        self.segments.get_mut(&number).expect("a segment").synced[at] ^= 0xff;
    }

    fn segment(&mut self, number: u64) -> io::Result<&mut Segment> {
        self.segments.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn fails(count: &mut u32) -> bool {
    let is_failing = *count > 0;
    *count = count.saturating_sub(1);
    is_failing
}

impl Files for Memory {
    fn list(&self) -> io::Result<Vec<u64>> {
        Ok(self.operation()?.numbers())
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut disk = self.operation()?;
        let segment = disk.segment(number)?;
        let mut octets = segment.synced.clone();
        for (at, written) in segment.doubtful.iter().chain(&segment.written) {
            octets[*at..*at + written.len()].copy_from_slice(written);
        }
        Ok(octets)
    }

    fn create(&self, number: u64, bytes: u64) -> io::Result<Box<dyn SegmentFile>> {
        {
            let mut disk = self.operation()?;
            if disk.segments.contains_key(&number) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let used: usize = disk.segments.values().map(|segment| segment.synced.len()).sum();
            if disk.capacity.is_some_and(|capacity| used as u64 + bytes > capacity) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let synced = vec![0; bytes as usize];
            disk.segments.insert(number, Segment { synced, is_uncertain: true, ..Segment::default() });
        }
        self.operation()?.segment(number)?.is_uncertain = false;
        Ok(Box::new(Open { disk: self.clone(), number }))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        {
            let mut disk = self.operation()?;
            if fails(&mut disk.failing_removals) {
                return Err(io::Error::other("not removed"));
            }
            if let Ok(segment) = disk.segment(number) {
                segment.is_uncertain = true;
            }
        }
        self.operation()?.segments.remove(&number);
        Ok(())
    }

    fn set_aside(&self, number: u64) -> io::Result<()> {
        self.remove(number)?;
        self.disk().set_aside.push(number);
        Ok(())
    }
}

struct Open {
    disk: Memory,
    number: u64,
}

impl SegmentFile for Open {
    fn write_at(&mut self, octets: &[u8], at: u64) -> io::Result<()> {
        let mut disk = self.disk.operation()?;
        let is_failing = fails(&mut disk.failing_writes);
        let segment = disk.segment(self.number)?;
        let at = usize::try_from(at).expect("an offset");
        assert!(at + octets.len() <= segment.synced.len(), "room is reserved before it is written");
        let taken = if is_failing { octets.len() / 2 } else { octets.len() };
        segment.written.push((at, octets[..taken].to_vec()));
        drop(disk);
        // The power may go when it was written in part.
        drop(self.disk.operation()?);
        if is_failing { Err(io::Error::other("not written")) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.disk.operation()?;
        let is_failing = fails(&mut disk.failing_syncs);
        let segment = disk.segment(self.number)?;
        let written = std::mem::take(&mut segment.written);
        if is_failing {
            segment.doubtful.extend(written);
            return Err(io::Error::other("not synced"));
        }
        for (at, octets) in written {
            segment.synced[at..at + octets.len()].copy_from_slice(&octets);
        }
        Ok(())
    }
}

#[test]
fn what_was_synced_survives() {
    let memory = Memory::default();
    let mut segment = memory.create(1, 100).expect("made");
    segment.write_at(b"kept", 0).and_then(|()| segment.sync()).expect("written");
    segment.write_at(b"perhaps", 50).expect("written");
    memory.crash();
    assert!(segment.sync().is_err());
    let mut rng = StdRng::seed_from_u64(1);
    let outcomes: Vec<_> = (0..20).map(|_| memory.reboot(&mut rng).read(1).expect("there")).collect();
    assert!(outcomes.iter().all(|octets| octets.starts_with(b"kept")));
    assert!(outcomes.iter().any(|octets| octets[50..].starts_with(b"perhaps")));
    assert!(outcomes.iter().any(|octets| octets[50..].starts_with(&[0; 7])));
}
