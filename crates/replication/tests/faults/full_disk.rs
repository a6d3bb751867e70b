//! A full disk: changes are refused before one would be lost.

use crate::memory::Memory;
use crate::table::{open, small};
use crate::wait::{until, wait};
use replication::Unkept;

const SEGMENT: u64 = 4 << 10;

#[test]
fn is_told_before_a_change_would_be_lost() {
    let memory = Memory::default();
    memory.disk().capacity = Some(5 * SEGMENT);
    let opened = open(&memory, small(), 0).expect("opened");
    let (journal, table) = (&opened.journal, &opened.table);
    let mut tickets = Vec::new();
    while journal.admit().is_ok() {
        let key = tickets.len() as u32;
        tickets.push(table.put(journal, key, &[7; 100]));
        if key % 5 == 4 {
            wait(journal, tickets[tickets.len() - 1]).expect("there was room");
        }
    }
    assert!(tickets.len() > 80, "{}", tickets.len());
    for ticket in &tickets {
        assert_eq!(wait(journal, *ticket), Ok(()));
    }
    // Only then is it the disk that refuses.
    until(journal, || opened.metric("rollcall_journal_errors_total") > 0.0);
    assert_eq!(journal.admit(), Err(Unkept::Full));
    assert_eq!(opened.metric("rollcall_journal_writable"), 0.0);
    // What cannot be refused still has some room.
    assert_eq!(wait(journal, table.change(journal, &[(0, None)])), Ok(()));

    memory.disk().capacity = None;
    until(journal, || journal.admit().is_ok());
    assert_eq!(wait(journal, table.put(journal, 1_000_000, b"more")), Ok(()));
    journal.close();
    let again = open(&memory.reboot_at_worst(), small(), 0).expect("opened");
    assert_eq!(*again.table.entries(), *table.entries());
    assert_eq!(again.table.entries().len(), tickets.len());
    again.journal.close();
}

#[test]
fn does_not_keep_the_state_from_being_served() {
    let memory = Memory::default();
    let opened = open(&memory, small(), 0).expect("opened");
    opened.table.put(&opened.journal, 1, b"here");
    opened.journal.close();

    memory.disk().capacity = Some(0);
    let full = open(&memory, small(), 0).expect("opened");
    assert_eq!(*full.table.entries(), *opened.table.entries());
    assert_eq!(full.journal.admit(), Err(Unkept::Full));
    // A change that cannot be refused is lost, until the state was written anew.
    assert_eq!(wait(&full.journal, full.table.put(&full.journal, 2, b"there")), Err(Unkept::Lost));
    full.own();
    memory.disk().capacity = None;
    until(&full.journal, || full.journal.admit().is_ok());
    full.journal.close();
    let again = open(&memory.reboot_at_worst(), small(), 0).expect("opened");
    assert_eq!(*again.table.entries(), *full.table.entries());
    assert_eq!(again.table.entries().len(), 2);
    again.journal.close();
}

#[test]
fn writing_the_state_anew_leaves_changes_their_room() {
    let memory = Memory::default();
    memory.disk().capacity = Some(12 * SEGMENT);
    let opened = open(&memory, small(), 0).expect("opened");
    let (journal, table) = (&opened.journal, &opened.table);
    // A state of nine segments, which there is no room to write twice.
    for key in 0..250 {
        assert_eq!(wait(journal, table.put(journal, key, &[1; 100])), Ok(()));
    }
    opened.own();
    for round in 0.. {
        if journal.admit().is_err() {
            break;
        }
        assert_eq!(wait(journal, table.put(journal, round % 20, &[round as u8; 100])), Ok(()));
    }
    assert_eq!(opened.metric("rollcall_journal_compactions_total"), 0.0);
    memory.disk().capacity = None;
    until(journal, || opened.metric("rollcall_journal_compactions_total") > 0.0);
    until(journal, || journal.admit().is_ok());
    journal.close();
    let again = open(&memory.reboot_at_worst(), small(), 0).expect("opened");
    assert_eq!(*again.table.entries(), *table.entries());
    again.journal.close();
}
