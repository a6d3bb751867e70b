//! One round of each fault of the campaign: `cargo xtask faults` runs it at length.

use anyhow::{Result, ensure};
use peers::binary;
use peers::campaign::{Fault, Options, run};

/// Faults that a failed run had, so that later ones have them, too.
const SEEDS: [u64; 1] = [1];

fn check(faults: &[Fault]) -> Result<()> {
    for seed in SEEDS {
        let options =
            Options { binary: binary()?, rounds: 1, seed, faults: faults.to_vec(), uses_sipp: true };
        let tallies = run(&options, |line| eprintln!("{line}"))?;
        let complaints: Vec<_> = tallies.iter().flat_map(|(_, tally)| &tally.complaints).collect();
        ensure!(complaints.is_empty(), "seed {seed}: {complaints:#?}");
    }
    Ok(())
}

#[test]
fn nodes_that_end_and_come_back() -> Result<()> {
    check(&[Fault::Kill, Fault::Blank, Fault::Stop, Fault::Rolling, Fault::KillTwo])
}

#[test]
fn links_that_break() -> Result<()> {
    check(&[Fault::Cut, Fault::Silence, Fault::OneWay, Fault::Isolate])
}
