//! What CI runs.

use anyhow::Result;

use crate::shell::cargo;
use crate::{sim, test};

/// Seeds of the simulation: about two minutes on two cores.
const SEEDS: u64 = 1_000;

/// Formatting, lints, docs, generated files, then every test, and clusters under virtual time.
pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])?;
    cargo(&["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings".as_ref())])?;
    crate::generate(true)?;
    test::run()?;
    sim::run(&sim::Options { seed: 0, runs: Some(SEEDS) })
}
