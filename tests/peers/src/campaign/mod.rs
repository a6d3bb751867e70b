//! The fault campaign: three nodes under traffic, linked with each other or sharing an engine, faults in an order that a seed decides, and what has to be so afterwards.
//!
//! `cargo xtask faults` runs it, and writes its table into `docs/reliability.md`, which says what is promised.

mod agent;
mod background;
mod check;
mod cluster;
mod document;
mod fault;
mod publisher;
mod record;
mod registrant;
mod report;
mod scene;
mod tally;
mod traffic;
mod view;
mod watcher;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use self::background::Background;
use self::cluster::{Between, Cluster, NAMES};
use self::traffic::{Rest, Traffic};

pub use self::fault::Fault;
pub use self::report::{explained_table, table};
pub use self::tally::Tally;

/// How long the agents may take to get so many acknowledgements.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a change waits for another node, at most, and what comes of it; a little more than `ack_wait_ms`.
const ACK_WAIT: Duration = Duration::from_millis(600);
/// Writes that are acknowledged before a fault, and after it was healed.
const WRITES_BEFORE: u64 = 200;
const WRITES_AFTER: u64 = 100;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub binary: PathBuf,
    /// How often each fault is injected.
    pub rounds: u32,
    /// Decides the order of faults, whom they hit, how long they last, and what agents do.
    pub seed: u64,
    /// Whether nodes share an engine; else they are linked with each other.
    pub on_engine: bool,
    /// Which faults.
    pub faults: Vec<Fault>,
    /// Whether SIPp registers users meanwhile.
    pub uses_sipp: bool,
}

/// Runs the campaign. `report` is told of every round.
///
/// # Errors
/// A node does not start or answer; the error names the seed. What is found against the promises is in the tallies.
pub fn run(options: &Options, mut report: impl FnMut(&str)) -> Result<Vec<(Fault, Tally)>> {
    let mut campaign = Campaign::start(options)?;
    let mut tallies: Vec<(Fault, Tally)> =
        options.faults.iter().map(|fault| (*fault, Tally::default())).collect();
    for round in 1..=options.rounds {
        let mut order = options.faults.clone();
        order.shuffle(&mut campaign.rng);
        for fault in order {
            let place = format!("seed {}, round {round}, {}", options.seed, fault.name());
            let tally = match campaign.round(fault, options.uses_sipp) {
                Ok(tally) => tally,
                Err(error) => {
                    report(&campaign.cluster.logs());
                    return Err(error).context(place);
                }
            };
            report(&format!("{place}: {}", report::line(&tally)));
            for complaint in &tally.complaints {
                report(&format!("  not as promised: {complaint}"));
            }
            if !tally.complaints.is_empty() {
                report(&campaign.cluster.logs());
            }
            if let Some((_, sum)) = tallies.iter_mut().find(|(of, _)| *of == fault) {
                sum.add(tally);
            }
        }
    }
    Ok(tallies)
}

struct Campaign {
    cluster: Cluster,
    traffic: Traffic,
    rng: StdRng,
    rounds: u64,
}

impl Campaign {
    fn start(options: &Options) -> Result<Self> {
        let between = if options.on_engine { Between::engine()? } else { Between::links()? };
        let cluster = Cluster::start(&options.binary, between)?;
        let traffic = Traffic::new(cluster.sip(), options.seed)?;
        // Other numbers than those of the agents, whose course time decides as well.
        let rng = StdRng::seed_from_u64(!options.seed);
        Ok(Self { cluster, traffic, rng, rounds: 0 })
    }

    /// One fault, from traffic to traffic.
    fn round(&mut self, fault: Fault, uses_sipp: bool) -> Result<Tally> {
        let Self { cluster, traffic, rng, rounds } = self;
        *rounds += 1;
        traffic.tally = Tally { rounds: 1, ..Tally::default() };
        let sipp_at = traffic.nodes.sip[rng.random_range(0..NAMES.len())];
        let background = if uses_sipp { Some(Background::start(sipp_at, *rounds)?) } else { None };
        traffic.rest = Rest::Nobody;
        let is_warm = traffic.run_until(LIMIT, |traffic| traffic.tally.acknowledged >= WRITES_BEFORE)?;
        ensure!(is_warm, "the agents are not served: {}", report::line(&traffic.tally));

        let healed_at = fault.inject(cluster, traffic, rng)?;

        // Some begin nothing from now on: when all nodes have the same of them is measured while others go on.
        traffic.rest = Rest::Some;
        let before = traffic.tally.acknowledged;
        check::wait_until_agreed(cluster, traffic, healed_at)?;
        check::wait_until_connected(cluster, traffic)?;
        // A NOTIFY that waits until another node has what it comes of was written before.
        traffic.run_for(ACK_WAIT)?;
        traffic.nodes.deaf.clear();
        let goes_on =
            traffic.run_until(LIMIT, |traffic| traffic.tally.acknowledged >= before + WRITES_AFTER)?;
        ensure!(goes_on, "the agents are not served afterwards: {}", report::line(&traffic.tally));
        traffic.rest = Rest::All;
        check::final_state(cluster, traffic)?;
        if let Some(background) = background {
            background.finish(cluster, traffic)?;
        }
        for node in 0..NAMES.len() {
            traffic.tally.alone += cluster.alone(node)?;
        }
        Ok(std::mem::take(&mut traffic.tally))
    }
}
