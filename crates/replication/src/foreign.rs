//! A node of another kind: somebody on this node speaks with it in its own way, hears what changes here, and brings what
//! changes there into the map, as changes of one more node.
//!
//! What it says reaches this node alone, so this node tells the others of it. What others changed it is told by this node,
//! which is why an [`Observer`] hears of adopted changes, too.

use std::time::Instant;

use crate::part::Tombstone;
use crate::{Kind, NodeId, Record, Replica, ReplicaMetrics, Stamp, Version};

/// Told of each change with its part: those of this node, and those that it adopts. It is called while the keys are locked,
/// before the owner has applied the change, and must do no more than take a note.
pub type Observer = Box<dyn Fn(usize, &[Record<'_>]) + Send + Sync>;

/// See [`Replica::attach`].
pub(crate) struct Foreign {
    node: NodeId,
    observer: Observer,
}

/// What is known of the version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// When it was changed last, and by whom.
    pub version: Version,
    /// It holds nothing any more.
    pub is_removed: bool,
}

/// A key that holds nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The key.
    pub key: Box<[u8]>,
    /// What its owner noted when it removed it.
    pub note: Box<[u8]>,
    /// When it was removed, and by whom.
    pub version: Version,
}

impl Replica {
    /// From now on this node speaks with a node of another kind: changes that bear its name as their node are told to the
    /// other nodes, and `observer` hears of all changes. There is one at most; of two calls the first counts.
    pub fn attach(&self, node: NodeId, observer: Observer) {
        self.foreign.get_or_init(|| Foreign { node, observer });
    }

    /// Whether there are other nodes of our kind.
    pub fn has_peers(&self) -> bool {
        self.has_peers
    }

    /// What is known of a key, while its owner holds it.
    pub fn known(&self, part: usize, kind: Kind, key: &[u8]) -> Option<Known> {
        let (version, is_removed) = self.part(part).lock().known(kind, key)?;
        Some(Known { version, is_removed })
    }

    /// What is remembered of a key that was removed.
    pub fn removed(&self, part: usize, kind: Kind, key: &[u8]) -> Option<Removed> {
        let state = self.part(part).lock();
        state.tombstone(kind, key).map(|(tombstone, version)| tombstone.with(version))
    }

    /// What was removed and is remembered, of those keys of a part that `is_wanted`.
    pub fn removals(&self, part: usize, kind: Kind, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<Removed> {
        let state = self.part(part).lock();
        let tombstones = state.tombstones().filter(|(_, tombstone, ..)| tombstone.kind == kind);
        let wanted = tombstones.filter(|(_, tombstone, ..)| is_wanted(&tombstone.key));
        wanted.map(|(_, tombstone, version, _)| tombstone.with(version)).collect()
    }

    /// What the clock of the map shows.
    pub fn stamp(&self, now: Instant) -> Stamp {
        self.clock.now(now)
    }

    /// The metrics of the cluster.
    pub fn metrics(&self) -> &ReplicaMetrics {
        &self.metrics
    }

    pub(crate) fn observe(&self, part: usize, records: &[Record<'_>]) {
        if let Some(foreign) = self.foreign.get() {
            (foreign.observer)(part, records);
        }
    }

    /// Those of some changes that the node of another kind made.
    pub(crate) fn of_foreign<'a>(&self, records: &[Record<'a>]) -> Vec<Record<'a>> {
        let Some(Foreign { node, .. }) = self.foreign.get() else { return Vec::new() };
        let is_its = |record: &&Record<'_>| record.place.is_some_and(|place| place.version.node == *node);
        records.iter().filter(is_its).copied().collect()
    }
}

impl Tombstone {
    fn with(&self, version: Version) -> Removed {
        Removed { key: self.key.clone(), note: self.note.clone(), version }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use prometheus::Registry;

    use super::*;
    use crate::{Persistence, Place, ReplicaOptions, frame};

    const KIND: Kind = Kind(1);

    fn replica(peers: &[String]) -> Arc<Replica> {
        let metrics = ReplicaMetrics::register(&Registry::new()).expect("new metrics");
        Replica::new("a", peers, ReplicaOptions::default(), metrics, 1, Instant::now(), 1_000_000)
    }

    fn change_of(key: &str, node: NodeId, stamp: u64) -> Record<'_> {
        let version = Version { stamp: Stamp(stamp << 16), node };
        let plain = Record::present(KIND, key.as_bytes(), b"value", 2_000_000);
        Record { place: Some(Place::new(0, version)), ..plain }
    }

    /// Changes that the other nodes are told of.
    fn told(replica: &Replica) -> usize {
        replica.gather(Instant::now());
        let mut after = 0;
        let mut count = 0;
        while let Ok(Some(group)) = replica.outlog.after(after) {
            (after, count) = (group.number, count + frame::each(&group.changes).count());
        }
        count
    }

    #[test]
    fn what_only_this_node_hears_it_tells_the_others() {
        let (peer, foreign) = (NodeId::of("b"), NodeId::of("r"));
        let replica = replica(&["b".into()]);
        let observed: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let observing = Arc::clone(&observed);
        replica.attach(
            foreign,
            Box::new(move |_, records| observing.lock().extend(records.iter().map(|r| r.key.to_vec()))),
        );
        let persistence =
            Persistence { journal: None, replica: Some(Arc::clone(&replica)), unix_ms: || 1_000_000 };
        let adopt = |record| persistence.adopt(Instant::now(), 1_000_000, 0, &[record]).len();

        assert_eq!((adopt(change_of("native", peer, 5)), told(&replica)), (1, 0), "it tells them itself");
        assert_eq!((adopt(change_of("foreign", foreign, 5)), told(&replica)), (1, 1));
        assert_eq!((adopt(change_of("foreign", foreign, 5)), told(&replica)), (0, 1), "that is known");
        drop(persistence.append(Instant::now(), 1_000_000, 0, |change| {
            change.remove_noting(KIND, |key| key.extend(b"foreign"), |note| note.extend(b"its other name"));
        }));
        assert_eq!(told(&replica), 2);
        assert_eq!(*observed.lock(), [&b"native"[..], b"foreign", b"foreign"]);

        let removed = replica.removed(0, KIND, b"foreign").expect("it was");
        assert_eq!((&*removed.note, removed.version.node), (&b"its other name"[..], replica.node()));
        let known = replica.known(0, KIND, b"foreign");
        assert_eq!(known, Some(Known { version: removed.version, is_removed: true }));
        assert_eq!(replica.removals(0, KIND, |key| key.starts_with(b"f")), [removed]);
        assert_eq!(replica.known(0, KIND, b"native").map(|known| known.is_removed), Some(false));
        assert_eq!(replica.removed(0, KIND, b"native"), None);
    }

    #[test]
    fn a_node_without_others_keeps_no_log() {
        let replica = replica(&[]);
        let persistence =
            Persistence { journal: None, replica: Some(Arc::clone(&replica)), unix_ms: || 1_000_000 };
        for key in 0..100u8 {
            let durable = persistence.append(Instant::now(), 1_000_000, 0, |change| {
                change.put(KIND, 2_000_000, |out| out.push(key), |_| {});
            });
            assert!(durable.is_none(), "there is nobody to wait for");
        }
        assert_eq!((replica.len(), told(&replica)), (100, 0));
    }
}
