//! An owner: texts under names, each until some time.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use replication::{
    Assertion, Durable, Kind, Owner, PARTS, Persistence, Record, Replica, Replicated, Succession, part_of,
};

const KIND: Kind = Kind(1);

/// A time, and the same by the wall clock in milliseconds since 1970.
pub(crate) type Time = (Instant, i64);

pub(crate) struct Table {
    parts: Vec<Mutex<BTreeMap<String, (String, Instant)>>>,
    persistence: Persistence,
    now: Mutex<Time>,
}

impl Table {
    /// A table that a replica tells the others of; `unix_ms` is their wall clock.
    pub(crate) fn new(replica: &Arc<Replica>, unix_ms: fn() -> i64, now: Time) -> Arc<Self> {
        let table = Arc::new(Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            persistence: Persistence { journal: None, replica: Some(Arc::clone(replica)), unix_ms },
            now: Mutex::new(now),
        });
        let owner: Weak<dyn Replicated> = Arc::downgrade(&(Arc::clone(&table) as Arc<dyn Replicated>));
        replica.set_owners(vec![owner]);
        table
    }

    /// Says what time it is.
    pub(crate) fn learn(&self, now: Time) {
        *self.now.lock() = now;
    }

    pub(crate) fn put(&self, name: &str, text: &str, lifetime: Duration) -> Option<Durable> {
        let (now, unix_ms) = *self.now.lock();
        let mut part = self.parts[part_of(name)].lock();
        let expires = unix_ms + lifetime.as_millis() as i64;
        part.insert(name.into(), (text.into(), now + lifetime));
        self.persistence.append(now, unix_ms, part_of(name), |change| {
            change.put(KIND, expires, |key| key.extend(name.bytes()), |value| value.extend(text.bytes()));
        })
    }

    #[allow(dead_code)] // not all tests do
    pub(crate) fn remove(&self, name: &str) {
        let (now, unix_ms) = *self.now.lock();
        let mut part = self.parts[part_of(name)].lock();
        part.remove(name);
        drop(self.persistence.append(now, unix_ms, part_of(name), |change| {
            change.remove(KIND, |key| key.extend(name.bytes()));
        }));
    }

    /// Has a name no more, and tells nobody: as if it had come without what it belongs to.
    #[allow(dead_code)] // not all tests do
    pub(crate) fn lose(&self, name: &str) {
        self.parts[part_of(name)].lock().remove(name);
    }

    /// What lives at some time, by its names.
    pub(crate) fn live(&self, now: Instant) -> Vec<(String, String)> {
        let parts = self.parts.iter().flat_map(|part| part.lock().clone());
        let mut live: Vec<_> =
            parts.filter(|(_, (_, until))| *until > now).map(|(name, (text, _))| (name, text)).collect();
        live.sort();
        live
    }
}

impl Owner for Table {
    fn parts(&self) -> usize {
        PARTS
    }

    fn assert(&self, part: usize, into: &Assertion<'_>) {
        let (now, unix_ms) = *self.now.lock();
        for (name, (text, until)) in &*self.parts[part].lock() {
            let expires = replication::unix_ms_of(*until, now, unix_ms);
            into.append(part, |change| {
                change.put(KIND, expires, |key| key.extend(name.bytes()), |value| value.extend(text.bytes()));
            });
        }
    }
}

impl Replicated for Table {
    fn kinds(&self) -> &'static [Kind] {
        &[KIND]
    }

    fn apply(self: Arc<Self>, now: Instant, unix_ms: i64, part: usize, records: &[Record<'_>]) {
        let mut state = self.parts[part].lock();
        for record in self.persistence.adopt(now, unix_ms, part, records) {
            let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("a text");
            if record.is_removed {
                state.remove(&text(record.key));
            } else {
                let until = replication::instant_of(record.expires_unix_ms, now, unix_ms, Duration::MAX / 4);
                state.insert(text(record.key), (text(record.value), until));
            }
        }
    }

    fn take_over(self: Arc<Self>, _: Instant, _: &Succession) {}
}
