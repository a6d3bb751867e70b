//! Child processes that do not outlive us, and ports for them.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::cpu;

/// How often a condition is looked at again while we wait for it.
const POLL: Duration = Duration::from_millis(5);
/// How long a server may take to stop in order.
const STOP: Duration = Duration::from_secs(5);

/// A child that is stopped, with its own children, when this value goes.
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a command; what it prints goes to `NAME.log` in `folder`.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{name} cannot be run"))?;
        Ok(Self { child, name: name.to_owned(), log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the process printed last, for an error's text.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Waits until `ready` is true; an error if the process ends first or `limit` passes.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended before {what} ({status}):\n{}", self.name, self.last_words());
            }
            if Instant::now() > deadline {
                bail!(
                    "{}: {what} did not come within {} s:\n{}",
                    self.name,
                    limit.as_secs(),
                    self.last_words()
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Kills the process, as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} was not done after {} s", self.name, limit.as_secs());
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let family = cpu::family(self.id()).unwrap_or_default();
        // Nothing more can be done about a signal that does not reach its process; the wait below tells.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if self.wait(STOP).is_ok() {
            return;
        }
        for pid in family {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// A UDP port of 127.0.0.1 that nobody has at the moment.
pub(crate) fn free_udp_port() -> Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A TCP port of 127.0.0.1 that nobody has at the moment.
pub(crate) fn free_tcp_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Whether someone has bound this UDP port of 127.0.0.1 or of every address.
pub(crate) fn udp_port_is_bound(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let [local, any] = ["0100007F", "00000000"].map(|address| format!(" {address}:{port:04X} "));
    table.contains(&local) || table.contains(&any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_port_is_seen() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(udp_port_is_bound(socket.local_addr().unwrap().port()));
    }

    #[test]
    fn a_process_ends_with_its_guard() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start("sleep", Command::new("sleep").arg("600"), folder.path()).unwrap();
        let id = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn an_early_end_is_an_error_with_the_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        let mut process =
            Process::start("sh", shell.args(["-c", "echo no such port; exit 3"]), folder.path()).unwrap();
        let error =
            process.wait_until("readiness", Duration::from_secs(10), || false).unwrap_err().to_string();
        assert!(error.contains("no such port") && error.contains("exit status: 3"), "{error}");
    }
}
