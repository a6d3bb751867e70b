//! Disks in memory, under virtual time: what is written is on the disk some time later, and a crash undoes what was not.
//!
//! A node writes its journal after each of its steps, before time goes on; so each octet that is written belongs to one
//! virtual instant, and what a crash leaves depends on nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use replication::{Files, SegmentFile};

use crate::clock::Ms;

/// A disk. Its clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: Ms,
    delay: Ms,
    segments: BTreeMap<u64, Vec<u8>>,
    /// What may not be on the disk yet, oldest first.
    writes: VecDeque<Write>,
}

struct Write {
    at: Ms,
    synced_at: Ms,
    segment: u64,
    offset: usize,
    before: Vec<u8>,
}

impl Disk {
    /// Says what time it is, and how long a write takes to be on the disk from now on.
    pub(crate) fn set(&self, now: Ms, delay: Ms) {
        let mut state = self.0.lock();
        (state.now, state.delay) = (now, delay);
        while state.writes.front().is_some_and(|write| write.synced_at <= now) {
            state.writes.pop_front();
        }
    }

    /// When all is on the disk that was written so far.
    pub(crate) fn synced_at(&self) -> Ms {
        let state = self.0.lock();
        state.writes.back().map_or(state.now, |write| write.synced_at)
    }

    /// Power goes. Of what is not on the disk, what was written after `last` is lost.
    pub(crate) fn crash(&self, last: Ms) {
        let mut state = self.0.lock();
        let now = state.now;
        while let Some(write) = state.writes.pop_back() {
            if write.synced_at <= now || write.at <= last {
                break;
            }
            if let Some(segment) = state.segments.get_mut(&write.segment) {
                segment[write.offset..write.offset + write.before.len()].copy_from_slice(&write.before);
            }
        }
        state.writes.clear();
    }

    /// The disk is lost, and a new one takes its place.
    pub(crate) fn replace(&self) {
        let mut state = self.0.lock();
        state.segments.clear();
        state.writes.clear();
    }
}

impl Files for Disk {
    fn list(&self) -> io::Result<Vec<u64>> {
        Ok(self.0.lock().segments.keys().copied().collect())
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        self.0.lock().segments.get(&number).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, number: u64, bytes: u64) -> io::Result<Box<dyn SegmentFile>> {
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        self.0.lock().segments.insert(number, vec![0; length]);
        Ok(Box::new(Open { disk: self.clone(), number }))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.0.lock().segments.remove(&number);
        Ok(())
    }

    fn set_aside(&self, number: u64) -> io::Result<()> {
        self.remove(number)
    }
}

struct Open {
    disk: Disk,
    number: u64,
}

impl SegmentFile for Open {
    fn write_at(&mut self, octets: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let now = state.now;
        let latest = state.writes.back().map_or(now, |write| write.synced_at);
        let synced_at = latest.max(now + state.delay);
        let offset = usize::try_from(at).map_err(io::Error::other)?;
        let segment = state.segments.get_mut(&self.number).ok_or(io::ErrorKind::NotFound)?;
        let place = &mut segment[offset..offset + octets.len()];
        let before = place.to_vec();
        place.copy_from_slice(octets);
        state.writes.push_back(Write { at: now, synced_at, segment: self.number, offset, before });
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(()) // time does it
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_undoes_what_was_not_on_the_disk() {
        let disk = Disk::default();
        let mut segment = disk.create(1, 10).expect("made");
        disk.set(100, 50);
        segment.write_at(b"a", 0).expect("written");
        disk.set(120, 50);
        segment.write_at(b"b", 1).expect("written");
        disk.set(160, 50);
        segment.write_at(b"c", 2).expect("written");
        assert_eq!(disk.synced_at(), 210);
        disk.crash(120);
        assert_eq!(disk.read(1).expect("there")[..3], *b"ab\0");
        disk.replace();
        assert!(disk.list().expect("a list").is_empty());
    }
}
