//! Runs seeds: `simulation --seed N` one, verbosely; `--runs K` that many from it, on two threads.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use clap::Parser;
use simulation::{Report, Setting, run};

/// Seeds from one word on how far it is to the next.
const WORD: u64 = 1_000;

/// Nodes and messages are made and dropped all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Whole clusters under virtual time.")]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds; without it one, and all that happens is printed.
    #[arg(long)]
    runs: Option<u64>,
    /// Seeds that fail, after which no more are begun.
    #[arg(long, default_value_t = 10)]
    failures: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.runs {
        None => one(arguments.seed),
        Some(runs) => many(&arguments, runs),
    }
}

fn one(seed: u64) -> ExitCode {
    match run(Setting::of(seed), true) {
        Ok(report) => {
            println!("{report:#?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{:?}\nseed {seed}: {}", failure.setting, failure.text);
            ExitCode::FAILURE
        }
    }
}

fn many(arguments: &Arguments, runs: u64) -> ExitCode {
    #[allow(clippy::disallowed_methods)] // how long it took
    let began = Instant::now();
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let (sum, failures) = (Mutex::new(Report::default()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                loop {
                    let failed = failures.lock().expect("nobody panics").len() as u64;
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= runs || failed >= arguments.failures {
                        return;
                    }
                    let seed = arguments.seed + at;
                    match std::panic::catch_unwind(|| run(Setting::of(seed), false)) {
                        Ok(Ok(report)) => sum.lock().expect("nobody panics").add(&report),
                        Ok(Err(failure)) => {
                            println!("seed {seed}: {}", failure.text);
                            failures.lock().expect("nobody panics").push(seed);
                        }
                        Err(_) => {
                            println!("seed {seed}: a panic");
                            failures.lock().expect("nobody panics").push(seed);
                        }
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(WORD) && done < runs {
                        println!("{done} of {runs} after {:.0} s", began.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    let (sum, mut failures) =
        (sum.into_inner().expect("nobody panics"), failures.into_inner().expect("nobody panics"));
    failures.sort_unstable();
    let (done, seconds) = (next.into_inner().min(runs), began.elapsed().as_secs_f64());
    println!("{done} seeds in {seconds:.1} s ({:.1} a second)", done as f64 / seconds);
    println!("{} changes acknowledged, {} NOTIFYs, {} fenced", sum.acknowledged, sum.notifies, sum.fenced);
    println!("faults: {:?}", sum.faults);
    if failures.is_empty() {
        println!("nothing lost, nothing told twice, nothing told that was not so, nothing left over");
        return ExitCode::SUCCESS;
    }
    println!("{} seeds failed: {failures:?}", failures.len());
    ExitCode::FAILURE
}
