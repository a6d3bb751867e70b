//! What a seed decides before anything happens: the cluster, its clients and the weather.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use replication::Ack;

use crate::clock::Ms;

/// A cluster and its surroundings.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Of all that is left to chance.
    pub seed: u64,
    /// Nodes of the cluster.
    pub nodes: usize,
    /// Whether nodes have disks; else their state lives as long as their process.
    pub has_disks: bool,
    /// Whether acknowledgements wait for another node.
    pub waits_for_peer: bool,
    /// Seconds between two comparisons of all.
    pub digest_seconds: u64,
    /// Groups that are kept for a node that was away are few, so that it has to compare all.
    pub has_short_log: bool,
    /// Whether wall clocks jump.
    pub has_jumps: bool,
    /// AORs, each with a user of its own.
    pub aors: usize,
    /// User agents that register.
    pub registering: usize,
    /// User agents that publish.
    pub publishing: usize,
    /// User agents that watch.
    pub watching: usize,
    /// The chance that a datagram is lost, in thousandths.
    pub loss_milli: u32,
    /// The chance that a datagram comes twice, in thousandths.
    pub repeat_milli: u32,
    /// The longest that a datagram is on its way.
    pub delay_ms_max: Ms,
    /// How often something breaks: the mean pause between two faults. 0: nothing does.
    pub fault_pause_ms: Ms,
    /// How long faults come and go, and clients are busy.
    pub busy_ms: Ms,
    /// A watcher's mean pause between two requests is so many times that of a publisher.
    pub patience: u64,
}

impl Setting {
    /// The setting of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5e77_1a6b);
        let nodes = rng.random_range(2..=5);
        let aors = rng.random_range(4..=20);
        Self {
            seed,
            nodes,
            has_disks: rng.random_bool(0.6),
            waits_for_peer: rng.random_bool(0.4),
            digest_seconds: *pick(&mut rng, &[5, 10, 30]),
            has_short_log: rng.random_bool(0.2),
            has_jumps: rng.random_bool(0.3),
            aors,
            registering: rng.random_range(5..=40),
            publishing: rng.random_range(5..=40),
            watching: rng.random_range(10..=100),
            loss_milli: *pick(&mut rng, &[0, 0, 20, 100, 250]),
            repeat_milli: *pick(&mut rng, &[0, 20, 100]),
            delay_ms_max: *pick(&mut rng, &[5, 50, 400]),
            fault_pause_ms: *pick(&mut rng, &[0, 4_000, 10_000, 30_000, 30_000]),
            busy_ms: rng.random_range(60_000..=150_000),
            patience: rng.random_range(1..=4),
        }
    }

    pub(crate) fn ack(&self) -> Ack {
        if self.waits_for_peer { Ack::Peer } else { Ack::Local }
    }
}

/// One of some.
pub(crate) fn pick<'a, T>(rng: &mut StdRng, of: &'a [T]) -> &'a T {
    &of[rng.random_range(0..of.len())]
}
