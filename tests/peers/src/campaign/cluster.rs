//! Three nodes, each with a cable to each other, or to the engine that they share.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::cable::{Cable, Way};
use crate::ports::free_port;
use crate::redis::Redis;
use crate::rollcall::{OPEN, Rollcall};

/// The nodes, by name.
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];
/// Lines of a node's log that are shown when something is not as promised.
const LOG_LINES: usize = 60;
const UNACKED: &str = "rollcall_replication_unacked_total";
const PEER_UP: &str = "rollcall_replication_peer_up";
const LAG: &str = "rollcall_replication_lag_seconds";

/// How old what was written may be that a node has not heard of, if nothing is wrong with its links.
pub(crate) const LAG_MAX: Duration = Duration::from_millis(500);

/// Three nodes, and what lies between them.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Rollcall>,
    between: Between,
    /// What each node had counted when it was asked last.
    unacked: [f64; NAMES.len()],
    /// Ends of the logs of earlier lives.
    last_words: [String; NAMES.len()],
    _folder: TempDir,
}

/// What lies between nodes.
pub(crate) enum Between {
    /// By who connects and to whom.
    Links { cables: Vec<(usize, usize, Cable)>, places: Vec<SocketAddr> },
    /// An engine, and the cable to it of each node.
    Engine { engine: Redis, cables: Vec<Cable> },
}

impl Between {
    pub(crate) fn links() -> Result<Self> {
        let places = NAMES.iter().map(|_| Ok(local(free_port()?))).collect::<Result<Vec<_>>>()?;
        let cable = |(from, to): (usize, usize)| Ok((from, to, Cable::new(places[to])?));
        Ok(Self::Links { cables: pairs().map(cable).collect::<Result<_>>()?, places })
    }

    pub(crate) fn engine() -> Result<Self> {
        let mut engine = Redis::start()?;
        engine.hush();
        let cables = NAMES.iter().map(|_| Cable::new(engine.address())).collect::<Result<_>>()?;
        Ok(Self::Engine { engine, cables })
    }

    /// What a node's `[replication]` has of it.
    fn section(&self, at: usize) -> String {
        match self {
            Self::Links { cables, places } => {
                let mut text = format!("listen = \"{}\"\n", places[at]);
                for (_, to, cable) in cables.iter().filter(|(from, _, _)| *from == at) {
                    let (name, address) = (NAMES[*to], cable.address());
                    text += &format!("[[replication.peer]]\nnode = \"{name}\"\naddress = \"{address}\"\n");
                }
                text
            }
            Self::Engine { cables, .. } => {
                let address = cables[at].address();
                format!("engine = \"redis\"\n[replication.redis]\nservers = [\"{address}\"]\n")
            }
        }
    }

    /// Peers that a node hears when all is well.
    fn heard(&self) -> usize {
        match self {
            Self::Links { .. } => NAMES.len() - 1,
            Self::Engine { .. } => 1,
        }
    }
}

