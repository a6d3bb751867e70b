//! Servers that share an engine.

use std::fs;
use std::net::SocketAddr;
use std::thread;

use anyhow::{Context, Result};
use peers::{OPEN, Rollcall};
use tempfile::TempDir;

pub(crate) const BINDINGS: &str = "rollcall_registrar_bindings{domain=\"example.test\"}";
pub(crate) const PUBLICATIONS: &str = "rollcall_presence_publications{domain=\"example.test\"}";
pub(crate) const SUBSCRIPTIONS: &str = "rollcall_subscriptions{domain=\"example.test\",event=\"presence\"}";
pub(crate) const FENCED: &str = "rollcall_replication_fenced_total";
pub(crate) const NOTIFIED: &str = "rollcall_notifies_total{event=\"presence\",outcome=\"2xx\"}";

/// What nodes of one engine have in common.
pub(crate) struct Plan {
    folder: TempDir,
    engine: String,
    keys: String,
    storage: &'static str,
    peer_timeout_ms: u32,
}

impl Plan {
    pub(crate) fn new(layout: &str, servers: &[SocketAddr], keys: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("cluster.key"), "the secret of a cluster that only tests have\n")?;
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        let engine = format!("[replication.redis]\nlayout = \"{layout}\"\nservers = {servers:?}\n");
        Ok(Self { folder, engine, keys: keys.to_owned(), storage: "", peer_timeout_ms: 10_000 })
    }

    /// Nodes keep nothing on disks of their own.
    pub(crate) fn in_memory(self) -> Self {
        Self { storage: "[storage]\ndurability = \"memory\"\n", ..self }
    }

    pub(crate) fn with_timeout(self, peer_timeout_ms: u32) -> Self {
        Self { peer_timeout_ms, ..self }
    }

    pub(crate) fn with_log(self, entries: u32) -> Self {
        self.with_engine(&format!("log_entries_max = {entries}"))
    }

    /// With a further key of `[replication.redis]`.
    pub(crate) fn with_engine(self, key: &str) -> Self {
        Self { engine: format!("{}{key}\n", self.engine), ..self }
    }

    pub(crate) fn start(&self, name: &str) -> Result<Rollcall> {
        let mut node = self.start_alone(name)?;
        wait_until_up(&mut node)?;
        Ok(node)
    }

    /// The same, though it may not reach its engine.
    pub(crate) fn start_alone(&self, name: &str) -> Result<Rollcall> {
        let secret = self.folder.path().join("cluster.key");
        Rollcall::start(&format!(
            "{OPEN}\n[server]\nnode = \"{name}\"\ndrain_seconds = 0\n[replication]\nengine = \"redis\"\n\
             secret_file = \"{}\"\npeer_timeout_ms = {}\n{}\n{}{}",
            secret.display(),
            self.peer_timeout_ms,
            self.keys,
            self.engine,
            self.storage,
        ))
    }

    /// Starts several at once.
    pub(crate) fn start_all<const N: usize>(&self, names: [&str; N]) -> Result<[Rollcall; N]> {
        let nodes: Vec<Result<Rollcall>> = thread::scope(|scope| {
            let starting = names.map(|name| scope.spawn(move || self.start(name)));
            starting.into_iter().map(|node| node.join().ok().context("a panic")?).collect()
        });
        let nodes = nodes.into_iter().collect::<Result<Vec<_>>>()?;
        nodes.try_into().ok().context("as many as names")
    }
}

/// Waits until a node hears its engine.
pub(crate) fn wait_until_up(node: &mut Rollcall) -> Result<()> {
    node.wait_for_metric("rollcall_replication_peer_up", 1.0)
}
