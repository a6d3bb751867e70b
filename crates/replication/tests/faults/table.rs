//! An owner: numbered keys in pairs, which change together at times, and so are asserted together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus::Registry;
use replication::{Assertion, Change, Journal, Kind, Metrics, Options, Owner, Record, Recovery, Ticket};

use crate::memory::Memory;

pub(crate) const KIND: Kind = Kind(3);
const PARTS: usize = 3;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) value: Vec<u8>,
    pub(crate) expires_unix_ms: i64,
}

#[derive(Default)]
pub(crate) struct Table(Mutex<BTreeMap<u32, Entry>>);

impl Table {
    pub(crate) fn entries(&self) -> MutexGuard<'_, BTreeMap<u32, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change of keys of one pair, and writes it down.
    pub(crate) fn change(&self, journal: &Journal, of: &[(u32, Option<Entry>)]) -> Ticket {
        let mut entries = self.entries();
        let pair = of[0].0 / 2;
        let ticket = journal.append(pair as usize, |change| {
            for (key, entry) in of {
                match entry {
                    Some(entry) => put(change, *key, entry),
                    None => change.remove(KIND, |out| out.extend_from_slice(&key.to_le_bytes())),
                }
            }
        });
        for (key, entry) in of {
            match entry {
                Some(entry) => drop(entries.insert(*key, entry.clone())),
                None => drop(entries.remove(key)),
            }
        }
        ticket
    }

    pub(crate) fn put(&self, journal: &Journal, key: u32, value: &[u8]) -> Ticket {
        self.change(journal, &[(key, Some(lasting(value)))])
    }
}

pub(crate) fn lasting(value: &[u8]) -> Entry {
    Entry { value: value.to_vec(), expires_unix_ms: i64::MAX }
}

fn put(change: &mut Change<'_>, key: u32, entry: &Entry) {
    let key = key.to_le_bytes();
    change.put(
        KIND,
        entry.expires_unix_ms,
        |out| out.extend_from_slice(&key),
        |out| out.extend_from_slice(&entry.value),
    );
}

impl Owner for Table {
    fn parts(&self) -> usize {
        PARTS
    }

    fn assert(&self, part: usize, into: &Assertion<'_>) {
        let entries = self.entries();
        let mut pairs: BTreeMap<u32, Vec<(u32, &Entry)>> = BTreeMap::new();
        for (&key, entry) in entries.iter().filter(|(key, _)| (*key / 2) as usize % PARTS == part) {
            pairs.entry(key / 2).or_default().push((key, entry));
        }
        for (pair, of) in pairs {
            into.append(pair as usize, |change| of.iter().for_each(|(key, entry)| put(change, *key, entry)));
        }
    }
}

/// The smallest segments, rewritten as often as can be.
pub(crate) fn small() -> Options {
    Options {
        commit_interval: std::time::Duration::ZERO,
        segment_bytes: 4 << 10,
        compact_bytes_min: 0,
        relaxed_delay: std::time::Duration::from_micros(100),
    }
}

pub(crate) struct Opened {
    pub(crate) journal: Arc<Journal>,
    pub(crate) table: Arc<Table>,
    pub(crate) recovery: Recovery,
    pub(crate) registry: Registry,
}

impl Opened {
    /// Has the table's state written anew from now on.
    pub(crate) fn own(&self) {
        let table: Weak<dyn Owner> = Arc::downgrade(&(Arc::clone(&self.table) as Arc<dyn Owner>));
        self.journal.set_owners(vec![table], None);
    }

    /// The sum of a metric.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).expect("a metric");
        family
            .get_metric()
            .iter()
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }
}

/// Opens a journal, and takes its state back; nobody owns it yet.
pub(crate) fn open(
    memory: &Memory,
    options: Options,
    now_unix_ms: i64,
) -> Result<Opened, replication::Error> {
    let (registry, table) = (Registry::new(), Arc::new(Table::default()));
    let metrics = Metrics::register(&registry).expect("a new registry");
    let restore = |record: Record<'_>| {
        assert_eq!(record.kind, KIND);
        let key = u32::from_le_bytes(record.key.try_into().expect("our key"));
        let entry = Entry { value: record.value.to_vec(), expires_unix_ms: record.expires_unix_ms };
        assert_eq!(table.entries().insert(key, entry), None, "a key is given back once");
    };
    let (journal, recovery) =
        Journal::open_files(Arc::new(memory.clone()), options, metrics, now_unix_ms, restore)?;
    Ok(Opened { journal, table, recovery, registry })
}
