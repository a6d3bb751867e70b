//! What all agents share: the nodes, the time, what is true of publications, and the counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;

use super::record::Record;
use super::tally::Tally;

/// Seconds that a publication lives after its last request.
pub(crate) const PUBLICATION_SECONDS: u64 = 120;
/// How much earlier a publication may be gone: its answer may have come late, and what is asked one after another takes time.
const SLACK: Duration = Duration::from_secs(15);

/// The nodes as agents see them.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    pub(crate) sip: Vec<SocketAddr>,
    /// Counts the lives of each node, and its pauses: what it knew of its watchers may be forgotten in between.
    pub(crate) lives: Vec<u32>,
    /// Who cannot hear whom.
    pub(crate) deaf: BTreeSet<(usize, usize)>,
}

impl Nodes {
    /// The node at a port.
    pub(crate) fn at_port(&self, port: u16) -> Option<usize> {
        self.sip.iter().position(|sip| sip.port() == port)
    }
}

/// The state of one publication: the number that it has, or `None` if it is not there.
pub(crate) type PublicationRecord = Record<Option<u64>>;

/// A publication that somebody made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) record: PublicationRecord,
    /// The highest number that was sent.
    pub(crate) sent: u64,
    /// To which node each number was sent, and when.
    pub(crate) sent_to: BTreeMap<u64, (usize, Instant)>,
    /// To which node its removal was sent.
    pub(crate) removed_at: Option<usize>,
    /// Numbers of requests that were given up.
    pub(crate) given_up: BTreeSet<u64>,
    /// When its last acknowledged request was answered.
    pub(crate) refreshed: Instant,
    /// When the last request that changes it was sent, or answered.
    pub(crate) changed: Instant,
}

impl Made {
    /// What it has to be, if that can be told.
    pub(crate) fn certain(&self, now: Instant) -> Option<Option<u64>> {
        let is_expiring = self.record.acknowledged().is_some()
            && now + SLACK > self.refreshed + Duration::from_secs(PUBLICATION_SECONDS);
        if is_expiring { None } else { self.record.certain() }
    }

    /// What a complaint says of it, where `number` is in question.
    pub(crate) fn describe(&self, number: u64, now: Instant) -> String {
        let age = |at: Instant| now.saturating_duration_since(at);
        let sent = self.sent_to.get(&number).map(|(node, at)| (*node, age(*at)));
        let (record, changed) = (&self.record, age(self.refreshed));
        format!("{number} was sent {sent:?} ago, acknowledged last {changed:?} ago: {record:?}")
    }

    /// Whether it may be gone.
    pub(crate) fn may_be_gone(&self, now: Instant) -> bool {
        self.certain(now).is_none_or(|value| value.is_none())
    }
}

/// All publications of each publisher, by the number of their tuple.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth(pub(crate) Vec<BTreeMap<u64, Made>>);

/// What an agent is handed when something happens.
pub(crate) struct Scene<'a> {
    pub(crate) now: Instant,
    pub(crate) rng: &'a mut StdRng,
    pub(crate) nodes: &'a Nodes,
    pub(crate) truth: &'a mut Truth,
    pub(crate) tally: &'a mut Tally,
}
