//! Load from SIPp: scenarios as XML, counts from its statistics.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::process::{Process, free_udp_port, udp_port_is_bound};

/// More than this share of failed calls makes a run worthless.
const FAILED_MAX: f64 = 0.001;
/// Calls under way at once: so many that the server is never idle, so few that no buffer overflows.
const CALLS_AT_ONCE: &str = "200";
/// Octets of SIPp's socket buffers.
const BUFFER_BYTES: &str = "4000000";

/// A scenario of SIPp.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) xml: &'static str,
}

macro_rules! scenario {
    ($name:literal) => {
        Scenario { name: $name, xml: include_str!(concat!("scenarios/", $name, ".xml")) }
    };
}

pub(crate) const REGISTER: Scenario = scenario!("register");
pub(crate) const REGISTER_AUTH: Scenario = scenario!("register-auth");
pub(crate) const FORWARD: Scenario = scenario!("forward");
pub(crate) const FORWARD_ANSWER: Scenario = scenario!("forward-answer");
pub(crate) const CALL: Scenario = scenario!("call");
pub(crate) const CALL_ANSWER: Scenario = scenario!("call-answer");
pub(crate) const PUBLISH: Scenario = scenario!("publish");

/// What SIPp counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    pub(crate) retransmissions: u64,
}

/// Starts the answering side on a free port, which is returned with it.
pub(crate) fn answer(scenario: &Scenario, folder: &Path) -> Result<(Process, u16)> {
    let port = free_udp_port()?;
    let mut command = sipp(scenario, port, folder)?;
    let mut process = Process::start(scenario.name, &mut command, folder)?;
    process.wait_until("its port", Duration::from_secs(10), || udp_port_is_bound(port))?;
    Ok((process, port))
}

/// Who calls.
pub(crate) struct Caller {
    pub(crate) server: SocketAddr,
    pub(crate) port: u16,
    /// The file of users that take turns.
    pub(crate) users: PathBuf,
}

impl Caller {
    /// Makes `calls` calls, at most `rate` a second.
    ///
    /// # Errors
    /// More than one call in a thousand failed, or SIPp itself did.
    pub(crate) fn call(&self, scenario: &Scenario, calls: u64, rate: u64, folder: &Path) -> Result<Counts> {
        let statistics = folder.join(format!("{}.csv", scenario.name));
        let mut command = sipp(scenario, self.port, folder)?;
        command.args(["-m", &calls.to_string(), "-r", &rate.to_string(), "-l", CALLS_AT_ONCE]);
        command.arg("-inf").arg(&self.users);
        command.args(["-trace_stat", "-fd", "1", "-stf"]).arg(&statistics).arg(self.server.to_string());
        let mut process = Process::start(scenario.name, &mut command, folder)?;
        let status = process.wait(Duration::from_secs(60 + 4 * calls / rate))?;
        // 1 says that calls failed, which the counts tell better; everything else is SIPp's own failure.
        ensure!(
            matches!(status.code(), Some(0 | 1)),
            "SIPp {}: {status}\n{}",
            scenario.name,
            process.last_words()
        );
        let text = fs::read_to_string(&statistics)?;
        let counts =
            parse_statistics(&text).with_context(|| format!("{}: unexpected", statistics.display()))?;
        ensure!(
            counts.calls == calls && counts.failed as f64 <= FAILED_MAX * calls as f64,
            "{}: {} of {calls} calls were made, {} failed, {} messages were sent again\n{}",
            scenario.name,
            counts.calls,
            counts.failed,
            counts.retransmissions,
            first_errors(scenario, folder),
        );
        Ok(counts)
    }
}

fn sipp(scenario: &Scenario, port: u16, folder: &Path) -> Result<Command> {
    let path = folder.join(format!("{}.xml", scenario.name));
    fs::write(&path, scenario.xml)?;
    let mut command = Command::new("sipp");
    command.arg("-sf").arg(path).args(["-i", "127.0.0.1", "-p", &port.to_string(), "-t", "u1"]);
    command
        .args(["-nostdin", "-deadcall_wait", "0", "-buff_size", BUFFER_BYTES, "-f", "60"])
        .current_dir(folder);
    command.args(["-trace_err", "-error_file"]).arg(folder.join(format!("{}.errors", scenario.name)));
    Ok(command)
}

/// The first that SIPp complained of.
fn first_errors(scenario: &Scenario, folder: &Path) -> String {
    let text = fs::read(folder.join(format!("{}.errors", scenario.name))).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().take(20).collect::<Vec<_>>().join("\n")
}

/// Reads the last line of what `-trace_stat` wrote.
fn parse_statistics(text: &str) -> Option<Counts> {
    let mut lines = text.lines();
    let names: Vec<_> = lines.next()?.split(';').collect();
    let values: Vec<_> = lines.last()?.split(';').collect();
    let value = |name: &str| values.get(names.iter().position(|n| *n == name)?)?.parse::<u64>().ok();
    let failed = value("FailedCall(C)")?;
    Some(Counts {
        calls: value("SuccessfulCall(C)")? + failed,
        failed,
        retransmissions: value("Retransmissions(C)")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let text = "StartTime;SuccessfulCall(P);SuccessfulCall(C);FailedCall(C);Retransmissions(C);\n\
                    x;5;5;0;0;\nx;5;98;2;7;\n";
        assert_eq!(parse_statistics(text), Some(Counts { calls: 100, failed: 2, retransmissions: 7 }));
        assert_eq!(parse_statistics("StartTime;\n"), None);
        assert_eq!(parse_statistics(""), None);
    }
}
