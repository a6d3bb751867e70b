//! Random changes, faults and crashes beside a model of what may be found afterwards.
//!
//! A run is repeated by its seed but for the timing of the writer's thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use replication::{Options, Ticket, Unkept};

use crate::memory::Memory;
use crate::table::{Entry, Opened, Table, open, small};
use crate::wait::{until, wait};

const KEYS: u32 = 12;
const SEEDS: u64 = 200;
/// What a process writes expires at some time up to a hundred; the next one begins at fifty, and so on.
const LIFE_MS: i64 = 50;

#[test]
fn what_is_acknowledged_survives() {
    for seed in 0..SEEDS {
        // A failed assertion of any thread is to tell the seed.
        let told = Told(seed);
        run(seed);
        std::mem::forget(told);
    }
}

struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("seed {}", self.0);
    }
}

fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut memory = Memory::default();
    let mut model = Model::default();
    for life in 0..4 {
        let now = life * LIFE_MS;
        let options = Options { compact_bytes_min: rng.random_range(0..40_000), ..small() };
        // The power may go while the journal is being opened.
        if rng.random_bool(0.2) {
            memory.crash_after(rng.random_range(1..30));
        }
        if let Ok(opened) = open(&memory, options, now) {
            model.check(&opened.table, now);
            opened.own();
            live(&mut rng, &memory, &opened, &mut model, now);
            if rng.random_bool(0.3) {
                opened.journal.close();
            }
            memory.crash();
            opened.journal.close();
        }
        memory = memory.reboot(&mut rng);
    }
}

/// Makes changes until the power goes or there are enough.
fn live(rng: &mut StdRng, memory: &Memory, opened: &Opened, model: &mut Model, now: i64) {
    let (journal, table) = (&opened.journal, &opened.table);
    let mut pending: Vec<(Ticket, Change)> = Vec::new();
    if rng.random_bool(0.5) {
        memory.crash_after(rng.random_range(10..400));
    }
    for _ in 0..rng.random_range(20..250) {
        if memory.has_crashed() {
            break;
        }
        match rng.random_range(0..100) {
            0 => memory.disk().failing_syncs = 1,
            1 => memory.disk().failing_writes = 1,
            2 => memory.disk().failing_removals = 1,
            3 | 4 => memory.disk().capacity = Some(rng.random_range(4..10) * 4096),
            5..9 => memory.disk().capacity = None,
            9..30 if !pending.is_empty() => {
                let (ticket, change) = pending.swap_remove(rng.random_range(0..pending.len()));
                if wait(journal, ticket).is_ok() {
                    model.acknowledged(&change);
                }
            }
            // The writer gets on meanwhile.
            30..35 => drop(wait(journal, journal.so_far())),
            _ => {
                if journal.admit().is_err() {
                    memory.disk().capacity = None;
                    until(journal, || memory.has_crashed() || journal.admit().is_ok());
                }
                let change = random(rng, model, now);
                pending.push((table.change(journal, &change.of), change.clone()));
                model.made(change);
            }
        }
    }
    if rng.random_bool(0.5) {
        for (ticket, change) in pending {
            match wait(journal, ticket) {
                Ok(()) => model.acknowledged(&change),
                Err(unkept) => assert_eq!(unkept, Unkept::Lost),
            }
        }
    }
}

/// A change of one key or of both of a pair.
#[derive(Clone, Debug)]
struct Change {
    number: u64,
    of: Vec<(u32, Option<Entry>)>,
}

fn random(rng: &mut StdRng, model: &mut Model, now: i64) -> Change {
    model.changes += 1;
    let key = rng.random_range(0..KEYS);
    let mut keys = vec![key];
    if rng.random_bool(0.4) {
        keys.push(key ^ 1);
    }
    let number = model.changes;
    let of = keys.into_iter().map(|key| {
        let entry = rng.random_bool(0.75).then(|| {
            let mut value = number.to_le_bytes().to_vec();
            value.resize(8 + rng.random_range(0..200), rng.random());
            Entry { value, expires_unix_ms: now + rng.random_range(1..=100) }
        });
        (key, entry)
    });
    Change { number, of: of.collect() }
}

/// What was written of each key, and from which change on it must be found.
#[derive(Default)]
struct Model {
    changes: u64,
    written: BTreeMap<u32, Vec<Change>>,
    acknowledged: BTreeMap<u32, u64>,
}

impl Model {
    fn made(&mut self, change: Change) {
        for (key, _) in &change.of {
            self.written.entry(*key).or_default().push(change.clone());
        }
    }

    fn acknowledged(&mut self, change: &Change) {
        for (key, _) in &change.of {
            let acknowledged = self.acknowledged.entry(*key).or_default();
            *acknowledged = change.number.max(*acknowledged);
        }
    }

    /// Compares what was found with what may be; from then on that is what is on the disk.
    fn check(&mut self, table: &Arc<Table>, now: i64) {
        let found = table.entries();
        assert!(found.keys().all(|key| *key < KEYS), "nothing is found that was not written");
        for pair in 0..KEYS / 2 {
            let keys = [pair * 2, pair * 2 + 1];
            let [one, other] = keys.map(|key| self.last_changes(key, found.get(&key), now));
            // No change is found in half: if one key has it, the other one has it or a later one.
            let is_whole = |of: &Change, key: u32, last: u64| {
                of.of.iter().all(|(changed, _)| *changed != key) || last >= of.number
            };
            let possible: Vec<[&Change; 2]> = one
                .iter()
                .flat_map(|one| other.iter().map(move |other| [one, other]))
                .filter(|[one, other]| {
                    is_whole(one, keys[1], other.number) && is_whole(other, keys[0], one.number)
                })
                .collect();
            assert!(
                !possible.is_empty(),
                "of a change of keys {keys:?} one half was found: {one:?} {other:?}"
            );
            // What is found is on the disk; what has ended or was removed may have been so by any of these changes.
            for (index, key) in keys.into_iter().enumerate() {
                let numbers: Vec<u64> = possible.iter().map(|possible| possible[index].number).collect();
                self.written.entry(key).or_default().retain(|change| numbers.contains(&change.number));
                self.acknowledged.insert(key, numbers.into_iter().min().unwrap_or_default());
            }
        }
    }

    /// The changes by which a key can have come to what was found.
    fn last_changes(&self, key: u32, found: Option<&Entry>, now: i64) -> Vec<Change> {
        let acknowledged = self.acknowledged.get(&key).copied().unwrap_or_default();
        let never = Change { number: 0, of: vec![(key, None)] };
        let written = self.written.get(&key).into_iter().flatten();
        let possible = [&never].into_iter().chain(written).filter(|change| {
            let entry =
                change.of.iter().find(|(changed, _)| *changed == key).and_then(|(_, entry)| entry.as_ref());
            change.number >= acknowledged && entry.filter(|entry| entry.expires_unix_ms > now) == found
        });
        let possible: Vec<Change> = possible.cloned().collect();
        assert!(
            !possible.is_empty(),
            "key {key}: {found:?} is none of what may be found from {acknowledged} on"
        );
        possible
    }
}
