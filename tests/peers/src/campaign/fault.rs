//! What goes wrong.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rustix::process::Signal;

use super::cluster::{Cluster, NAMES, pairs};
use super::traffic::Traffic;
use crate::cable::Cable;

/// Milliseconds that something which nobody is to notice may last: shorter and longer than the peer timeout.
const SHORT_MS: std::ops::Range<u64> = 300..2_500;
/// Milliseconds of what is to last longer than the peer timeout.
const LONG_MS: std::ops::Range<u64> = 1_600..3_000;

/// A fault that is injected under traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A node is killed, and started again over its disk.
    Kill,
    /// A node is killed, its disk removed, and it is started again with nothing.
    Blank,
    /// A node is stopped for longer than the peer timeout, and goes on.
    Stop,
    /// Connections between two nodes are closed, and new ones too.
    Cut,
    /// What two nodes say to each other is held, with the connections open.
    Silence,
    /// What one node says to another is held.
    OneWay,
    /// One node is cut from both others.
    Isolate,
    /// Each node is stopped in order and started again, one after the other.
    Rolling,
    /// Two nodes are killed at once, and started again over their disks.
    KillTwo,
    /// One node is cut from the engine.
    CutFromEngine,
    /// The engine is killed, and started again over its disk.
    EngineKill,
    /// The engine is killed, its disk removed, and it is started again with nothing.
    EngineBlank,
    /// The engine is stopped, and goes on.
    EngineStop,
}

impl Fault {
    /// Those of nodes that are linked with each other.
    pub const OF_LINKS: [Self; 9] = [
        Self::Kill,
        Self::Blank,
        Self::Stop,
        Self::Cut,
        Self::Silence,
        Self::OneWay,
        Self::Isolate,
        Self::Rolling,
        Self::KillTwo,
    ];

