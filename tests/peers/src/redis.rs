//! Real engines: Redis servers, alone and as a cluster, on ports of their own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::Process;

/// How long a server may take to begin, and a cluster to agree.
const LIMIT: Duration = Duration::from_secs(30);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// A cluster's servers listen for each other so many ports higher; by itself it would be 10,000.
const BUS: u16 = 1;

/// A Redis server that goes when this does.
pub struct Redis {
    process: Process,
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
}

impl Redis {
    /// Starts a server that keeps what it has on its disk, every change at once.
    ///
    /// # Errors
    /// `redis-server` is not installed, or does not begin.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same with further arguments.
    ///
    /// # Errors
    /// As there.
    pub fn start_with(arguments: &[&str]) -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>();
        let process = run(folder.path(), port, &arguments)?;
        let mut server = Self { process, folder, port, arguments };
        server.process.wait_for("Ready to accept connections", LIMIT)?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Kills it as a crash would.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(LIMIT).map(drop)
    }

    /// Starts it again after it was killed, with its disk or with another.
    ///
    /// # Errors
    /// It does not begin.
    pub fn start_again(&mut self, keeps_disk: bool) -> Result<()> {
        if !keeps_disk {
            self.folder = tempfile::tempdir()?;
        }
        self.process = run(self.folder.path(), self.port, &self.arguments)?;
        self.process.wait_for("Ready to accept connections", LIMIT).map(drop)
    }

    /// What it logs is not of interest.
    pub fn hush(&mut self) {
        self.process.hush();
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Runs a command until its answer is as it should be; while it does not answer, it may do so later.
    ///
    /// # Errors
    /// It is not in time.
    pub fn wait_until(&mut self, what: &str, command: &[&str], is_so: impl Fn(&str) -> bool) -> Result<()> {
        let address = self.address();
        let answered = || ask(address, command).is_ok_and(|answer| is_so(&answer)).then_some(());
        self.process.wait_until(what, LIMIT, answered)
    }

    /// Runs a command, and returns what it answers: a text, a number, or the items of a flat list, a line each.
    ///
    /// # Errors
    /// It is not reached, or answers with an error.
    pub fn ask(&self, command: &[&str]) -> Result<String> {
        ask(self.address(), command)
    }
}

/// A Sentinel, which is enough by itself to have another server take the place of one that is dead.
pub struct Sentinel {
    _process: Process,
    _folder: TempDir,
    port: u16,
}

impl Sentinel {
    /// Starts one that watches a primary, by that name.
    ///
    /// # Errors
    /// It does not begin, or does not find the primary's replica.
    pub fn start(name: &str, primary: SocketAddr) -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        let config = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor {name} {} {} 1\nsentinel down-after-milliseconds {name} 500\n\
             sentinel failover-timeout {name} 5000\n",
            primary.ip(),
            primary.port(),
        );
        // It writes into this.
        let path = folder.path().join("sentinel.conf");
        fs::write(&path, config)?;
        let mut command = Command::new("redis-server");
        command.current_dir(folder.path()).arg(&path).arg("--sentinel");
        let mut process = Process::start("sentinel", &mut command)?;
        process.wait_for("+slave slave", LIMIT)?;
        Ok(Self { _process: process, _folder: folder, port })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

/// Six servers that share the slots: three primaries, each with a replica.
pub struct RedisCluster {
    servers: Vec<Redis>,
}

impl RedisCluster {
    /// Starts them and waits until they agree.
    ///
    /// # Errors
    /// As [`Redis::start`], or they do not.
    pub fn start() -> Result<Self> {
        let start = |_| {
            Redis::start_with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "1000",
                "--cluster-replica-validity-factor",
                "0",
            ])
        };
        let mut servers = (0..6).map(start).collect::<Result<Vec<_>>>()?;
        let first = servers[0].port.to_string();
        for (at, server) in servers.iter().enumerate() {
            server.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()])?;
            if at < 3 {
                let bound = |of: usize| (of * 16_384 / 3).to_string();
                let last = ((at + 1) * 16_384 / 3 - 1).to_string();
                server.ask(&["CLUSTER", "ADDSLOTSRANGE", &bound(at), &last])?;
            }
            let bus = (servers[0].port + BUS).to_string();
            server.ask(&["CLUSTER", "MEET", "127.0.0.1", &first, &bus])?;
        }
        for at in 3..6 {
            let primary = servers[at - 3].ask(&["CLUSTER", "MYID"])?;
            // It has to have met it.
            servers[at].wait_until("a primary", &["CLUSTER", "REPLICATE", &primary], |_| true)?;
        }
        for server in &mut servers {
            server
                .wait_until("the cluster", &["CLUSTER", "INFO"], |info| info.contains("cluster_state:ok"))?;
            server.wait_until("its other half", &["INFO", "replication"], |info| {
                info.contains("master_link_status:up") || info.contains("state=online")
            })?;
        }
        servers.iter_mut().for_each(Redis::hush);
        Ok(Self { servers })
    }

    /// Where its servers are.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Redis::address).collect()
    }

    /// A primary of the beginning, 0 to 2.
    pub fn primary(&mut self, at: usize) -> &mut Redis {
        &mut self.servers[at]
    }

    /// Waits until the replica of a primary has taken its place.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_for_failover(&mut self, at: usize) -> Result<()> {
        self.servers[at + 3].wait_until("its turn", &["ROLE"], |role| role.starts_with("master"))
    }
}

fn run(folder: &Path, port: u16, arguments: &[String]) -> Result<Process> {
    let bus = (port + BUS).to_string();
    let mut command = Command::new("redis-server");
    command.current_dir(folder).args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "always", "--cluster-port", &bus]).args(arguments);
    Process::start("redis-server", &mut command)
}

fn ask(server: SocketAddr, command: &[&str]) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut request = format!("*{}\r\n", command.len());
    for word in command {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes())?;
    read(&mut BufReader::new(stream)).with_context(|| command.join(" "))
}

/// Reads an answer (RESP2, Redis protocol specification).
fn read(from: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let line = line.trim_end();
    let (Some(kind), Some(rest)) = (line.chars().next(), line.get(1..)) else { bail!("no answer") };
    match kind {
        '+' | ':' => Ok(rest.to_owned()),
        '-' => bail!("{rest}"),
        '$' if rest == "-1" => Ok(String::new()),
        '$' => {
            let mut octets = vec![0; rest.parse::<usize>()? + 2];
            from.read_exact(&mut octets)?;
            octets.truncate(octets.len() - 2);
            Ok(String::from_utf8_lossy(&octets).into_owned())
        }
        '*' => {
            let items = (0..rest.parse::<usize>()?).map(|_| read(from)).collect::<Result<Vec<_>>>()?;
            Ok(items.join("\n"))
        }
        _ => bail!("{line}: not an answer"),
    }
}
