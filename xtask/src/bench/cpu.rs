//! What a server used of the machine: processor time and memory of a process and its descendants, from `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result};

/// `USER_HZ`, in which `/proc/PID/stat` counts: 100 on every architecture Linux runs on today.
const TICKS_PER_SECOND: u64 = 100;

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// User and system time of all threads, those that ended too. The kernel knows only their sum exactly.
    ticks: u64,
}

/// Parses `/proc/PID/stat`; the command in parentheses may itself contain spaces and parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    // Counted from the state, which is field 3: the parent is field 4, utime 14, stime 15.
    let parent = fields.nth(1)?.parse().ok()?;
    let user: u64 = fields.nth(9)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Stat { parent, ticks: user.checked_add(system)? })
}

/// Parses one `name: 123 kB` line of `/proc/PID/smaps_rollup`; the answer is in bytes.
fn parse_kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// A process and all its descendants: Rollcall is one process of many threads, kamailio is many processes.
pub(crate) fn family(root: u32) -> Result<BTreeSet<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end while we read.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        parents.extend(parse_stat(&text).map(|stat| (pid, stat.parent)));
    }
    let mut family = BTreeSet::from([root]);
    loop {
        let before = family.len();
        family.extend(
            parents
                .iter()
                .filter(|(_, parent)| family.contains(parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if family.len() == before {
            return Ok(family);
        }
    }
}

/// Processor time, user and system, of a process and its descendants since they started.
pub(crate) fn processor_time(root: u32) -> Result<Duration> {
    let mut ticks = 0;
    for pid in family(root)? {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid} is gone"))?;
        ticks += parse_stat(&text).with_context(|| format!("/proc/{pid}/stat is not as expected"))?.ticks;
    }
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Processor time of the threads that a process and its descendants have now, to the nanosecond: for differences so
/// short that `USER_HZ` would hide them.
pub(crate) fn processor_time_of_threads(root: u32) -> Result<Duration> {
    let mut time = Duration::ZERO;
    for pid in family(root)? {
        for thread in
            fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is gone"))?
        {
            // A thread may end while we read.
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            time += parse_schedstat(&text).context("schedstat is not as expected")?;
        }
    }
    Ok(time)
}

/// Resident memory of a process and its descendants in bytes; a page they share is counted once (the kernel's "Pss").
pub(crate) fn memory_bytes(root: u32) -> Result<u64> {
    let mut bytes = 0;
    for pid in family(root)? {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = match fs::read_to_string(&path) {
            // A descendant that ended while we read holds nothing any more.
            Err(error) if pid != root && is_gone(&error) => continue,
            read => read.with_context(|| path.clone())?,
        };
        bytes += parse_kilobytes(&text, "Pss").with_context(|| format!("{path} has no Pss"))?;
    }
    Ok(bytes)
}

/// Whether reading from `/proc` failed because the process ended: before its file was opened, or between that and
/// reading it (`ESRCH`, which has no name in `std`).
fn is_gone(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// Processor time of the calling thread.
pub(crate) fn thread_time() -> Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    parse_schedstat(&text).context("schedstat is not as expected")
}

/// Parses `schedstat`: nanoseconds on a processor, nanoseconds waiting for one, turns.
fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn stat_with_an_awkward_command() {
        let text = "4242 (a) b (c)) S 17 4242 4242 0 -1 4194560 950 0 3 0 120 35 7 9 20 0 4 0 100 1000 200";
        assert_eq!(parse_stat(text), Some(Stat { parent: 17, ticks: 155 }));
        assert_eq!(parse_stat("4242 (short) S 17"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn schedstat_in_nanoseconds() {
        assert_eq!(parse_schedstat("1500 20 3\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn pss_in_kilobytes() {
        let text = "00400000-7ffd rollup\nRss:  9000 kB\nPss:        7436 kB\nPss_Anon:   1 kB\n";
        assert_eq!(parse_kilobytes(text, "Pss"), Some(7436 * 1024));
        assert_eq!(parse_kilobytes(text, "Swap"), None);
    }

    #[test]
    fn this_process_is_its_own_family() {
        let me = std::process::id();
        assert!(family(me).unwrap().contains(&me));
        // Other tests of this process start and end children meanwhile.
        assert!(memory_bytes(me).unwrap() > 100_000);
    }

    #[test]
    fn a_process_that_ended_is_gone() {
        // It lives until its standard input closes, which waiting for it does.
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let open = fs::File::open(format!("/proc/{}/smaps_rollup", child.id())).unwrap();
        child.wait().unwrap();
        let held = io::read_to_string(open).unwrap_err();
        let never_opened = fs::read(format!("/proc/{}/smaps_rollup", child.id())).unwrap_err();
        assert!(is_gone(&held), "{held}");
        assert!(is_gone(&never_opened), "{never_opened}");
        assert!(!is_gone(&fs::read("/proc").unwrap_err()));
    }
}
