//! Chores of the repository: `cargo xtask …`.

mod acceptance;
mod bench;
mod ci;
mod coverage;
mod faults;
mod generated;
mod machine;
mod reference;
mod shell;
mod sim;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the repository.")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// What CI runs first: formatting, lints, docs, every test.
    Ci,
    /// Every test, those with real peers too; installs what they need when it can.
    Test,
    /// The black-box suite in raw SIP beside this checkout, against a release build.
    Acceptance(acceptance::Options),
    /// Measures a release build, beside kamailio where that is installed.
    Bench(bench::Options),
    /// Three nodes under traffic, with kills, pauses and cut links; checks that nothing is lost or told falsely.
    Faults(faults::Options),
    /// Simulates whole clusters with all that goes wrong, by seed.
    Sim(sim::Options),
    /// Generates the pages of `docs` that come from the source: configuration, metrics, RFC coverage.
    Gen {
        /// Changes nothing; fails if one is not up to date.
        #[arg(long)]
        check: bool,
    },
}

/// All generated pages.
pub(crate) fn generate(check: bool) -> anyhow::Result<()> {
    reference::generate(check)?;
    coverage::generate(check)
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Ci => ci::run(),
        Chore::Test => test::run(),
        Chore::Acceptance(options) => acceptance::run(&options),
        Chore::Bench(options) => bench::run(&options),
        Chore::Faults(options) => faults::run(&options),
        Chore::Sim(options) => sim::run(&options),
        Chore::Gen { check } => generate(check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
