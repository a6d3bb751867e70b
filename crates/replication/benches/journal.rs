//! What a change costs who makes it, and what a group of them costs until it is on the disk; beside redb.

use std::hint::black_box;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use prometheus::Registry;
use redb::{Database, Durability, TableDefinition};
use replication::{Journal, Kind, Metrics, Options, Ticket};

const KIND: Kind = Kind(1);
/// Changes that are in flight together.
const GROUP: u64 = 64;
/// Keys that the changes are of.
const KEYS: u64 = 100_000;
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bindings");

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait(journal: &Arc<Journal>, ticket: Ticket) {
    let mut durable = pin!(journal.durable(ticket));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    while durable.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        thread::park();
    }
}

fn open(path: &Path, options: Options) -> Arc<Journal> {
    let metrics = Metrics::register(&Registry::new()).expect("a new registry");
    Journal::open(path, options, metrics, 0, |_| {}).expect("opened").0
}

/// The keys come in an order in which a tree has them anywhere.
fn key(number: u64) -> [u8; 50] {
    let mut key = [b'k'; 50];
    key[..8].copy_from_slice(&(number % KEYS).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key
}

/// A change of 300 octets where it is written.
fn append(journal: &Journal, number: u64) -> Ticket {
    journal.append(number as usize, |change| {
        let value = |out: &mut Vec<u8>| out.extend_from_slice(&[number as u8; 300 - 50 - 28]);
        change.put(KIND, i64::MAX, |out| out.extend_from_slice(&key(number)), value);
    })
}

fn benches(c: &mut Criterion) {
    // Beside the build, and not where files may be in memory.
    let dir = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut number = 0;

    let of_appending = dir();
    // Nothing is written anew, and the disk is asked as seldom as can be.
    let options = Options { relaxed_delay: Duration::from_secs(1), ..Options::default() };
    let journal = open(of_appending.path(), options);
    c.bench_function("append", |b| {
        b.iter_batched(
            || wait(&journal, journal.so_far()),
            |()| {
                for _ in 0..1_000 {
                    number += 1;
                    black_box(append(&journal, number));
                }
            },
            BatchSize::PerIteration,
        );
    });
    journal.close();
    drop(of_appending);

    let mut group = c.benchmark_group("64 changes until they are on the disk");
    group.measurement_time(Duration::from_secs(8));
    let of_journal = dir();
    let journal = open(of_journal.path(), Options::default());
    group.bench_function("journal", |b| {
        b.iter(|| {
            let tickets = (0..GROUP).map(|_| {
                number += 1;
                append(&journal, number)
            });
            let last = tickets.last().expect("some");
            wait(&journal, last);
        });
    });
    journal.close();

    let of_redb = dir();
    let database = Database::create(of_redb.path().join("redb")).expect("made");
    group.bench_function("redb", |b| {
        b.iter(|| {
            let mut transaction = database.begin_write().expect("begun");
            transaction.set_durability(Durability::Immediate).expect("set");
            {
                let mut table = transaction.open_table(TABLE).expect("opened");
                for _ in 0..GROUP {
                    number += 1;
                    let value = [number as u8; 300 - 50 - 28];
                    table.insert(&key(number)[..], &value[..]).expect("inserted");
                }
            }
            transaction.commit().expect("committed");
        });
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
