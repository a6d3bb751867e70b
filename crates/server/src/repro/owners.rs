//! What both directions need of the state: the map, and the owners of bindings and publications.

use std::sync::Arc;
use std::time::Instant;

use presence::{EntityTag, PUBLICATION, Presence};
use registrar::{BINDING, Store};
use replication::{Known, NodeId, Replica, Replicated as _, Version, part_of};
use repro_sync::Stamp;
use sip_message::Aor;

use super::agenda::{Subject, Touch};
use crate::state::unix_ms;

/// The greatest age that is written. What is older by its stamp, because it has none or came with an age beyond all clocks,
/// would freeze a repro whose machine runs for less (presence-and-replication §6.8): nothing lives without a refresh for
/// longer.
const AGE_MAX_SECONDS: u64 = 86_400;

/// The state of this node, and who the peer is among its nodes.
#[derive(Clone)]
pub(super) struct Owners {
    pub(super) peer: NodeId,
    pub(super) replica: Arc<Replica>,
    pub(super) bindings: Arc<Store>,
    pub(super) presence: Arc<Presence>,
    /// Whether publications are told to the peer and taken from it.
    pub(super) has_publications: bool,
}

impl Owners {
    /// The clock of the map, in whole seconds: what ages are counted from.
    pub(super) fn now(&self, now: Instant) -> Stamp {
        stamp_of(self.replica.stamp(now))
    }

    /// When a record was changed last.
    pub(super) fn known(&self, aor: &Aor, kind: replication::Kind, key: &[u8]) -> Option<Known> {
        self.replica.known(part_of(aor.as_str()), kind, key)
    }

    /// How old a version is, for the wire.
    pub(super) fn age_seconds(&self, version: Version, now: Instant) -> u64 {
        stamp_of(version.stamp).age_seconds(self.now(now)).min(AGE_MAX_SECONDS)
    }

    /// Whether the peer changed it last.
    pub(super) fn is_of_peer(&self, version: Version) -> bool {
        version.node == self.peer
    }

    /// Makes a record a change of now, if nobody has changed it meanwhile. What is not there any more needs nothing said.
    pub(super) fn touch(&self, now: Instant, touch: &Touch) {
        let Touch { subject, key, version } = touch;
        let is_as_it_was =
            |aor, kind| self.known(aor, kind, key).is_some_and(|known| known.version == *version);
        let _ = match subject {
            Subject::Contacts(aor) => is_as_it_was(aor, BINDING) && self.bindings.touch(now, aor, key),
            Subject::Publication(aor, id) => {
                is_as_it_was(aor, PUBLICATION) && self.presence.touch(now, aor, *id)
            }
        };
    }

    /// Gives records, which are a change of the peer, to those who own them.
    pub(super) fn apply(&self, now: Instant, aor: &Aor, records: &[replication::Record<'_>]) {
        let part = part_of(aor.as_str());
        match records.first().map(|record| record.kind) {
            Some(BINDING) => Arc::clone(&self.bindings).apply(now, unix_ms(), part, records),
            Some(_) => Arc::clone(&self.presence).apply(now, unix_ms(), part, records),
            None => {}
        }
    }

    /// The first tags of the publications of an AOR.
    pub(super) fn publications(&self, aor: &Aor) -> Vec<EntityTag> {
        self.presence.view(aor, |publications| publications.iter().map(|p| p.id).collect())
    }
}

/// A stamp of the map in whole seconds.
pub(super) fn stamp_of(stamp: replication::Stamp) -> Stamp {
    Stamp::from_unix_ms(i64::try_from(stamp.unix_ms()).unwrap_or(i64::MAX))
}

/// The beginning of the keys of all records of an AOR.
pub(super) fn prefix(aor: &Aor) -> Vec<u8> {
    let mut prefix = aor.as_str().as_bytes().to_vec();
    prefix.push(0);
    prefix
}
