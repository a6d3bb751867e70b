//! A child process whose output is read line by line, and which does not outlive its value.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::ports::probe_or_start;

/// Lines of a log that are worth printing when a test fails.
const LOG_LINES_MAX: usize = 400;

/// A running child. When it goes, the process is killed and its log is printed: the test harness shows what a test
/// printed if that test failed, and nothing otherwise.
pub struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    log: Vec<String>,
    /// How many lines of the log `wait_for` has passed.
    passed: usize,
    is_hushed: bool,
}

impl Process {
    /// Starts a command without standard input.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = {
            let _no_port_is_looked_at = probe_or_start();
            command.spawn()
        };
        let mut child = started.with_context(|| {
            format!("{name} cannot be run: is it installed? `cargo xtask test` sees to that")
        })?;
        let (sender, lines) = channel();
        // Both pipes are there, as they were asked for.
        if let Some(output) = child.stdout.take() {
            read_lines(output, sender.clone());
        }
        if let Some(output) = child.stderr.take() {
            read_lines(output, sender);
        }
        Ok(Self { name: name.to_owned(), child, lines, log: Vec::new(), passed: 0, is_hushed: false })
    }

    /// The next line that contains `text`, among those that no earlier call has passed.
    ///
    /// # Errors
    /// The process ended, or `limit` went by, without such a line.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            while let Some(line) = self.log.get(self.passed) {
                self.passed += 1;
                if line.contains(text) {
                    return Ok(line.clone());
                }
            }
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{}: no line with `{text}` within {limit:?}", self.name)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended ({}) before a line with `{text}`", self.name, self.child.wait()?)
                }
            }
        }
    }

    /// Waits until `ready` has a value, asking it every few milliseconds.
    ///
    /// # Errors
    /// The process ended, or `limit` went by, before `ready` had one.
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = ready() {
                return Ok(value);
            }
            if Instant::now() > deadline {
                bail!("{}: {what} did not come within {limit:?}", self.name);
            }
            match self.lines.recv_timeout(Duration::from_millis(10)) {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended ({}) before {what}", self.name, self.child.wait()?)
                }
            }
        }
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// It did not within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Timeout) => bail!("{} did not end within {limit:?}", self.name),
                // Both pipes are closed, so the process has ended, or is about to.
                Err(RecvTimeoutError::Disconnected) => return Ok(self.child.wait()?),
            }
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("{}: {signal:?} cannot be sent", self.name))
    }

    /// Does not print the log when the value goes, for whoever shows it otherwise.
    pub fn hush(&mut self) {
        self.is_hushed = true;
    }

    /// All that the process has printed so far.
    pub fn log(&mut self) -> String {
        self.log.extend(self.lines.try_iter());
        self.log.join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, and then neither call has anything to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.is_hushed {
            return;
        }
        // The readers end with the pipes.
        self.log.extend(self.lines.iter());
        let skipped = self.log.len().saturating_sub(LOG_LINES_MAX);
        let skipped_lines = if skipped > 0 { format!("({skipped} lines before)\n") } else { String::new() };
        eprintln!("--- log of {} ---\n{skipped_lines}{}", self.name, self.log[skipped..].join("\n"));
    }
}

/// Sends the lines of a pipe until it closes.
fn read_lines(pipe: impl Read + Send + 'static, sender: Sender<String>) {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        // An error is an end too: the process is being killed.
        while pipe.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
            // A carriage return is how a program draws over its own line.
            for line in String::from_utf8_lossy(&bytes).split(['\n', '\r']) {
                let line = without_colours(line);
                if !line.trim().is_empty() && sender.send(line).is_err() {
                    return;
                }
            }
            bytes.clear();
        }
    });
}

/// The text without its ANSI sequences: ESC `[` parameters letter.
fn without_colours(line: &str) -> String {
    let mut pieces = line.split("\x1b[");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| c.is_ascii_alphabetic()).map_or(piece.len(), |at| at + 1);
        text.push_str(&piece[end..]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Process {
        Process::start("sh", Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn lines_are_found_in_order() {
        let mut process = shell("echo one; echo two; echo one again; exec sleep 600");
        assert_eq!(process.wait_for("one", LIMIT).unwrap(), "one");
        assert_eq!(process.wait_for("one", LIMIT).unwrap(), "one again");
        let error = process.wait_for("two", Duration::from_millis(1)).unwrap_err().to_string();
        assert_eq!(error, "sh: no line with `two` within 1ms");
        process.signal(Signal::TERM).unwrap();
        assert_eq!(process.wait(LIMIT).unwrap().code(), None);
    }

    #[test]
    fn an_end_before_the_line_is_told() {
        let error = shell("echo no such port; exit 3").wait_for("ready", LIMIT).unwrap_err().to_string();
        assert_eq!(error, "sh ended (exit status: 3) before a line with `ready`");
    }

    #[test]
    fn colours_are_left_out() {
        let line = "changed status from \x1b[32mOnline\x1b[;m to \x1b[31mOffline\x1b[;m";
        assert_eq!(without_colours(line), "changed status from Online to Offline");
        assert_eq!(without_colours("\x1b[31"), "");
    }
}