impl Cluster {
    /// Starts all nodes, and waits until each hears the others.
    pub(crate) fn start(binary: &Path, between: Between) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let secret = folder.path().join("cluster.key");
        fs::write(&secret, "the secret of a cluster that only this campaign has\n")?;
        let configs: Vec<String> = (0..NAMES.len())
            .map(|at| {
                format!(
                    "{OPEN}\n[server]\nnode = \"{}\"\ndrain_seconds = 1\n[replication]\nsecret_file = \"{}\"\n\
                     ack = \"peer\"\npeer_timeout_ms = 1000\ndigest_interval_seconds = 1\nstart_wait_ms = 10000\n{}",
                    NAMES[at],
                    secret.display(),
                    between.section(at),
                )
            })
            .collect();
        let mut nodes: Vec<Rollcall> = thread::scope(|scope| {
            let starting: Vec<_> = configs
                .iter()
                .map(|config| scope.spawn(move || Rollcall::start_binary(binary, config)))
                .collect();
            starting.into_iter().map(|node| node.join().ok().context("a panic")?).collect::<Result<_>>()
        })?;
        for node in &mut nodes {
            node.hush();
            node.wait_for_metric(PEER_UP, between.heard() as f64)?;
        }
        let last_words = Default::default();
        Ok(Self { nodes, between, unacked: [0.0; NAMES.len()], last_words, _folder: folder })
    }

    /// Where the nodes take SIP.
    pub(crate) fn sip(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Rollcall::sip).collect()
    }

    /// SIGKILL. Returns how many writes it had acknowledged alone since it was asked last.
    pub(crate) fn kill(&mut self, node: usize) -> Result<u64> {
        let alone = self.alone(node)?;
        self.nodes[node].kill()?;
        self.bury(node);
        Ok(alone)
    }

    /// SIGTERM, until it has ended.
    pub(crate) fn stop_in_order(&mut self, node: usize) -> Result<u64> {
        let alone = self.alone(node)?;
        self.nodes[node].signal(Signal::TERM)?;
        let status = self.nodes[node].wait()?;
        ensure!(status.success(), "node {} ended with {status}", NAMES[node]);
        self.bury(node);
        Ok(alone)
    }

    /// Sends a signal that does not end it.
    pub(crate) fn signal(&self, node: usize, signal: Signal) -> Result<()> {
        self.nodes[node].signal(signal)
    }

    /// Starts nodes that have ended, at once, over what their disks have or over nothing; returns when they are ready.
    pub(crate) fn start_again(&mut self, which: &[usize], loses_disk: bool) -> Result<()> {
        thread::scope(|scope| {
            let chosen = self.nodes.iter_mut().enumerate().filter(|(at, _)| which.contains(at));
            let starting: Vec<_> = chosen
                .map(|(_, node)| {
                    scope.spawn(move || {
                        if loses_disk {
                            fs::remove_dir_all(node.data_dir())?;
                        }
                        node.start_again()?;
                        node.hush();
                        anyhow::Ok(())
                    })
                })
                .collect();
            starting.into_iter().try_for_each(|node| node.join().ok().context("a panic")?)
        })
    }

    /// Does something to the cables between two nodes: with it, and whether it was the first that connected by it.
    pub(crate) fn between(&self, one: usize, other: usize, act: impl Fn(&Cable, bool)) {
        let Between::Links { cables, .. } = &self.between else { return };
        for (from, to, cable) in cables {
            if (*from, *to) == (one, other) || (*from, *to) == (other, one) {
                act(cable, *from == one);
            }
        }
    }

    /// What nodes share, and the cable to it of each.
    pub(crate) fn engine(&mut self) -> Result<(&mut Redis, &[Cable])> {
        match &mut self.between {
            Between::Engine { engine, cables } => Ok((engine, cables)),
            Between::Links { .. } => bail!("this is a fault of an engine"),
        }
    }

    /// Holds what one node says to another.
    pub(crate) fn hold(&self, from: usize, to: usize) {
        self.between(from, to, |cable, is_from| cable.hold(if is_from { Way::Forth } else { Way::Back }));
    }

    /// Mends all cables.
    pub(crate) fn mend(&self) {
        match &self.between {
            Between::Links { cables, .. } => cables.iter().for_each(|(_, _, cable)| cable.mend()),
            Between::Engine { cables, .. } => cables.iter().for_each(Cable::mend),
        }
    }

    /// Whether each node hears all others, and none has waited for long for what was written there.
    pub(crate) fn is_connected(&mut self) -> Result<bool> {
        for node in &self.nodes {
            let metrics = node.metrics()?;
            // A node that has just begun has not looked yet.
            let hears_all = metrics.sum(PEER_UP).is_ok_and(|heard| heard == self.between.heard() as f64);
            let is_behind = metrics.sum(LAG).is_ok_and(|lag| lag >= LAG_MAX.as_secs_f64());
            if !hears_all || is_behind {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many writes a node has acknowledged without another since it was asked last.
    pub(crate) fn alone(&mut self, node: usize) -> Result<u64> {
        let counted = self.nodes[node].metric(UNACKED)?;
        let alone = counted - self.unacked[node];
        self.unacked[node] = counted;
        Ok(alone.max(0.0) as u64)
    }

    /// The ends of all logs.
    pub(crate) fn logs(&mut self) -> String {
        let mut text = String::new();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let log = format!("{}{}", self.last_words[at], tail(&node.log()));
            text += &format!("--- log of node {} ---\n{log}\n", NAMES[at]);
        }
        text
    }

    fn bury(&mut self, node: usize) {
        self.unacked[node] = 0.0;
        self.last_words[node] = format!("{}\n(the next life)\n", tail(&self.nodes[node].log()));
    }
}

/// All ordered pairs of nodes.
pub(crate) fn pairs() -> impl Iterator<Item = (usize, usize)> {
    let all = 0..NAMES.len();
    all.clone().flat_map(move |from| all.clone().map(move |to| (from, to))).filter(|(from, to)| from != to)
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
