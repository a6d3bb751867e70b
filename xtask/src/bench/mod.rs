//! `cargo xtask bench`: processor time and memory of a release build, beside kamailio in the same run.

mod client;
mod cost;
mod cpu;
mod echo;
mod engine;
mod fanout;
mod memory;
mod message;
mod pair;
mod process;
mod recovery;
mod report;
mod server;
mod sipp;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::cost::Work;
use self::engine::EngineCatchUp;
use self::memory::Thing;
use self::pair::CatchUp;
use self::recovery::Recovery;
use self::report::{Figure, Results};
use self::server::Kind;
use crate::machine::{Machine, commit, first_line};
use crate::shell::{release_binary, root};
use crate::tools::{self, REDIS, SIPP};

const FILE: &str = "docs/performance.md";
const CLUSTER_FILE: &str = "docs/performance-cluster.md";
/// What to measure, and what to do with the result.
#[derive(Args)]
pub(crate) struct Options {
    /// A fifth of the messages, everything once, without waiting for the end of transactions.
    #[arg(long)]
    quick: bool,
    /// Writes the result to `docs/performance.md`, or with `--cluster` to `docs/performance-cluster.md`.
    #[arg(long, conflicts_with_all = ["only", "quick"])]
    write: bool,
    /// Only the measurement of this name: echo, register, register-auth, forward, call, publish, notify, binding,
    /// subscription, recovery, catch-up.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Measures Rollcall alone.
    #[arg(long)]
    skip_kamailio: bool,
    /// How often each processor time is measured, by turns with that of the others.
    #[arg(long, default_value_t = 3, conflicts_with = "quick")]
    repetitions: usize,
    /// Measures what other nodes cost, and a Redis, instead: register, publish, notify, catch-up.
    #[arg(long)]
    cluster: bool,
}

/// A measurement.
#[derive(Clone, Copy)]
enum Measurement {
    Echo,
    Cost(Work, Figure),
    Memory(Thing, Figure),
    Recovery,
    CatchUp,
}

impl Measurement {
    /// Whether it is measured of a cluster, or else of one server.
    fn is_of(self, cluster: bool) -> bool {
        match self {
            Self::CatchUp => cluster,
            Self::Cost(_, figure) => !cluster || figure.changes_state(),
            Self::Echo | Self::Memory(..) | Self::Recovery => !cluster,
        }
    }
}

const MEASUREMENTS: [(&str, Measurement); 11] = [
    ("echo", Measurement::Echo),
    ("register", Measurement::Cost(Work::Register, Figure::Register)),
    ("register-auth", Measurement::Cost(Work::RegisterAuth, Figure::RegisterAuth)),
    ("forward", Measurement::Cost(Work::Forward, Figure::Forward)),
    ("call", Measurement::Cost(Work::Call, Figure::Call)),
    ("publish", Measurement::Cost(Work::Publish, Figure::Publish)),
    ("notify", Measurement::Cost(Work::Notify, Figure::Notify)),
    ("binding", Measurement::Memory(Thing::Binding, Figure::Binding)),
    ("subscription", Measurement::Memory(Thing::Subscription, Figure::Subscription)),
    ("recovery", Measurement::Recovery),
    ("catch-up", Measurement::CatchUp),
];

/// Runs the measurements and prints the tables.
pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted: Vec<_> = MEASUREMENTS
        .iter()
        .filter(|(name, _)| options.only.as_deref().is_none_or(|only| only == *name))
        .filter(|(_, measurement)| measurement.is_of(options.cluster))
        .collect();
    ensure!(!wanted.is_empty(), "there is no measurement of that name: see --help");
    tools::ensure(&[&SIPP])?;
    let folder = tempfile::Builder::new().prefix("rollcall-bench-").tempdir()?;
    // A build meanwhile must not change what is measured.
    let rollcall = folder.path().join("rollcall");
    fs::copy(release_binary()?, &rollcall)?;
    let kinds = if options.cluster { cluster_kinds() } else { kinds(options.skip_kamailio) };
    let machine = Machine::this(&versions(&rollcall, &kinds))?;
    let mut results = Results::default();
    for (name, measurement) in wanted {
        measure(*measurement, &kinds, &rollcall, options, folder.path(), &mut results)
            .with_context(|| format!("measurement {name}"))?;
    }
    if options.cluster {
        println!("{}", results.replication());
    } else {
        println!("{}", results.table());
        println!("{}", results.durability());
    }
    if !results.samples.is_empty() {
        println!("{}", results.loads());
    }
    if options.write {
        let (file, page) = if options.cluster {
            (CLUSTER_FILE, results.cluster_page(&machine))
        } else {
            (FILE, results.page(&machine))
        };
        fs::write(root().join(file), page)?;
        eprintln!("{file} is written");
    }
    Ok(())
}

