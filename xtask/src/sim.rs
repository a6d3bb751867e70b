//! Clusters under virtual time, by seed.

use anyhow::Result;

use crate::shell::cargo;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds; without it one, and all that happens in it is printed.
    #[arg(long)]
    runs: Option<u64>,
}

/// Runs the simulation, built for release.
pub(crate) fn run(options: &Options) -> Result<()> {
    let seed = options.seed.to_string();
    let runs = options.runs.map(|runs| runs.to_string());
    let mut arguments =
        vec!["run", "--release", "--locked", "--quiet", "--package", "simulation", "--", "--seed", &seed];
    if let Some(runs) = &runs {
        arguments.extend(["--runs", runs]);
    }
    cargo(&arguments, &[])
}
