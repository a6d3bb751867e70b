//! A Redis that nodes share: what it costs them and it, and how long a node without state takes to have what it holds.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::client::Client;
use super::message::register;
use super::process::{Process, free_tcp_port};
use super::server::{Kind, Server};

/// How long it may take to be ready, and to be told all.
const LIMIT: Duration = Duration::from_secs(120);

/// A Redis with a disk.
pub(crate) struct Engine {
    pub(crate) process: Process,
    address: SocketAddr,
    secret: PathBuf,
}

impl Engine {
    /// Starts one, without anything in it. It writes down all that it is told, and syncs once a second.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let (data, secret) = (folder.join("redis"), folder.join("cluster.key"));
        fs::create_dir_all(&data)?;
        fs::write(&secret, "a secret of a cluster that is measured, and nothing else")?;
        let port = free_tcp_port()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "yes",
        ]);
        let mut process = Process::start("redis-server", command.current_dir(&data), folder)?;
        process.wait_until("a connection", LIMIT, || TcpStream::connect(address).is_ok())?;
        Ok(Self { process, address, secret })
    }

    /// What is to stand at the end of a node's configuration.
    pub(crate) fn section(&self) -> String {
        format!(
            "\n[replication]\nengine = \"redis\"\nack = \"peer\"\nsecret_file = \"{}\"\nstart_wait_ms = 60000\n\
             peer_timeout_ms = 3000\n\n[replication.redis]\nservers = [\"{}\"]\n",
            self.secret.display(),
            self.address,
        )
    }

    /// A number that `INFO` tells.
    fn info(&self, key: &str) -> Result<u64> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.write_all(b"INFO\r\n")?;
        let mut reader = BufReader::new(stream);
        let mut length = String::new();
        reader.read_line(&mut length)?;
        let length = length.trim().strip_prefix('$').context("no answer to INFO")?.parse()?;
        let mut text = String::new();
        reader.take(length).read_to_string(&mut text)?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        Ok(line.with_context(|| format!("no {key} in INFO"))?.parse()?)
    }
}

/// What a node without state got from a Redis, how long that took, and what it takes there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineCatchUp {
    pub(crate) bindings: usize,
    /// From the start of the process until it is ready.
    pub(crate) took: Duration,
    /// Memory of the Redis for each, and for its place in the log.
    pub(crate) bytes_each: f64,
    /// All memory of that node, for each.
    pub(crate) node_bytes_each: f64,
}

impl EngineCatchUp {
    /// Fills one node, then starts another.
    pub(crate) fn measure(rollcall: &Path, quick: bool, folder: &Path) -> Result<Self> {
        let bindings = if quick { 50_000 } else { 1_000_000 };
        let folder = folder.join("engine-catch-up");
        fs::create_dir_all(&folder)?;
        let engine = Engine::start(&folder)?;
        let before = engine.info("used_memory")?;
        let start = |name: &str| {
            let folder = folder.join(name);
            fs::create_dir_all(&folder)?;
            let section = engine.section();
            Server::start_node(Kind::RollcallEngine, "memory", rollcall, false, &folder, &section, name)
        };
        let first = start("bench")?;
        let client = Client::new(first.address)?;
        let port = client.port;
        client.run(bindings, false, |n| register(&format!("u{n}"), port, port, format!("binding-{n}")))?;
        let bytes = engine.info("used_memory")?.saturating_sub(before);
        let began = Instant::now();
        let second = start("b")?;
        let took = began.elapsed();
        let there = second.metric("rollcall_registrar_bindings{")?;
        ensure!(there == bindings as u64, "{there} of {bindings} bindings came over");
        let of_each = |bytes: u64| bytes as f64 / bindings as f64;
        Ok(Self {
            bindings,
            took,
            bytes_each: of_each(bytes),
            node_bytes_each: of_each(second.memory_bytes()?),
        })
    }
}
