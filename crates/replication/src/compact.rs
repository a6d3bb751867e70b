//! Writing the state anew, so that older segments can go.

use hashbrown::HashSet;

use crate::frame::{self, Frame};
use crate::{Assertion, Kind, record};

/// Whoever has state in a journal.
///
/// Compaction asks for all of it again, part by part, as ordinary changes into a new segment; when the last is on the disk,
/// what was before is deleted. No index of the old segments is needed, and a crash in between loses nothing.
pub trait Owner: Send + Sync {
    /// Into how many parts the state is divided; each is in memory for a moment, and should be written in a few
    /// milliseconds.
    fn parts(&self) -> usize;

    /// Appends all that a part holds, under whatever keeps its keys from changing meanwhile. Keys that change together are
    /// to be asserted in one change, so that neither is found without the other.
    ///
    /// It is said to those, too, who lack some of it.
    fn assert(&self, part: usize, into: &Assertion<'_>);
}

/// Leaves out of what was asserted the keys that a group concerns; it was taken after the assertion.
///
/// An assertion says what changes made of a key, so it must not be on the disk before they are: else one half of a change
/// could be found, as nothing is asserted of what it removed. It is written after the group, then; but the group may say
/// something later of a key, and says enough of it in any case.
pub(crate) fn leave_out(asserted: &mut [Vec<u8>], group: &[Vec<u8>]) {
    let changes = group.iter().flat_map(|buffer| frame::each(buffer));
    let records = changes.filter_map(|change| record::read(change).ok()).flatten();
    let keys: HashSet<(Kind, &[u8])> = records.map(|record| (record.kind, record.key)).collect();
    if keys.is_empty() {
        return;
    }
    for buffer in asserted {
        let mut rest = Vec::with_capacity(buffer.len());
        for change in frame::each(buffer) {
            let mut frame = Frame::begin(&mut rest);
            for record in record::read(change).into_iter().flatten() {
                if !keys.contains(&(record.kind, record.key)) {
                    record.write(frame.octets());
                }
            }
            // It is no longer than before.
            let _ = frame.end();
        }
        *buffer = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Journal;

    fn buffer(changes: &[&[&str]]) -> Vec<u8> {
        let journal = Journal::bare();
        for change in changes {
            journal.append(0, |out| {
                for key in *change {
                    out.put(
                        Kind(1),
                        7,
                        |k| k.extend_from_slice(key.as_bytes()),
                        |v| v.extend_from_slice(b"value"),
                    );
                }
            });
        }
        let mut taken = vec![Vec::new(); Journal::lanes()];
        journal.take(&mut taken);
        taken.swap_remove(0)
    }

    #[test]
    fn what_the_group_says_is_left_out() {
        let mut asserted = [buffer(&[&["a", "b"], &["c"], &["d"]]), buffer(&[&["e"]])];
        leave_out(&mut asserted, &[buffer(&[]), buffer(&[&["b", "x"]]), buffer(&[&["c"], &["c"]])]);
        assert_eq!(asserted, [buffer(&[&["a"], &["d"]]), buffer(&[&["e"]])]);
        leave_out(&mut asserted, &[buffer(&[])]);
        assert_eq!(asserted, [buffer(&[&["a"], &["d"]]), buffer(&[&["e"]])]);
    }
}
