//! Files in which octets were changed, or which were cut short: what is found was written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus::Registry;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use replication::{Error, Journal, Kind, Metrics, Options, Recovery};

const KIND: Kind = Kind(1);
const KEYS: u64 = 400;

fn open(dir: &Path, restore: impl FnMut(u64, u64)) -> Result<(Arc<Journal>, Recovery), Error> {
    let mut restore = restore;
    let options = Options { segment_bytes: 4 << 10, ..Options::default() };
    let metrics = Metrics::register(&Registry::new()).expect("a new registry");
    Journal::open(dir, options, metrics, 0, |record| {
        assert_eq!(record.kind, KIND);
        let key = u64::from_le_bytes(record.key.try_into().expect("a key that was written"));
        let (version, rest) = record.value.split_first_chunk().expect("a value that was written");
        assert!(rest.iter().all(|&b| b == key as u8), "nothing is found that was not written");
        restore(key, u64::from_le_bytes(*version));
    })
}

/// Writes each key three times; returns the segments.
fn written(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (journal, _) = open(dir, |_, _| {}).expect("opened");
    for version in 0..3_u64 {
        for key in 0..KEYS {
            journal.append(key as usize, |change| {
                let write = |value: &mut Vec<u8>| {
                    value.extend_from_slice(&version.to_le_bytes());
                    value.resize(value.len() + key as usize % 90, key as u8);
                };
                change.put(KIND, i64::MAX, |out| out.extend_from_slice(&key.to_le_bytes()), write);
            });
        }
    }
    journal.close();
    let segments = fs::read_dir(dir).expect("listed").map(|entry| entry.expect("listed").path());
    segments
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .map(|path| (path.clone(), fs::read(path).expect("read")))
        .collect()
}

#[test]
fn costs_no_more_than_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let sound = written(dir.path());
    assert!(sound.len() > 10);
    let mut rng = StdRng::seed_from_u64(5);
    for round in 0..100 {
        for entry in fs::read_dir(dir.path()).expect("listed") {
            fs::remove_file(entry.expect("listed").path()).expect("removed");
        }
        let mut touched = 0;
        for (path, octets) in &sound {
            let mut octets = octets.clone();
            for _ in 0..rng.random_range(0..4) {
                let at = rng.random_range(0..octets.len());
                octets[at] = rng.random();
                touched += 1;
            }
            if rng.random_bool(0.02) {
                // At most as many changes as a segment has frames of the least size.
                octets.truncate(rng.random_range(0..octets.len()));
                touched += 100;
            }
            fs::write(path, &octets).expect("written");
        }
        let mut found = BTreeMap::new();
        let (journal, recovery) = open(dir.path(), |key, version| {
            assert!(key < KEYS && version < 3 && found.insert(key, version).is_none());
        })
        .expect("opened");
        journal.close();
        let last = found.values().filter(|version| **version == 2).count();
        assert!(
            last + touched >= KEYS as usize,
            "round {round}: {last} of {KEYS} with {touched} octets touched"
        );
        assert!(recovery.records == found.len() && recovery.damaged.is_sorted());
    }
}

#[test]
fn of_nothing_but_noise() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rng = StdRng::seed_from_u64(6);
    for number in 1..20_u64 {
        let mut octets = vec![0; rng.random_range(0..20_000)];
        rng.fill(&mut octets[..]);
        fs::write(dir.path().join(format!("{number:016x}.segment")), octets).expect("written");
    }
    let (journal, recovery) = open(dir.path(), |_, _| unreachable!()).expect("opened");
    assert!(recovery.damaged.len() > 15, "{recovery:?}");
    journal.close();
}

#[test]
fn a_later_version_is_not_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    let sound = written(dir.path());
    let (path, octets) = sound.first_key_value().expect("a segment");
    let mut later = octets.clone();
    later[16] = 9;
    let sum = crc32fast::hash(&later[..28]);
    later[28..32].copy_from_slice(&sum.to_le_bytes());
    fs::write(path, &later).expect("written");
    let error = open(dir.path(), |_, _| {}).expect_err("a later version");
    assert!(matches!(error, Error::Version { segment: 1, found: 9, known: 1 }), "{error}");
    assert_eq!(fs::read(path).expect("read"), later);
}