    /// Those of nodes that share an engine.
    pub const ON_ENGINE: [Self; 9] = [
        Self::Kill,
        Self::Blank,
        Self::Stop,
        Self::Rolling,
        Self::KillTwo,
        Self::CutFromEngine,
        Self::EngineKill,
        Self::EngineBlank,
        Self::EngineStop,
    ];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Blank => "blank",
            Self::Stop => "stop",
            Self::Cut => "cut",
            Self::Silence => "silence",
            Self::OneWay => "one-way",
            Self::Isolate => "isolate",
            Self::Rolling => "rolling",
            Self::KillTwo => "kill-two",
            Self::CutFromEngine => "cut-from-engine",
            Self::EngineKill => "engine-kill",
            Self::EngineBlank => "engine-blank",
            Self::EngineStop => "engine-stop",
        }
    }

    /// What it is called in the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Kill => "`kill -9`, started again over its disk",
            Self::Blank => "`kill -9`, disk removed, started again",
            Self::Stop => "SIGSTOP, then SIGCONT",
            Self::Cut => "a link cut: connections closed",
            Self::Silence => "a link silent: nothing carried, connections open",
            Self::OneWay => "a link silent one way",
            Self::Isolate => "one node cut from both others",
            Self::Rolling => "each node restarted in order",
            Self::KillTwo => "two nodes `kill -9` at once",
            Self::CutFromEngine => "one node cut from the Redis",
            Self::EngineKill => "the Redis `kill -9`, started again over its disk",
            Self::EngineBlank => "the Redis `kill -9`, disk removed, started again",
            Self::EngineStop => "the Redis SIGSTOP, then SIGCONT",
        }
    }

    /// Injects it, lets it last under traffic, and heals it. Returns when it was healed; that a process is started counts as
    /// healing.
    pub(crate) fn inject(
        self,
        cluster: &mut Cluster,
        traffic: &mut Traffic,
        rng: &mut StdRng,
    ) -> Result<Instant> {
        let mut order: Vec<usize> = (0..NAMES.len()).collect();
        order.shuffle(rng);
        let (one, other, third) = (order[0], order[1], order[2]);
        let short = Duration::from_millis(rng.random_range(SHORT_MS));
        let long = Duration::from_millis(rng.random_range(LONG_MS));
        match self {
            Self::Kill | Self::Blank => {
                return restart(cluster, traffic, &[one], short, self == Self::Blank);
            }
            Self::KillTwo => return restart(cluster, traffic, &[one, other], long, false),
            Self::Rolling => {
                traffic.hit(&[one]);
                let mut healed_at = Instant::now();
                for node in order {
                    let alone = traffic.during(|| cluster.stop_in_order(node))?;
                    traffic.tally.alone += alone;
                    traffic.begin_life(node);
                    healed_at = Instant::now();
                    traffic.during(|| cluster.start_again(&[node], false))?;
                }
                return Ok(healed_at);
            }
            Self::Stop => {
                traffic.hit(&[one]);
                cluster.signal(one, Signal::STOP)?;
                traffic.run_for(long)?;
                traffic.begin_life(one);
                cluster.signal(one, Signal::CONT)?;
            }
            Self::Cut => {
                self.deafen(traffic, &[(one, other), (other, one)]);
                cluster.between(one, other, |cable, _| cable.cut());
                traffic.run_for(long)?;
            }
            Self::Silence => {
                self.deafen(traffic, &[(one, other), (other, one)]);
                cluster.hold(one, other);
                cluster.hold(other, one);
                traffic.run_for(long)?;
            }
            Self::OneWay => {
                // The connections of both need both ways.
                self.deafen(traffic, &[(one, other), (other, one)]);
                cluster.hold(one, other);
                traffic.run_for(long)?;
            }
            Self::Isolate => {
                let pairs = [(one, other), (other, one), (one, third), (third, one)];
                self.deafen(traffic, &pairs);
                if rng.random_bool(0.5) {
                    cluster.between(one, other, |cable: &Cable, _| cable.cut());
                    cluster.between(one, third, |cable: &Cable, _| cable.cut());
                } else {
                    pairs.iter().for_each(|(hearer, teller)| cluster.hold(*teller, *hearer));
                }
                traffic.run_for(long)?;
            }
            Self::CutFromEngine => {
                let pairs = [(one, other), (other, one), (one, third), (third, one)];
                self.deafen(traffic, &pairs);
                cluster.engine()?.1[one].cut();
                traffic.run_for(long)?;
            }
            Self::EngineKill | Self::EngineBlank => {
                self.deafen(traffic, &pairs().collect::<Vec<_>>());
                cluster.engine()?.0.kill()?;
                traffic.run_for(long)?;
                let healed_at = Instant::now();
                let (engine, _) = cluster.engine()?;
                traffic.during(|| engine.start_again(self == Self::EngineKill))?;
                engine.hush();
                return Ok(healed_at);
            }
            Self::EngineStop => {
                self.deafen(traffic, &pairs().collect::<Vec<_>>());
                cluster.engine()?.0.signal(Signal::STOP)?;
                traffic.run_for(long)?;
                cluster.engine()?.0.signal(Signal::CONT)?;
            }
        }
        let healed_at = Instant::now();
        cluster.mend();
        Ok(healed_at)
    }

    /// Takes note of who cannot hear whom.
    fn deafen(self, traffic: &mut Traffic, pairs: &[(usize, usize)]) {
        let nodes: Vec<usize> = pairs.iter().map(|(hearer, _)| *hearer).collect();
        let is_of_one = matches!(self, Self::Isolate | Self::CutFromEngine);
        traffic.hit(if is_of_one { &nodes[..1] } else { &nodes });
        traffic.nodes.deaf.extend(pairs);
    }
}

/// Kills nodes, and starts them again after a time.
fn restart(
    cluster: &mut Cluster,
    traffic: &mut Traffic,
    nodes: &[usize],
    after: Duration,
    loses_disk: bool,
) -> Result<Instant> {
    traffic.hit(nodes);
    for node in nodes {
        traffic.tally.alone += cluster.kill(*node)?;
        traffic.begin_life(*node);
    }
    traffic.run_for(after)?;
    let healed_at = Instant::now();
    traffic.during(|| cluster.start_again(nodes, loses_disk))?;
    Ok(healed_at)
}
