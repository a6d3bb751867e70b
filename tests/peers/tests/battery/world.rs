//! Servers that are one to those who use them.

use std::cell::Cell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use anyhow::{Context, Result};
use peers::{OPEN, Redis, RedisCluster, Rollcall, UserAgent, free_port, register};
use tempfile::TempDir;

pub(crate) const BINDINGS: &str = "rollcall_registrar_bindings{domain=\"example.test\"}";
pub(crate) const PUBLICATIONS: &str = "rollcall_presence_publications{domain=\"example.test\"}";
pub(crate) const SUBSCRIPTIONS: &str = "rollcall_subscriptions{domain=\"example.test\",event=\"presence\"}";
pub(crate) const NOTIFIED: &str = "rollcall_notifies_total{event=\"presence\",outcome=\"2xx\"}";

/// A user in the virtual shard of Alice's (both have a CRC-32 of 1 modulo 16): what is told of the one after the other is heard
/// after it.
const NEIGHBOUR: &str = "horn";

/// How state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    Memory,
    Journal,
    Mesh,
    Redis,
    RedisCluster,
}

/// One server, or two that are one.
pub(crate) struct World {
    nodes: Vec<Rollcall>,
    settled: Cell<u32>,
    _engine: Engine,
    _folder: TempDir,
}

enum Engine {
    None,
    Redis { _server: Redis },
    Cluster { _servers: RedisCluster },
}

impl World {
    pub(crate) fn start(keeping: Keeping) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let secret = folder.path().join("cluster.key");
        fs::write(&secret, "the secret of a cluster that only tests have\n")?;
        let replication = format!(
            "[replication]\nsecret_file = \"{}\"\nack = \"peer\"\nack_wait_ms = 5000\npeer_timeout_ms = 2000\n",
            secret.display(),
        );
        let on_redis = |layout: &str, servers: &[SocketAddr]| {
            let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
            // What survives is in the engine, or nowhere.
            format!(
                "[storage]\ndurability = \"memory\"\n{replication}engine = \"redis\"\n\
                 [replication.redis]\nlayout = \"{layout}\"\nservers = {servers:?}\n"
            )
        };
        let (engine, sections) = match keeping {
            Keeping::Memory => (Engine::None, vec!["[storage]\ndurability = \"memory\"\n".to_owned()]),
            Keeping::Journal => (Engine::None, vec![String::new()]),
            Keeping::Mesh => {
                let ports =
                    [free_port()?, free_port()?].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
                let section = |own: usize, peer: &str| {
                    format!(
                        "{replication}listen = \"{}\"\n[[replication.peer]]\nnode = \"{peer}\"\naddress = \"{}\"\n",
                        ports[own],
                        ports[1 - own],
                    )
                };
                (Engine::None, vec![section(0, "b"), section(1, "a")])
            }
            Keeping::Redis => {
                let server = Redis::start()?;
                let section = on_redis("alone", &[server.address()]);
                (Engine::Redis { _server: server }, vec![section.clone(), section])
            }
            Keeping::RedisCluster => {
                let servers = RedisCluster::start()?;
                let section = on_redis("cluster", &servers.addresses());
                (Engine::Cluster { _servers: servers }, vec![section.clone(), section])
            }
        };
        let config = |(section, name): (&String, &str)| {
            format!(
                "{OPEN}\n[server]\nnode = \"{name}\"\ndrain_seconds = 0\n[presence]\nmin_expires_seconds = 1\n{section}"
            )
        };
        let configs: Vec<String> = sections.iter().zip(["a", "b"]).map(config).collect();
        let nodes: Vec<Result<Rollcall>> = thread::scope(|scope| {
            let starting: Vec<_> =
                configs.iter().map(|config| scope.spawn(|| Rollcall::start(config))).collect();
            starting.into_iter().map(|node| node.join().ok().context("a panic")?).collect()
        });
        let mut nodes = nodes.into_iter().collect::<Result<Vec<_>>>()?;
        if nodes.len() > 1 {
            for node in &mut nodes {
                node.wait_for_metric("rollcall_replication_peer_up", 1.0)?;
            }
        }
        Ok(Self { nodes, settled: Cell::default(), _engine: engine, _folder: folder })
    }

    /// One of the nodes, which may be the same as the other.
    pub(crate) fn first(&mut self) -> &mut Rollcall {
        &mut self.nodes[0]
    }

    /// The other.
    pub(crate) fn second(&mut self) -> &mut Rollcall {
        let last = self.nodes.len() - 1;
        &mut self.nodes[last]
    }

    /// Waits until a metric has a value, on each.
    pub(crate) fn wait_for(&mut self, metric: &str, value: f64) -> Result<()> {
        self.nodes.iter_mut().try_for_each(|node| node.wait_for_metric(metric, value))
    }

    /// The sum of a metric over the nodes.
    pub(crate) fn sum(&self, metric: &str) -> Result<f64> {
        self.nodes.iter().map(|node| node.metric(metric)).sum()
    }

    /// Returns when all that has happened to Alice on either node is on the other.
    pub(crate) fn settle(&mut self) -> Result<()> {
        for from in 0..self.nodes.len() {
            let cseq = self.settled.get() + 1;
            self.settled.set(cseq + 1);
            let mut agent = UserAgent::tcp(self.nodes[from].sip())?;
            let before = self.nodes[from].metric(BINDINGS)?;
            register(&mut agent, NEIGHBOUR, cseq, "Contact: <sip:neighbour@192.0.2.9>")?;
            self.wait_for(BINDINGS, before + 1.0)?;
            register(&mut agent, NEIGHBOUR, cseq + 1, "Contact: <sip:neighbour@192.0.2.9>;expires=0")?;
            self.wait_for(BINDINGS, before)?;
        }
        Ok(())
    }

    /// The first node dies. It is back at once if it is the only one.
    pub(crate) fn lose_first(&mut self) -> Result<()> {
        if self.nodes.len() > 1 { self.nodes[0].kill() } else { self.nodes[0].crash(|_| Ok(())) }
    }

    /// The first node is back, if it is not.
    pub(crate) fn bring_back_first(&mut self) -> Result<()> {
        if self.nodes.len() > 1 { self.nodes[0].start_again() } else { Ok(()) }
    }
}
