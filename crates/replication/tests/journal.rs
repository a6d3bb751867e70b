//! A journal in a directory, from opening it to closing it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use prometheus::Registry;
use replication::{
    Assertion, Journal, Kind, Metrics, Options, Owner, Persistence, Replica, ReplicaMetrics, ReplicaOptions,
    Ticket, Unkept,
};

const KIND: Kind = Kind(1);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait(durable: impl Future<Output = Result<(), Unkept>>) -> Result<(), Unkept> {
    let mut durable = pin!(durable);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match durable.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => thread::park(),
        }
    }
}

/// A key and its value.
type Found = (Vec<u8>, Vec<u8>);

fn open(path: &Path) -> (Arc<Journal>, Vec<Found>) {
    let mut found = Vec::new();
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let metrics = Metrics::register(&Registry::new()).expect("a new registry");
    let (journal, _) = Journal::open(path, options, metrics, 0, |record| {
        found.push((record.key.to_vec(), record.value.to_vec()));
    })
    .expect("opened");
    found.sort();
    (journal, found)
}

fn put(journal: &Journal, key: &[u8], value: &[u8]) -> Ticket {
    journal.append(0, |change| {
        change.put(KIND, i64::MAX, |out| out.extend_from_slice(key), |out| out.extend_from_slice(value));
    })
}

/// A node in a cluster that begins at `unix_ms` with what the directory has; and that, with what is removed in brackets.
fn open_node(path: &Path, unix_ms: i64) -> (Persistence, Vec<String>) {
    let registry = Registry::new();
    let metrics = ReplicaMetrics::register(&registry).expect("a new registry");
    let now = Instant::now();
    let replica = Replica::new("a", &["b".into()], ReplicaOptions::default(), metrics, 1, now, unix_ms);
    let mut found = Vec::new();
    let metrics = Metrics::register(&registry).expect("a new registry");
    let (journal, _) = Journal::open(path, Options::default(), metrics, unix_ms, |record| {
        replica.restore(now, unix_ms, 0, &record);
        let key = String::from_utf8_lossy(record.key);
        found.push(if record.is_removed { format!("({key})") } else { key.into_owned() });
    })
    .expect("opened");
    let journal = Some((journal, true));
    (Persistence { journal, replica: Some(replica), unix_ms: || 0 }, found)
}

// Another node may have what would have lasted longer.
#[test]
fn what_was_made_shorter_is_known_to_be_gone_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let put = |persistence: &Persistence, unix_ms: i64, expires_unix_ms| {
        drop(persistence.append(Instant::now(), unix_ms, 0, |change| {
            change.put(KIND, expires_unix_ms, |key| key.extend_from_slice(b"alice"), |_| {});
        }));
        persistence.journal.as_ref().expect("there is one").0.close();
    };
    let (persistence, _) = open_node(dir.path(), 0);
    put(&persistence, 0, 600_000);
    let (persistence, found) = open_node(dir.path(), 10_000);
    assert_eq!(found, ["alice"]);
    put(&persistence, 10_000, 40_000);
    for (unix_ms, expected) in [(30_000, "alice"), (50_000, "(alice)"), (700_000, "(alice)")] {
        let (persistence, found) = open_node(dir.path(), unix_ms);
        assert_eq!(found, [expected]);
        persistence.journal.expect("there is one").0.close();
    }
    assert!(open_node(dir.path(), 721_000).1.is_empty(), "it would have ended by then, and the margin, too");
}

#[test]
fn changes_after_closing_are_lost_and_told_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path());
    let unwaited = put(&journal, b"unwaited", b"1");
    journal.close();
    let after = put(&journal, b"after", b"2");
    assert_eq!(wait(journal.durable(unwaited)), Ok(()));
    assert_eq!(wait(journal.durable(after)), Err(Unkept::Lost));
    assert_eq!(journal.admit(), Err(Unkept::Full));
    journal.close();
    assert_eq!(open(dir.path()).1, [(b"unwaited".to_vec(), b"1".to_vec())]);
}

