//! `cargo xtask bench`: processor time and memory of a release build, beside kamailio in the same run.

mod cpu;
mod echo;

use anyhow::Result;
use clap::Args;

/// What to measure, and what to do with the result.
#[derive(Args)]
pub(crate) struct Options {
    /// Fewer messages: a first look in about a minute.
    #[arg(long)]
    quick: bool,
    /// Writes the result to `docs/performance.md`.
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// Only the measurements whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Measures Rollcall alone.
    #[arg(long)]
    skip_kamailio: bool,
}

/// Runs the measurements and prints the table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let datagrams = if options.quick { 20_000 } else { 200_000 };
    println!("echo: {:.1} µs", echo::microseconds(datagrams)?);
    Ok(())
}
