//! Writing the state anew: old segments go, and nothing with them.

use rand::SeedableRng;
use rand::rngs::StdRng;
use replication::Options;

use crate::memory::Memory;
use crate::table::{open, small};
use crate::wait::{until, wait};

#[test]
fn keeps_the_number_of_segments_bounded() {
    let memory = Memory::default();
    let opened = open(&memory, small(), 0).expect("opened");
    let (journal, table) = (&opened.journal, &opened.table);
    opened.own();
    let mut most = 0;
    for round in 0_u32..3_000 {
        let ticket = table.put(journal, round % 20, &round.to_le_bytes().repeat(20));
        wait(journal, ticket).expect("written");
        most = most.max(memory.disk().numbers().len());
    }
    assert!(most <= 12, "{most} segments of which two hold the state");
    assert!(opened.metric("rollcall_journal_compactions_total") > 10.0);
    journal.close();
    let again = open(&memory.reboot_at_worst(), small(), 0).expect("opened");
    assert_eq!(*again.table.entries(), *table.entries());
    again.journal.close();
}

#[test]
fn a_crash_at_any_step_loses_nothing() {
    let mut rng = StdRng::seed_from_u64(11);
    for operations in 1.. {
        let memory = Memory::default();
        let opened = open(&memory, small(), 0).expect("opened");
        let (journal, table) = (&opened.journal, &opened.table);
        for key in 0..40 {
            wait(journal, table.put(journal, key, &[key as u8; 120])).expect("written");
        }
        wait(journal, table.change(journal, &[(0, None)])).expect("written");
        memory.crash_after(operations);
        opened.own();
        let is_over =
            || opened.metric("rollcall_journal_compactions_total") > 0.0 && memory.disk().numbers()[0] > 2;
        until(journal, || memory.has_crashed() || is_over());
        let has_crashed = memory.has_crashed();
        memory.crash();
        for _ in 0..3 {
            let again = open(&memory.reboot(&mut rng), small(), 0).expect("opened");
            assert_eq!(*again.table.entries(), *table.entries(), "{operations} operations");
            again.journal.close();
        }
        if !has_crashed {
            assert!(operations > 10, "{operations}");
            break;
        }
    }
}

#[test]
fn a_damaged_segment_is_set_aside() {
    let (memory, large) = (Memory::default(), Options { compact_bytes_min: 1 << 30, ..small() });
    let opened = open(&memory, large, 0).expect("opened");
    for key in 0..100 {
        let ticket = opened.table.put(&opened.journal, key, &[key as u8; 100]);
        wait(&opened.journal, ticket).expect("written");
    }
    opened.journal.close();
    // The head of a segment has 32 octets, and a change here 132: the third one of the second segment.
    memory.disk().damage(2, 32 + 132 * 2 + 60);

    let damaged = open(&memory, large, 0).expect("opened");
    assert_eq!((damaged.recovery.damaged.as_slice(), damaged.recovery.damaged_bytes), (&[2][..], 132));
    let mut expected = opened.table.entries().clone();
    expected.retain(|key, _| damaged.table.entries().contains_key(key));
    assert_eq!(expected.len(), 99, "one change");
    assert_eq!(*damaged.table.entries(), expected);
    // It stays where it is until the state was written anew.
    assert!(memory.disk().numbers().contains(&2));
    damaged.own();
    until(&damaged.journal, || memory.disk().set_aside() == [2]);
    damaged.journal.close();

    let again = open(&memory.reboot_at_worst(), large, 0).expect("opened");
    assert_eq!((again.recovery.damaged.as_slice(), again.recovery.damaged_bytes), (&[][..], 0));
    assert_eq!(*again.table.entries(), expected);
    again.journal.close();
}

/// What a later segment says was removed must not come back with an older one.
#[test]
fn a_segment_that_cannot_be_deleted_keeps_the_later_ones() {
    let memory = Memory::default();
    let opened = open(&memory, small(), 0).expect("opened");
    let (journal, table) = (&opened.journal, &opened.table);
    memory.disk().failing_removals = 1;
    for key in 0..60 {
        wait(journal, table.put(journal, key, &[1; 120])).expect("written");
    }
    for key in 0..60 {
        wait(journal, table.change(journal, &[(key, None)])).expect("written");
    }
    table.put(journal, 0, b"the only one");
    opened.own();
    until(journal, || memory.disk().failing_removals == 0);
    let compactions = opened.metric("rollcall_journal_compactions_total");
    for _ in 0..100 {
        wait(journal, journal.so_far()).expect("nothing to write");
    }
    assert_eq!(opened.metric("rollcall_journal_compactions_total"), compactions, "it is not tried at once");
    assert_eq!(memory.disk().numbers()[0], 1);
    let again = open(&memory.reboot_at_worst(), small(), 0).expect("opened");
    assert_eq!(*again.table.entries(), *table.entries());
    again.journal.close();

    // After the next compaction it is tried again.
    for round in 0..60 {
        wait(journal, table.put(journal, 0, &[round; 120])).expect("written");
    }
    until(journal, || memory.disk().numbers()[0] > 1);
    journal.close();
}

#[test]
fn there_is_nothing_to_do_where_nothing_changes() {
    let memory = Memory::default();
    let opened = open(&memory, small(), 0).expect("opened");
    opened.own();
    let journal = &opened.journal;
    wait(journal, opened.table.put(journal, 1, b"one")).expect("written");
    until(journal, || memory.disk().numbers().len() > 1);
    let operations = memory.disk().operations();
    for _ in 0..100 {
        wait(journal, journal.so_far()).expect("nothing to write");
    }
    assert!(memory.disk().operations() <= operations + 10, "no segment is made, written or deleted");
    journal.close();
}
