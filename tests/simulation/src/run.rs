//! One run, from the first start to the end of everything.

use std::collections::BTreeMap;
use std::fmt;

use crate::clock::Ms;
use crate::setting::Setting;
use crate::world::World;

/// When clients and faults begin at the earliest.
const BEGINNING_MS: Ms = 7_000;
/// From when all is mended to when everybody agrees: a NOTIFY that nobody answered is given up and sent anew, twice, and all
/// is compared.
const AGREEMENT_MS: Ms = 110_000;
/// The longest lifetime that a client asks for, and what is remembered beyond it.
const FORGETTING_MS: Ms = 300_000 + 180_000;

/// What a run saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Changes that were acknowledged.
    pub acknowledged: u64,
    /// NOTIFYs that were sent, copies not counted.
    pub notifies: u64,
    /// NOTIFYs with a CSeq that a watcher refuses: what keeps two nodes apart that both notify.
    pub fenced: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// The same for two runs in which the same happened.
    pub digest: u64,
}

/// What went wrong, and what happened before.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The setting, with its seed.
    pub setting: Setting,
    /// What is wrong.
    pub text: String,
    /// The last events.
    pub trace: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.trace)?;
        writeln!(f, "{:?}", self.setting)?;
        write!(f, "seed {}: {}", self.setting.seed, self.text)
    }
}

impl std::error::Error for Failure {}

impl Report {
    /// Adds what another run saw.
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.notifies += other.notifies;
        self.fenced += other.fenced;
        for (fault, count) in &other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
    }
}

/// Runs one seed.
///
/// # Errors
/// What was found to be wrong first.
pub fn run(setting: Setting, is_verbose: bool) -> Result<Report, Box<Failure>> {
    let mut world = World::new(setting.clone(), is_verbose);
    match play(&mut world) {
        Ok(()) => Ok(Report {
            acknowledged: world.model.acknowledged,
            notifies: world.streams.notifies,
            fenced: world.streams.fenced,
            faults: std::mem::take(&mut world.faults),
            digest: world.trace.digest(),
        }),
        Err(text) => Err(Box::new(Failure { setting, text, trace: world.trace.text() })),
    }
}

fn play(world: &mut World) -> Result<(), String> {
    world.run_until(BEGINNING_MS + world.setting.busy_ms)?;
    world.trace.note(world.now, "all is mended");
    world.heal();
    world.run_for(12_000)?; // what is under way ends
    world.tick_ms = 100;
    world.run_for(AGREEMENT_MS)?;
    world.check_end()?;
    world.tick_ms = 1_000;
    world.run_for(FORGETTING_MS)?;
    world.check_nothing_is_left()
}
