//! Where the journal was cut off, the rest is there; the next journal goes on after it.

use crate::memory::Memory;
use crate::table::{lasting, open, small};
use crate::wait::wait;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// A segment is made ahead, so that the torn one is not the newest by its number.
#[test]
fn a_torn_change_is_not_taken_for_damage() {
    let memory = Memory::default();
    let opened = open(&memory, small(), 0).expect("opened");
    let (journal, table) = (&opened.journal, &opened.table);
    wait(journal, table.put(journal, 1, b"whole")).expect("written");
    let whole = table.entries().clone();
    // Two rounds later the writer has made what room it wants.
    for _ in 0..2 {
        wait(journal, journal.so_far()).expect("nothing to write");
    }
    // The power goes when the next change was written, and not synced.
    memory.crash_after(3);
    assert!(wait(journal, table.put(journal, 2, &[9; 300])).is_err());
    let mut rng = StdRng::seed_from_u64(3);
    let mut is_torn = 0;
    for _ in 0..200 {
        let again = open(&memory.reboot(&mut rng), small(), 0).expect("opened");
        is_torn += u32::from(again.recovery.torn_bytes > 0);
        assert_eq!(again.recovery.damaged, [0_u64; 0]);
        let found = again.table.entries().clone();
        assert!(found == whole || found == *table.entries(), "{found:?}");
        again.journal.close();
    }
    assert!(is_torn > 50, "{is_torn}");
}

/// Segments that were made and not used are gone at the next start: a process that starts and fails, again and again,
/// does not fill the disk.
#[test]
fn unused_segments_do_not_gather() {
    let memory = Memory::default();
    for _ in 0..20 {
        let opened = open(&memory, small(), 0).expect("opened");
        opened.journal.close();
        assert!(memory.disk().numbers().len() <= 2, "{:?}", memory.disk().numbers());
    }
}

#[test]
fn a_change_larger_than_a_segment() {
    let memory = Memory::default();
    let opened = open(&memory, small(), 0).expect("opened");
    let (journal, table) = (&opened.journal, &opened.table);
    for (key, length) in [(1, 10), (2, 100_000), (3, 4096), (4, 4096 - 32 - 32), (5, 4097 - 32 - 32), (6, 10)]
    {
        assert_eq!(wait(journal, table.put(journal, key, &vec![key as u8; length])), Ok(()), "{key}");
    }
    memory.crash();
    let again = open(&memory.reboot_at_worst(), small(), 0).expect("opened");
    assert_eq!(*again.table.entries(), *table.entries());
    assert_eq!(again.table.entries()[&6], lasting(&[6; 10]));
    again.journal.close();
}
