//! Servers that are configured as each other's peers.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result};
use peers::{Cable, OPEN, Rollcall, UserAgent, free_port, register};
use tempfile::TempDir;

pub(crate) const BINDINGS: &str = "rollcall_registrar_bindings{domain=\"example.test\"}";
pub(crate) const PUBLICATIONS: &str = "rollcall_presence_publications{domain=\"example.test\"}";
pub(crate) const SUBSCRIPTIONS: &str = "rollcall_subscriptions{domain=\"example.test\",event=\"presence\"}";
pub(crate) const NOTIFIED: &str = "rollcall_notifies_total{event=\"presence\",outcome=\"2xx\"}";

/// A node that is to be: its name and where the others connect to.
pub(crate) struct Place {
    name: &'static str,
    pub(crate) link: SocketAddr,
}

/// Places for nodes, and the secret that they share.
pub(crate) struct Plan {
    folder: TempDir,
    pub(crate) places: Vec<Place>,
    /// What is configured besides the node itself.
    base: &'static str,
    /// Further keys of `[replication]`.
    keys: String,
}

impl Plan {
    pub(crate) fn new(names: &[&'static str], keys: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("cluster.key"), "the secret of a cluster that only tests have\n")?;
        let place = |name: &&'static str| Ok(Place { name, link: local(free_port()?) });
        let places = names.iter().map(place).collect::<Result<_>>()?;
        Ok(Self { folder, places, base: OPEN, keys: keys.to_owned() })
    }

    /// The same with other domains and users.
    pub(crate) fn with(self, base: &'static str) -> Self {
        Self { base, ..self }
    }

    pub(crate) fn secret(&self) -> PathBuf {
        self.folder.path().join("cluster.key")
    }

    /// The configuration of a node, whose peers are where `reached` says.
    pub(crate) fn config(&self, at: usize, reached: impl Fn(usize) -> SocketAddr) -> String {
        let Place { name, link } = &self.places[at];
        let mut text = format!(
            "{}\n[server]\nnode = \"{name}\"\ndrain_seconds = 0\n[replication]\nlisten = \"{link}\"\n\
             secret_file = \"{}\"\npeer_timeout_ms = 2000\ndigest_interval_seconds = 1\n{}\n",
            self.base,
            self.secret().display(),
            self.keys,
        );
        for (other, place) in self.places.iter().enumerate().filter(|(other, _)| *other != at) {
            let (name, address) = (place.name, reached(other));
            text += &format!("[[replication.peer]]\nnode = \"{name}\"\naddress = \"{address}\"\n");
        }
        text
    }

    /// Starts all nodes at once, each reached where it is.
    pub(crate) fn start(&self) -> Result<Vec<Rollcall>> {
        self.start_via(|_, other| self.places[other].link)
    }

    /// Starts all nodes at once; `reached` says where one finds another.
    pub(crate) fn start_via(
        &self,
        reached: impl Fn(usize, usize) -> SocketAddr + Sync,
    ) -> Result<Vec<Rollcall>> {
        let reached = &reached;
        let mut nodes: Vec<Rollcall> = thread::scope(|scope| {
            let start =
                |at: usize| scope.spawn(move || Rollcall::start(&self.config(at, |to| reached(at, to))));
            let starting: Vec<_> = (0..self.places.len()).map(start).collect();
            let started = starting.into_iter().map(|node| node.join().ok().context("a panic")?);
            started.collect::<Result<_>>()
        })?;
        for node in &mut nodes {
            wait_until_up(node, self.places.len() - 1)?;
        }
        Ok(nodes)
    }
}

/// Two nodes with no more than what every test has.
pub(crate) fn pair(keys: &str) -> Result<(Plan, Rollcall, Rollcall)> {
    let plan = Plan::new(&["a", "b"], keys)?;
    let mut nodes = plan.start()?;
    let (b, a) = (nodes.pop().context("b")?, nodes.pop().context("a")?);
    Ok((plan, a, b))
}

/// Two nodes, and the cables by which each is reached by the other.
pub(crate) fn pair_by_cables(keys: &str) -> Result<(Plan, Rollcall, Rollcall, [Cable; 2])> {
    let plan = Plan::new(&["a", "b"], keys)?;
    let cables = [Cable::new(plan.places[0].link)?, Cable::new(plan.places[1].link)?];
    let mut nodes = plan.start_via(|_, to| cables[to].address())?;
    let (b, a) = (nodes.pop().context("b")?, nodes.pop().context("a")?);
    Ok((plan, a, b, cables))
}

/// Waits until a node has heard of so many others.
pub(crate) fn wait_until_up(node: &mut Rollcall, peers: usize) -> Result<()> {
    node.wait_for_metric("rollcall_replication_peer_up", peers as f64)
}

/// Returns when all that has happened so far on one node is on another: groups of changes come in order, and a user is in one
/// group and gone in a later one.
pub(crate) fn settle(from: &Rollcall, to: &mut Rollcall) -> Result<()> {
    static USERS: AtomicU32 = AtomicU32::new(0);
    let user = format!("settled-{}", USERS.fetch_add(1, Ordering::Relaxed));
    let mut agent = UserAgent::udp(from.sip())?;
    let before = to.metric(BINDINGS)?;
    register(&mut agent, &user, 1, "Contact: <sip:settled@192.0.2.9>")?;
    to.wait_for_metric(BINDINGS, before + 1.0)?;
    register(&mut agent, &user, 2, "Contact: <sip:settled@192.0.2.9>;expires=0")?;
    to.wait_for_metric(BINDINGS, before)
}

/// Removes all that a node has on its disk.
pub(crate) fn lose_disk(node: &Rollcall) -> Result<()> {
    Ok(fs::remove_dir_all(node.data_dir())?)
}

pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
