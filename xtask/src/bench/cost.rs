//! Processor time per message, call or NOTIFY.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::client::Client;
use super::fanout::{Fanout, WATCHERS};
use super::message::register;
use super::process::{Process, free_udp_port};
use super::server::{Histogram, Kind, Server, USERS};
use super::sipp::{self, Caller, Counts, Scenario};

/// How long the server is watched at rest before its load.
const IDLE: Duration = Duration::from_secs(2);
/// From the gathering of a change to its acknowledgement by the other node.
const ACKS: &str = "rollcall_replication_ack_duration_seconds";
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
    /// What the other node of a pair needed per operation.
    pub(crate) partner_microseconds: Option<f64>,
    /// How long changes took until the other node had them.
    pub(crate) acks: Option<Histogram>,
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
    /// Rates that keep the cores busy, most of all with SIPp, and lose nothing.
    fn plan(self, quick: bool) -> Plan {
        let (calls, calls_per_second, operations) = match self {
            Self::Register => (100_000, 10_000, 1),
            Self::RegisterAuth | Self::Forward => (60_000, 5_000, 1),
            Self::Call => (20_000, 1_500, 1),
            Self::Publish => (15_000, 1_200, 5),
            Self::Notify => (50, 0, WATCHERS as u64),
        };
        Plan { calls: if quick { calls / 5 } else { calls }, calls_per_second, operations }
    }

    /// Loads each server in turn, as often as `repetitions` says; `tell` hears of each result.
    ///
    /// The load that comes before them is not measured: it brings memory to its size, so that what is measured is how
    /// the server goes on, not how it starts. `quick` has a shorter one, and does not wait for the end of transactions.
    pub(crate) fn measure(
        self,
        kinds: &[Kind],
        rollcall: &Path,
        quick: bool,
        repetitions: usize,
        folder: &Path,
        mut tell: impl FnMut(Sample),
    ) -> Result<()> {
        let auth = self == Self::RegisterAuth;
        let servers: Vec<_> =
            kinds.iter().map(|kind| Server::start(*kind, rollcall, auth, folder)).collect::<Result<_>>()?;
        let mut drivers = Vec::new();
        for server in &servers {
            let mut driver = self.prepare(server, quick, folder).with_context(|| server.kind.name())?;
            if !quick {
                driver().with_context(|| server.kind.name())?;
            }
            drivers.push((server, driver));
        }
        let linger =
            |end| if quick { Ok(()) } else { servers.iter().try_for_each(|server| server.linger(end)) };
        linger(Instant::now())?;
        for _ in 0..repetitions {
            let mut running = Vec::new();
            for (server, driver) in &mut drivers {
                let meter = Meter::start(server)?;
                let load = driver().with_context(|| server.kind.name())?;
                running.push((meter, load));
            }
            let end = Instant::now();
            for (meter, load) in running {
                if !quick {
                    meter.server.wait_for_transactions(end);
                }
                tell(meter.stop(load)?);
            }
            linger(end)?;
        }
        Ok(())
    }

    /// Brings about what the load needs, and does a little of it so that nothing is done for the first time.
    fn prepare<'a>(self, server: &'a Server, quick: bool, folder: &'a Path) -> Result<Driver<'a>> {
        let plan = self.plan(quick);
        let users = users(folder, if self.is_for_callees() { CALLEES } else { USERS })?;
        let (scenario, answerer) = match self {
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
        // The same port in every run: else each run would add a binding to those of the run before.
        let caller = Caller { server: server.address, port: free_udp_port()?, users };
        // Enough for each user's first registration.
        let warm_up = if self.is_for_callees() { CALLEES } else { USERS } as u64;
        caller.call(scenario, warm_up, plan.calls_per_second, folder)?;
        Ok(Box::new(move || {
            // SIPp that answers lives as long as this closure.
            let _answerer = &answerer;
            let start = Instant::now();
            let Counts { calls, failed, retransmissions } =
                caller.call(scenario, plan.calls, plan.calls_per_second, folder)?;
            let seconds = start.elapsed().as_secs_f64();
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

/// What makes the load, again and again.
type Driver<'a> = Box<dyn FnMut() -> Result<Load> + 'a>;

/// Reads what a server uses from one moment to another.
struct Meter<'a> {
    server: &'a Server,
    idle: f64,
    before: Duration,
    partner_before: Option<Duration>,
    acks_before: Option<Histogram>,
    start: Instant,
}

impl<'a> Meter<'a> {
    fn start(server: &'a Server) -> Result<Self> {
        let partner_before = server.processor_time_of_partner()?;
        let acks_before = partner_before.map(|_| server.histogram(ACKS)).transpose()?;
        let (idle, before) = (server.idle(IDLE)?, server.processor_time()?);
        Ok(Self { server, idle, before, partner_before, acks_before, start: Instant::now() })
    }

    fn stop(self, load: Load) -> Result<Sample> {
        let (after, seconds) = (self.server.processor_time()?, self.start.elapsed().as_secs_f64());
        // The state that the load left may cost something at rest, too: the lesser of both is certainly not its work.
        let idle = self.idle.min(self.server.idle(IDLE)?);
        let used = after.saturating_sub(self.before).as_secs_f64() - idle * seconds;
        let per_operation = |seconds: f64| seconds * 1e6 / load.operations as f64;
        let partner = self.partner_before.zip(self.server.processor_time_of_partner()?);
        let partner = partner.map(|(before, after)| after.saturating_sub(before).as_secs_f64());
        let acks = match self.acks_before {
            Some(before) => Some(self.server.histogram(ACKS)?.since(&before)),
            None => None,
        };
        Ok(Sample {
            kind: self.server.kind,
            microseconds: per_operation(used),
            idle,
            partner_microseconds: partner.map(per_operation),
            acks,
            load,
        })
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
