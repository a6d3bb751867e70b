//! How long a large journal takes to be read: `cargo run --release -p replication --example recover [records [octets]]`.

use std::time::Instant;

use prometheus::Registry;
use replication::{Journal, Kind, Metrics, Options};

const KIND: Kind = Kind(1);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let records: u64 = arguments.next().map_or(Ok(1_200_000), |argument| argument.parse())?;
    let octets: usize = arguments.next().map_or(Ok(250), |argument| argument.parse())?;
    // Beside the build, and not where files may be in memory.
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    let metrics = || Metrics::register(&Registry::new());

    let (journal, _) = Journal::open(dir.path(), Options::default(), metrics()?, 0, |_| {})?;
    let key = |record: u64| format!("sip:user{record:07}@example.test;contact=1");
    for record in 0..records {
        while journal.admit().is_err() {
            std::thread::yield_now();
        }
        journal.append(record as usize, |change| {
            let key = key(record);
            let value = vec![record as u8; octets - key.len()];
            change.put(KIND, i64::MAX, |out| out.extend(key.as_bytes()), |out| out.extend(value));
        });
    }
    journal.close();

    let (before, began) = (status("VmRSS:"), Instant::now());
    let mut sum = 0;
    let (journal, recovery) = Journal::open(dir.path(), Options::default(), metrics()?, 0, |record| {
        sum += record.key.len() + record.value.len();
    })?;
    let seconds = began.elapsed().as_secs_f64();
    println!("{} records of {octets} octets, {sum} octets in all: {seconds:.3} s", recovery.records);
    println!("memory before {before}, at most {}", status("VmHWM:"));
    journal.close();
    Ok(())
}

/// A line of what Linux says of this process.
fn status(name: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.map_or_else(String::new, |line| line.trim().to_owned())
}