#[test]
fn many_threads_wait_for_their_changes() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path());
    thread::scope(|scope| {
        for of in 0..8_u8 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..50_u8 {
                    let ticket = journal.append(of.into(), |change| {
                        change.put(
                            KIND,
                            i64::MAX,
                            |out| out.push(of),
                            |out| out.extend_from_slice(&[number; 200]),
                        );
                    });
                    assert_eq!(wait(journal.durable(ticket)), Ok(()));
                    assert_eq!(wait(journal.durable(journal.so_far())), Ok(()));
                }
            });
        }
    });
    journal.close();
    let expected: Vec<_> = (0..8).map(|of| (vec![of], vec![49; 200])).collect();
    assert_eq!(open(dir.path()).1, expected);
}

#[test]
fn what_is_too_large_is_lost_as_a_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path());
    let ticket = journal.append(0, |change| {
        change.put(KIND, i64::MAX, |out| out.extend_from_slice(b"small"), |_| {});
        change.put(KIND, i64::MAX, |out| out.resize(out.len() + 65_536, 7), |_| {});
    });
    assert_eq!(wait(journal.durable(ticket)), Err(Unkept::Lost));
    let largest = put(&journal, &[7; 65_535], b"");
    assert_eq!(wait(journal.durable(largest)), Ok(()));
    journal.close();
    assert_eq!(open(dir.path()).1, [(vec![7; 65_535], Vec::new())]);
}

#[test]
fn a_change_that_panics_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        journal.append(0, |change| {
            change.put(KIND, i64::MAX, |out| out.extend_from_slice(b"half"), |_| {});
            panic!("in the middle of a change");
        })
    }));
    assert!(panicked.is_err());
    put(&journal, b"next", b"1");
    journal.close();
    assert_eq!(open(dir.path()).1, [(b"next".to_vec(), b"1".to_vec())]);
}

/// Whoever waits is not left waiting when an owner's fault ends the writer.
#[test]
fn a_writer_that_panics_tells_who_waits() {
    struct Faulty;

    impl Owner for Faulty {
        fn parts(&self) -> usize {
            1
        }

        fn assert(&self, _: usize, _: &Assertion<'_>) {
            panic!("an owner's fault");
        }
    }

    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { segment_bytes: 4 << 10, compact_bytes_min: 0, ..Options::default() };
    let metrics = Metrics::register(&Registry::new()).expect("a new registry");
    let (journal, _) = Journal::open(dir.path(), options, metrics, 0, |_| {}).expect("opened");
    let faulty: Arc<dyn Owner> = Arc::new(Faulty);
    journal.set_owners(vec![Arc::downgrade(&faulty)], None);
    while wait(journal.durable(put(&journal, b"key", &[1; 500]))).is_ok() {}
    assert_eq!(journal.admit(), Err(Unkept::Full));
    journal.close();
}

#[test]
fn a_journal_that_is_dropped_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path());
    let weak: Weak<Journal> = Arc::downgrade(&journal);
    let persistence = Persistence::on_disk(journal, false, || 0);
    assert_eq!(persistence.admit(), Ok(()));
    let waited = persistence.append(Instant::now(), 0, 0, |change| {
        change.put(
            KIND,
            i64::MAX,
            |out| out.extend_from_slice(b"key"),
            |out| out.extend_from_slice(b"value"),
        );
    });
    assert!(waited.is_none() && persistence.so_far().is_none());
    drop(persistence);
    // The lock goes with the writer's thread.
    let metrics = || Metrics::register(&Registry::new()).expect("a new registry");
    let mut found = Vec::new();
    loop {
        let opened = Journal::open(dir.path(), Options::default(), metrics(), 0, |record| {
            found.push(record.key.to_vec())
        });
        match opened {
            Ok((journal, _)) => break journal.close(),
            Err(error) => assert!(matches!(error, replication::Error::Locked { .. }), "{error}"),
        }
        thread::yield_now();
    }
    assert!(weak.upgrade().is_none());
    assert_eq!(found, [b"key"]);
}
