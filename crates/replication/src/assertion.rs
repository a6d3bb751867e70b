//! State said again: for the journal that is written anew, and for a node that lacks some of it.

use std::time::Instant;

use hashbrown::HashSet;

use crate::part::KeyHash;
use crate::{Change, Journal, Replica, record};

/// Where an owner says again what it has.
pub struct Assertion<'a> {
    /// Where it gathers; its tickets mean nothing.
    pub(crate) journal: &'a Journal,
    /// Knows the version of each record, if there is a cluster.
    pub(crate) replica: Option<&'a Replica>,
    /// The keys that are asked for; `None`: all.
    pub(crate) wanted: Option<&'a HashSet<KeyHash>>,
    /// The time.
    pub(crate) now: Instant,
    /// The same by the wall clock.
    pub(crate) unix_ms: i64,
}

impl Assertion<'_> {
    /// Says again what some keys of a part hold, while nobody else can change them.
    pub fn append(&self, part: usize, write: impl FnOnce(&mut Change<'_>)) {
        let Some(replica) = self.replica else {
            self.journal.append(part, write);
            return;
        };
        let mut said = Vec::new();
        write(&mut Change::new(&mut said));
        let Ok(mut records) = record::read(&said) else { return };
        records.retain_mut(|record| {
            let is_wanted = self.wanted.is_none_or(|w| w.contains(&KeyHash::of(record.kind, record.key)));
            // The map says itself what was removed, whatever its owner still makes of it: one version has one meaning.
            if replica.known(part, record.kind, record.key).is_some_and(|known| known.is_removed) {
                return false;
            }
            replica.place_again(self.now, self.unix_ms, part, record);
            // A node that asks can do nothing with a record that has no version.
            is_wanted && (record.place.is_some() || self.wanted.is_none())
        });
        if !records.is_empty() {
            self.journal.append(part, |change| records.iter().for_each(|record| change.copy(record)));
        }
    }
}

impl std::fmt::Debug for Assertion<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assertion").finish_non_exhaustive()
    }
}
