//! Processor time per message, call or NOTIFY.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::client::Client;
use super::fanout::{Fanout, WATCHERS};
use super::message::register;
use super::process::Process;
use super::server::{Kind, Server, USERS};
use super::sipp::{self, Counts, Scenario};

/// How long the server is watched at rest before its load.
const IDLE: Duration = Duration::from_secs(2);
/// Users that are called.
const CALLEES: usize = 1_000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Register,
    RegisterAuth,
    Forward,
    Call,
    Publish,
    Notify,
}

/// How much of it: SIPp calls at a rate, or rounds of the fan-out.
struct Plan {
    calls: u64,
    calls_per_second: u64,
    /// Operations that one call counts for.
    operations: u64,
}

/// One measurement of one server.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) kind: Kind,
    /// Processor time per operation, without what the server needs at rest.
    pub(crate) microseconds: f64,
    pub(crate) load: Load,
    /// Share of a core that the server needed at rest.
    pub(crate) idle: f64,
}

/// What was done to a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    pub(crate) operations: u64,
    pub(crate) seconds: f64,
    pub(crate) failed: u64,
    pub(crate) retransmissions: u64,
    /// For each round of the fan-out: when the last watcher was told.
    pub(crate) told: Vec<Duration>,
}

impl Work {
    /// Rates at which a core is busy with SIPp, and kamailio or Rollcall with most of what is left, without a loss.
    fn plan(self, quick: bool) -> Plan {
        let (calls, calls_per_second, operations) = match self {
            Self::Register => (60_000, 5_000, 1),
            Self::RegisterAuth => (40_000, 3_000, 1),
            Self::Forward => (40_000, 3_000, 1),
            Self::Call => (15_000, 1_000, 1),
            Self::Publish => (10_000, 600, 5),
            Self::Notify => (50, 0, WATCHERS as u64),
        };
        Plan { calls: if quick { calls / 5 } else { calls }, calls_per_second, operations }
    }

    /// Loads each server in turn, waits until nothing is left of the load, and says what it took.
    pub(crate) fn measure(
        self,
        kinds: &[Kind],
        rollcall: &Path,
        quick: bool,
        folder: &Path,
    ) -> Result<Vec<Sample>> {
        let auth = self == Self::RegisterAuth;
        let servers: Vec<_> =
            kinds.iter().map(|kind| Server::start(*kind, rollcall, auth, folder)).collect::<Result<_>>()?;
        let mut running = Vec::new();
        for server in &servers {
            let load = self.prepare(server, quick, folder).with_context(|| server.kind.name())?;
            let idle = server.idle(IDLE)?;
            let (before, start) = (server.processor_time()?, Instant::now());
            let load = load().with_context(|| server.kind.name())?;
            running.push((server, idle, before, start, Instant::now(), load));
        }
        let mut samples = Vec::new();
        for (server, idle, before, start, end, load) in running {
            server.linger(end);
            let used =
                (server.processor_time()? - before).as_secs_f64() - idle * start.elapsed().as_secs_f64();
            let microseconds = used * 1e6 / load.operations as f64;
            server.settle()?;
            samples.push(Sample { kind: server.kind, microseconds, load, idle });
        }
        Ok(samples)
    }

    /// Brings about what the load needs, and does a little of it so that nothing is done for the first time.
    fn prepare<'a>(
        self,
        server: &'a Server,
        quick: bool,
        folder: &'a Path,
    ) -> Result<Box<dyn FnOnce() -> Result<Load> + 'a>> {
        let plan = self.plan(quick);
        let users = users(folder, if self.is_for_callees() { CALLEES } else { USERS })?;
        let (caller, answerer) = match self {
            Self::Register => (&sipp::REGISTER, None),
            Self::RegisterAuth => (&sipp::REGISTER_AUTH, None),
            Self::Forward => (&sipp::FORWARD, Some(answer(server, &sipp::FORWARD_ANSWER, folder)?)),
            Self::Call => (&sipp::CALL, Some(answer(server, &sipp::CALL_ANSWER, folder)?)),
            Self::Publish => (&sipp::PUBLISH, None),
            Self::Notify => {
                let mut fanout = Fanout::new(server.address)?;
                fanout.round()?;
                return Ok(Box::new(move || rounds(&mut fanout, &plan)));
            }
        };
        // Enough for each user's first registration.
        let warm_up = if self.is_for_callees() { plan.calls / 20 } else { USERS as u64 };
        sipp::call(caller, server.address, &users, warm_up, plan.calls_per_second, folder)?;
        Ok(Box::new(move || {
            let start = Instant::now();
            let Counts { calls, failed, retransmissions } =
                sipp::call(caller, server.address, &users, plan.calls, plan.calls_per_second, folder)?;
            let seconds = start.elapsed().as_secs_f64();
            drop(answerer);
            Ok(Load {
                operations: calls * plan.operations,
                seconds,
                failed,
                retransmissions,
                told: Vec::new(),
            })
        }))
    }

    fn is_for_callees(self) -> bool {
        matches!(self, Self::Forward | Self::Call)
    }
}

fn rounds(fanout: &mut Fanout, plan: &Plan) -> Result<Load> {
    let start = Instant::now();
    let told = (0..plan.calls).map(|_| fanout.round()).collect::<Result<Vec<_>>>()?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Load { operations: plan.calls * plan.operations, seconds, told, ..Load::default() })
}

/// Starts SIPp to answer, and registers the callees there.
fn answer(server: &Server, scenario: &Scenario, folder: &Path) -> Result<Process> {
    let (process, port) = sipp::answer(scenario, folder)?;
    let client = Client::new(server.address)?;
    client.run(CALLEES, false, |user| {
        register(&format!("u{user}"), port, client.port, format!("callee-{user}"))
    })?;
    Ok(process)
}

/// A file of users for SIPp: the user, and what its Authorization is made from, which SIPp wants in one piece.
fn users(folder: &Path, users: usize) -> Result<PathBuf> {
    let path = folder.join(format!("{users}-users.csv"));
    let lines: Vec<_> = (0..users)
        .map(|user| format!("u{user};[authentication username=u{user} password=secret{user}]"))
        .collect();
    fs::write(&path, format!("SEQUENTIAL\n{}\n", lines.join("\n")))?;
    Ok(path)
}
