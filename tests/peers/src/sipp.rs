//! SIPp: calls by the thousand, as a scenario says.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::message::Message;
use crate::ports::free_port;
use crate::process::Process;

/// SIPp gives up by itself after this long, and says why.
const TIMEOUT_SECONDS: u64 = 40;
/// How long we wait for that.
const LIMIT: Duration = Duration::from_secs(TIMEOUT_SECONDS + 5);
/// Calls under way at once.
const CALLS_AT_ONCE: u32 = 200;
/// Octets of its socket buffers: a burst of NOTIFY must not overflow them.
const BUFFER_BYTES: u32 = 4_000_000;
/// Messages that are printed when SIPp failed.
const MESSAGES_MAX: usize = 20;

/// A scenario: the file of this name in `scenarios/`.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    name: &'static str,
    xml: &'static str,
}

macro_rules! scenarios {
    ($($(#[$doc:meta])* $constant:ident = $file:literal;)*) => {
        impl Scenario {
            $($(#[$doc])* pub const $constant: Self =
                Self { name: $file, xml: include_str!(concat!("../scenarios/", $file, ".xml")) };)*
        }
    };
}

scenarios! {
    /// A phone registers: challenged, it comes again with credentials. Users: name, credentials.
    REGISTER = "register";
    /// A phone registers where nobody is challenged. Users: name.
    REGISTER_OPEN = "register-open";
    /// A call that the caller ends. Users: caller, credentials, callee.
    CALL = "call";
    /// The other side of [`Scenario::CALL`].
    ANSWER = "answer";
    /// A call that the callee ends. Users: caller, credentials, callee.
    CALL_UNTIL_BYE = "call-until-bye";
    /// The other side of [`Scenario::CALL_UNTIL_BYE`].
    ANSWER_THEN_BYE = "answer-then-bye";
    /// A watcher subscribes, is told the state, and waits until the note is `At the whiteboard`. Users: watcher,
    /// credentials, presentity.
    WATCH = "watch";
    /// Publishes a document with the note `At the whiteboard`. Users: presentity, credentials.
    PUBLISH = "publish";
}

/// A SIPp that is to be run, or that runs.
pub struct Sipp {
    process: Process,
    scenario: Scenario,
    calls: u32,
    folder: TempDir,
}

/// The calls were made, all of them successfully.
pub struct Finished {
    /// Messages that SIPp sent, in order.
    pub sent: Vec<Message>,
    /// Messages that SIPp received, in order.
    pub received: Vec<Message>,
}

impl Sipp {
    /// Starts the calling side on `port`, and makes one call for each of `users`, which are the scenario's fields,
    /// separated by semicolons. `request_uri` is what its requests are for: SIPp wants it for the digest's `uri`, which
    /// is to be the Request-URI (RFC 7616 §3.4).
    ///
    /// # Errors
    /// SIPp is not installed.
    pub fn call(
        scenario: Scenario,
        port: u16,
        server: SocketAddr,
        request_uri: &str,
        users: &[String],
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let calls = u32::try_from(users.len())?;
        let file = folder.path().join("users.csv");
        fs::write(&file, format!("SEQUENTIAL\n{}\n", users.join("\n")))?;
        let mut command = command(scenario, port, calls, &folder)?;
        command.args(["-r", "500", "-l", &CALLS_AT_ONCE.to_string()]).arg("-inf").arg(file);
        command.args(["-auth_uri", request_uri.trim_start_matches("sip:")]).arg(server.to_string());
        Ok(Self {
            process: Process::start(&format!("sipp {}", scenario.name), &mut command)?,
            scenario,
            calls,
            folder,
        })
    }

    /// Starts the calling side, `rate` calls a second, for as long as there are users or until [`Sipp::stop`]; calls may
    /// fail.
    ///
    /// # Errors
    /// SIPp is not installed.
    pub fn background(
        scenario: Scenario,
        port: u16,
        server: SocketAddr,
        rate: u32,
        users: &[String],
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let calls = u32::try_from(users.len())?;
        let file = folder.path().join("users.csv");
        fs::write(&file, format!("SEQUENTIAL\n{}\n", users.join("\n")))?;
        let mut command = command(scenario, port, calls, &folder)?;
        command.args(["-r", &rate.to_string(), "-l", &CALLS_AT_ONCE.to_string()]).arg("-inf").arg(file);
        command.arg(server.to_string());
        let mut process = Process::start(&format!("sipp {}", scenario.name), &mut command)?;
        process.hush();
        Ok(Self { process, scenario, calls, folder })
    }

    /// Ends it where it is, and returns what went over the wire.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(mut self) -> Result<Finished> {
        // It may have ended by itself.
        let _ = self.process.signal(Signal::KILL);
        self.process.wait(LIMIT)?;
        let messages = fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default();
        Ok(read_messages(&messages))
    }

    /// Starts the answering side on `port`, for `calls` calls, and waits until it listens.
    ///
    /// # Errors
    /// SIPp is not installed, or does not listen.
    pub fn answer(scenario: Scenario, port: u16, calls: u32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = command(scenario, port, calls, &folder)?;
        let mut process = Process::start(&format!("sipp {}", scenario.name), &mut command)?;
        process.wait_until("its port", LIMIT, || udp_port_is_bound(port).then_some(()))?;
        Ok(Self { process, scenario, calls, folder })
    }

    /// [`Sipp::call`] on a port that does not matter, to its end.
    ///
    /// # Errors
    /// SIPp is not installed, or a call failed.
    pub fn run(
        scenario: Scenario,
        server: SocketAddr,
        request_uri: &str,
        users: &[String],
    ) -> Result<Finished> {
        Self::call(scenario, free_port()?, server, request_uri, users)?.finish()
    }

    /// Waits until all calls are over.
    ///
    /// # Errors
    /// One failed, or they took too long.
    pub fn finish(mut self) -> Result<Finished> {
        let status = self.process.wait(LIMIT)?;
        let messages = fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default();
        let finished = read_messages(&messages);
        if !status.success() {
            let errors = fs::read_to_string(self.folder.path().join("errors")).unwrap_or_default();
            let pieces: Vec<_> = messages.split(SEPARATOR).collect();
            let last = pieces[pieces.len().saturating_sub(MESSAGES_MAX)..].join(SEPARATOR);
            eprintln!(
                "--- errors of sipp {} ---\n{errors}\n--- its last messages ---\n{last}",
                self.scenario.name
            );
        }
        ensure!(
            status.success(),
            "sipp {} ended with {status}: not all of {} calls went as the scenario says",
            self.scenario.name,
            self.calls
        );
        Ok(finished)
    }
}

fn command(scenario: Scenario, port: u16, calls: u32, folder: &TempDir) -> Result<Command> {
    let path = folder.path().join(format!("{}.xml", scenario.name));
    fs::write(&path, scenario.xml).with_context(|| path.display().to_string())?;
    let mut command = Command::new("sipp");
    command.current_dir(folder.path()).arg("-sf").arg(path);
    command.args(["-i", "127.0.0.1", "-t", "u1", "-p", &port.to_string(), "-mp", &free_port()?.to_string()]);
    command.args(["-m", &calls.to_string(), "-nostdin", "-f", "60", "-buff_size", &BUFFER_BYTES.to_string()]);
    command.args(["-timeout", &TIMEOUT_SECONDS.to_string(), "-timeout_error"]);
    command.args(["-trace_msg", "-message_file", "messages", "-trace_err", "-error_file", "errors"]);
    Ok(command)
}

/// Whether someone has bound this UDP port of 127.0.0.1.
fn udp_port_is_bound(port: u16) -> bool {
    fs::read_to_string("/proc/net/udp").unwrap_or_default().contains(&format!(" 0100007F:{port:04X} "))
}

/// What stands between two messages in SIPp's trace; a time follows it.
const SEPARATOR: &str = "-----------------------------------------------";

fn read_messages(trace: &str) -> Finished {
    let mut finished = Finished { sent: Vec::new(), received: Vec::new() };
    for piece in trace.split(SEPARATOR) {
        // A time, `UDP message received [LENGTH] bytes :`, an empty line, the message.
        let Some((title, message)) = piece.split_once(":\n\n") else { continue };
        // SIPp writes one line end more than the message has.
        let message = Message::new(message.strip_suffix('\n').unwrap_or(message));
        if title.contains("message sent") {
            finished.sent.push(message);
        } else if title.contains("message received") {
            finished.received.push(message);
        }
    }
    finished
}
