//! Two nodes, and how long one without state takes to have that of the other.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::client::Client;
use super::message::register;
use super::process::{Process, free_tcp_port, free_udp_port};
use super::server::{Kind, Server, USERS, metric, run_rollcall};

/// There is nobody yet.
pub(crate) const NO_WAIT: Duration = Duration::from_millis(100);
/// More than it takes.
const CATCH_UP: Duration = Duration::from_secs(60);

/// The configuration of two nodes, as far as they differ from one that is alone.
pub(crate) struct Pair {
    ack: String,
    /// Where each listens for the other.
    ports: [u16; 2],
    secret: PathBuf,
    /// Of the second.
    folder: PathBuf,
}

impl Pair {
    /// Two nodes with folders in one.
    pub(crate) fn new(ack: &str, folder: &Path) -> Result<Self> {
        let (secret, partner) = (folder.join("cluster.key"), folder.join("partner"));
        fs::create_dir_all(&partner)?;
        fs::write(&secret, "a secret of a cluster that is measured, and nothing else")?;
        Ok(Self { ack: ack.into(), ports: [free_tcp_port()?, free_tcp_port()?], secret, folder: partner })
    }

    /// What is to stand at the end of the configuration of the first or the second, which waits so long for the other.
    pub(crate) fn section(&self, at: usize, wait: Duration) -> String {
        let [own, other] = if at == 0 { self.ports } else { [self.ports[1], self.ports[0]] };
        let peer = if at == 0 { "b" } else { "bench" };
        format!(
            "\n[replication]\nlisten = \"127.0.0.1:{own}\"\nack = \"{}\"\nsecret_file = \"{}\"\nstart_wait_ms = {}\n\
             peer_timeout_ms = 3000\n\n[[replication.peer]]\nnode = \"{peer}\"\naddress = \"127.0.0.1:{other}\"\n",
            self.ack,
            self.secret.display(),
            wait.as_millis(),
        )
    }

    /// Starts the second, without state; it is ready when it has that of the other, or has waited so long.
    pub(crate) fn partner(&self, rollcall: &Path, auth: bool, wait: Duration) -> Result<Partner> {
        let (port, admin) = (free_udp_port()?, free_tcp_port()?);
        let mut config = include_str!("rollcall.toml")
            .replace("{folder}", &self.folder.display().to_string())
            .replace("{port}", &port.to_string())
            .replace("{admin}", &admin.to_string())
            .replace("{durability}", "commit")
            .replace("{auth}", &auth.to_string())
            .replace("node = \"bench\"", "node = \"b\"");
        if auth {
            for user in 0..USERS {
                config +=
                    &format!("\n[[user]]\naor = \"sip:u{user}@bench.test\"\npassword = \"secret{user}\"\n");
            }
        }
        config += &self.section(1, wait);
        fs::write(self.folder.join("rollcall.toml"), config)?;
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin));
        Ok(Partner { process: run_rollcall(rollcall, admin, &self.folder)?, admin })
    }
}

/// The second node, running.
pub(crate) struct Partner {
    pub(crate) process: Process,
    admin: SocketAddr,
}

/// What a node without state got from the other, and how long that took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatchUp {
    pub(crate) bindings: usize,
    /// From the start of the process until it is ready.
    pub(crate) took: Duration,
}

impl CatchUp {
    /// Fills one node of a pair, then starts the other.
    pub(crate) fn measure(rollcall: &Path, quick: bool, folder: &Path) -> Result<Self> {
        let bindings = if quick { 50_000 } else { 1_000_000 };
        let folder = folder.join("catch-up");
        let pair = Pair::new("local", &folder)?;
        let server = Server::start_node(
            Kind::RollcallPair,
            "commit",
            rollcall,
            false,
            &folder,
            &pair.section(0, NO_WAIT),
            "bench",
        )?;
        let client = Client::new(server.address)?;
        let port = client.port;
        client.run(bindings, false, |n| register(&format!("u{n}"), port, port, format!("binding-{n}")))?;
        let start = Instant::now();
        let partner = pair.partner(rollcall, false, CATCH_UP)?;
        let took = start.elapsed();
        let there = metric(partner.admin, "rollcall_registrar_bindings{")?;
        ensure!(there == bindings as u64, "{there} of {bindings} bindings came over");
        Ok(Self { bindings, took })
    }
}
