//! A sync or a write that fails: who waits is told, and all is made good when the disk takes it.

use crate::memory::Memory;
use crate::table::{lasting, open, small};
use crate::wait::{until, wait};
use rand::SeedableRng;
use rand::rngs::StdRng;
use replication::{Options, Unkept};
use std::time::Duration;

fn check(fail: impl Fn(&Memory)) {
    let memory = Memory::default();
    let opened = open(&memory, small(), 0).expect("opened");
    let (journal, table) = (&opened.journal, &opened.table);
    let before = table.put(journal, 1, b"before");
    assert_eq!(wait(journal, before), Ok(()));
    fail(&memory);
    let together = [table.put(journal, 2, b"lost"), table.put(journal, 30, b"lost, too")];
    assert_eq!(together.map(|ticket| wait(journal, ticket)), [Err(Unkept::Lost); 2]);
    assert_eq!(journal.admit(), Err(Unkept::Full));
    assert_eq!(wait(journal, before), Ok(()), "what was on the disk stays there");
    // The lost ones are made good first; and the state is written anew, as soon as somebody owns it.
    until(journal, || journal.admit().is_ok());
    opened.own();
    until(journal, || opened.metric("rollcall_journal_compactions_total") > 0.0);
    assert_eq!(wait(journal, together[0]), Err(Unkept::Lost), "it was not there in time");
    assert_eq!(wait(journal, table.put(journal, 5, b"later")), Ok(()));
    memory.crash();
    let again = open(&memory.reboot_at_worst(), small(), 0).expect("opened");
    assert_eq!(*again.table.entries(), *table.entries());
    assert_eq!(again.table.entries().len(), 4);
    again.journal.close();
    journal.close();
}

#[test]
fn of_a_sync() {
    check(|memory| memory.disk().failing_syncs = 1);
}

#[test]
fn of_a_write() {
    check(|memory| memory.disk().failing_writes = 1);
}

#[test]
fn again_and_again() {
    check(|memory| memory.disk().failing_syncs = 5);
    check(|memory| memory.disk().failing_writes = 5);
}

/// More is lost than is kept in memory: only the whole state makes it good.
#[test]
fn for_long() {
    let memory = Memory::default();
    let opened = open(&memory, small(), 0).expect("opened");
    let (journal, table) = (&opened.journal, &opened.table);
    memory.disk().failing_writes = u32::MAX;
    for key in 0..400 {
        assert_eq!(wait(journal, table.put(journal, key, &[1; 100])), Err(Unkept::Lost));
    }
    memory.disk().failing_writes = 0;
    until(journal, || wait(journal, table.put(journal, 1_000, b"after")).is_ok());
    assert_eq!(journal.admit(), Err(Unkept::Full));
    opened.own();
    until(journal, || journal.admit().is_ok());
    memory.crash();
    let again = open(&memory.reboot_at_worst(), small(), 0).expect("opened");
    assert_eq!(*again.table.entries(), *table.entries());
    assert_eq!(again.table.entries().len(), 401);
    again.journal.close();
    journal.close();
}

#[test]
fn before_closing() {
    let memory = Memory::default();
    let opened =
        open(&memory, Options { relaxed_delay: Duration::from_secs(60), ..small() }, 0).expect("opened");
    let (journal, table) = (&opened.journal, &opened.table);
    memory.disk().failing_syncs = 1;
    assert_eq!(wait(journal, table.put(journal, 1, b"lost")), Err(Unkept::Lost));
    journal.close();
    let again = open(&memory.reboot_at_worst(), small(), 0).expect("opened");
    assert_eq!(*again.table.entries(), *table.entries());
    again.journal.close();
}

/// What was lost may be there in full where the sync failed, and in part where it is made good: the part must not hide
/// what came after it.
#[test]
fn then_a_crash_while_it_is_made_good() {
    let mut rng = StdRng::seed_from_u64(9);
    for operations in 1..20 {
        let memory = Memory::default();
        let opened = open(&memory, small(), 0).expect("opened");
        let (journal, table) = (&opened.journal, &opened.table);
        memory.disk().failing_syncs = 1;
        table.change(journal, &[(2, None)]);
        let both = table.change(journal, &[(2, Some(lasting(b"two"))), (3, Some(lasting(b"three")))]);
        let _ = wait(journal, both);
        memory.crash_after(operations);
        until(journal, || memory.has_crashed() || memory.disk().operations() > 60 || journal.admit().is_ok());
        memory.crash();
        for _ in 0..100 {
            let again = open(&memory.reboot(&mut rng), small(), 0).expect("opened");
            assert!(matches!(again.table.entries().len(), 0 | 2), "{:?}", again.table.entries());
            again.journal.close();
        }
        journal.close();
    }
}