/// Rollcall with its state in memory, and whatever there is to compare it with.
fn kinds(skip_kamailio: bool) -> Vec<Kind> {
    let mut kinds = vec![Kind::Rollcall];
    if skip_kamailio {
        eprintln!("kamailio is not measured, as asked");
    } else if tools::is_there("kamailio") {
        kinds.push(Kind::Kamailio);
    } else {
        eprintln!("kamailio is not installed: nothing to compare with");
    }
    kinds
}

/// A node that is alone, and all that it may have beside it.
fn cluster_kinds() -> Vec<Kind> {
    let mut kinds = vec![Kind::RollcallOnDisk, Kind::RollcallPair, Kind::RollcallPairAcked];
    if tools::is_there(REDIS.program()) {
        kinds.push(Kind::RollcallEngine);
    } else {
        eprintln!("redis-server is not installed: nodes that share one are left out");
    }
    kinds
}

fn measure(
    measurement: Measurement,
    kinds: &[Kind],
    rollcall: &Path,
    options: &Options,
    folder: &Path,
    results: &mut Results,
) -> Result<()> {
    let quick = options.quick;
    match measurement {
        Measurement::Echo => results.echo = Some(echo::microseconds(if quick { 20_000 } else { 200_000 })?),
        Measurement::Cost(work, figure) => {
            let repetitions = if quick { 1 } else { options.repetitions };
            let mut kinds = kinds.to_vec();
            if figure.changes_state() && kinds.contains(&Kind::Rollcall) {
                kinds.push(Kind::RollcallOnDisk);
            }
            work.measure(&kinds, rollcall, quick, repetitions, folder, |sample| {
                eprintln!("{}, {}: {:.1} CPU µs", figure.title(), sample.kind.name(), sample.microseconds);
                results.add(figure, sample.kind, sample.microseconds);
                if let Some(partner) = sample.partner_microseconds {
                    results.add_of_partner(figure, sample.kind, partner);
                }
                if let Some(acks) = &sample.acks {
                    results.acks.entry((figure, sample.kind)).or_default().add(acks);
                }
                for told in &sample.load.told {
                    results.add(Figure::LastTold, sample.kind, told.as_secs_f64() * 1e3);
                }
                results.samples.push((figure, sample));
            })?;
        }
        Measurement::Recovery => {
            let recovery = Recovery::measure(rollcall, quick, folder)?;
            eprintln!("recovery: {:.2} s", recovery.took.as_secs_f64());
            results.recovery = Some(recovery);
        }
        Measurement::CatchUp => {
            let catch_up = CatchUp::measure(rollcall, quick, folder)?;
            eprintln!("catch-up: {:.2} s", catch_up.took.as_secs_f64());
            results.catch_up = Some(catch_up);
            if kinds.contains(&Kind::RollcallEngine) {
                let catch_up = EngineCatchUp::measure(rollcall, quick, folder)?;
                eprintln!("catch-up from a Redis: {:.2} s", catch_up.took.as_secs_f64());
                results.engine_catch_up = Some(catch_up);
            }
        }
        Measurement::Memory(thing, figure) => {
            for (kind, bytes) in thing.measure(kinds, rollcall, quick, folder)? {
                eprintln!("{}, {}: {bytes:.0} bytes", figure.title(), kind.name());
                results.add(figure, kind, bytes);
            }
        }
    }
    Ok(())
}

/// What was measured, with what, as a list.
fn versions(rollcall: &Path, kinds: &[Kind]) -> Vec<String> {
    let mut versions = vec![format!(
        "{} (commit {})",
        first_line(&rollcall.display().to_string(), &["--version"]),
        commit()
    )];
    if kinds.contains(&Kind::Kamailio) {
        versions.push(first_line("kamailio", &["-v"]).replace("version: ", ""));
    }
    if kinds.contains(&Kind::RollcallEngine) {
        versions.push(first_line("redis-server", &["--version"]));
    }
    versions.push(first_line("sipp", &["-v"]));
    versions
}
