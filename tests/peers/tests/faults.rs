//! One round of each fault of the campaign: `cargo xtask faults` runs it at length.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use peers::binary;
use peers::campaign::{Fault, Options, run};

/// Faults that a failed run had, so that later ones have them, too.
const SEEDS: [u64; 1] = [1];

/// One campaign at a time: what is held against nodes depends on how long they take.
static TURN: Mutex<()> = Mutex::new(());

fn check(on_engine: bool, faults: &[Fault]) -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for seed in SEEDS {
        let faults = faults.to_vec();
        let options = Options { binary: binary()?, rounds: 1, seed, on_engine, faults, uses_sipp: true };
        let tallies = run(&options, |line| eprintln!("{line}"))?;
        let complaints: Vec<_> = tallies.iter().flat_map(|(_, tally)| &tally.complaints).collect();
        ensure!(complaints.is_empty(), "seed {seed}: {complaints:#?}");
    }
    Ok(())
}

#[test]
fn nodes_that_end_and_come_back() -> Result<()> {
    check(false, &[Fault::Kill, Fault::Blank, Fault::Stop, Fault::Rolling, Fault::KillTwo])
}

#[test]
fn links_that_break() -> Result<()> {
    check(false, &[Fault::Cut, Fault::Silence, Fault::OneWay, Fault::Isolate])
}

#[test]
fn nodes_that_share_an_engine() -> Result<()> {
    check(true, &[Fault::Kill, Fault::Stop, Fault::CutFromEngine])
}

#[test]
fn an_engine_that_ends_and_comes_back() -> Result<()> {
    check(true, &[Fault::EngineKill, Fault::EngineBlank, Fault::EngineStop])
}
