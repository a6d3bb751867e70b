//! The servers that are measured, each on its own port with its own configuration.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::cpu;
use super::engine::Engine;
use super::pair::{NO_WAIT, Pair};
use super::process::{Process, free_tcp_port, free_udp_port};

/// Users that a server with authentication knows: `u0` … with the passwords `secret0` ….
pub(crate) const USERS: usize = 10_000;
const READY: Duration = Duration::from_secs(60);
/// How long transactions linger after their final response: timer J, 64 × T1 (RFC 3261 §17.2.2), and a little more.
const LINGER: Duration = Duration::from_secs(34);
/// How long after that the last may still be there.
const SETTLE: Duration = Duration::from_secs(10);
/// Kamailio's memory, shared by its processes; pages that it does not touch cost nothing.
const KAMAILIO_MEGABYTES: &str = "1024";
const KAMAILIO_TABLES: &str = "/usr/share/kamailio/dbtext/kamailio";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// State in memory, as kamailio keeps it here.
    Rollcall,
    /// State on the disk before it is acknowledged, as is the default.
    RollcallOnDisk,
    /// The same, and another node is told.
    RollcallPair,
    /// The same, and it is acknowledged when the other node has it too.
    RollcallPairAcked,
    /// The same, and it is acknowledged when the engine has it.
    RollcallEngine,
    Kamailio,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rollcall => "Rollcall",
            Self::RollcallOnDisk => "Rollcall, on disk",
            Self::RollcallPair => "Rollcall, pair",
            Self::RollcallPairAcked => "Rollcall, pair, acked",
            Self::RollcallEngine => "Rollcall, Redis",
            Self::Kamailio => "kamailio",
        }
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    /// Where it takes SIP.
    pub(crate) address: SocketAddr,
    process: Process,
    /// The other node of a pair, or the engine.
    partner: Option<Process>,
    /// Rollcall's HTTP, or kamailio's control socket.
    control: Control,
}

enum Control {
    Http(SocketAddr),
    Binrpc(PathBuf),
}

impl Server {
    /// Starts a server that challenges REGISTER if `auth`, and waits until it is ready.
    pub(crate) fn start(kind: Kind, rollcall: &Path, auth: bool, folder: &Path) -> Result<Self> {
        let folder = folder.join(kind.name());
        // The state of a run before this one is not wanted.
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        match kind {
            Kind::Rollcall => Self::start_rollcall(kind, "memory", rollcall, auth, &folder),
            Kind::RollcallOnDisk => Self::start_rollcall(kind, "commit", rollcall, auth, &folder),
            Kind::RollcallPair => Self::start_pair(kind, "local", rollcall, auth, &folder),
            Kind::RollcallPairAcked => Self::start_pair(kind, "peer", rollcall, auth, &folder),
            Kind::RollcallEngine => Self::start_on_engine(kind, rollcall, auth, &folder),
            Kind::Kamailio => Self::start_kamailio(auth, &folder),
        }
    }

    /// Starts two nodes; the load goes to one of them.
    fn start_pair(kind: Kind, ack: &str, rollcall: &Path, auth: bool, folder: &Path) -> Result<Self> {
        let pair = Pair::new(ack, folder)?;
        let partner = pair.partner(rollcall, auth, NO_WAIT)?;
        let mut server =
            Self::start_node(kind, "commit", rollcall, auth, folder, &pair.section(0, NO_WAIT), "bench")?;
        server.partner = Some(partner.process);
        Ok(server)
    }

    /// Starts a node, and the engine that it tells.
    fn start_on_engine(kind: Kind, rollcall: &Path, auth: bool, folder: &Path) -> Result<Self> {
        let engine = Engine::start(folder)?;
        let section = engine.section();
        let mut server = Self::start_node(kind, "commit", rollcall, auth, folder, &section, "bench")?;
        server.partner = Some(engine.process);
        Ok(server)
    }

    fn start_rollcall(
        kind: Kind,
        durability: &str,
        rollcall: &Path,
        auth: bool,
        folder: &Path,
    ) -> Result<Self> {
        Self::start_node(kind, durability, rollcall, auth, folder, "", "bench")
    }

    /// Starts one of that name, whose configuration ends with `more`.
    pub(crate) fn start_node(
        kind: Kind,
        durability: &str,
        rollcall: &Path,
        auth: bool,
        folder: &Path,
        more: &str,
        name: &str,
    ) -> Result<Self> {
        let (port, admin) = (free_udp_port()?, free_tcp_port()?);
        let mut config = include_str!("rollcall.toml")
            .replace("{folder}", &folder.display().to_string())
            .replace("{port}", &port.to_string())
            .replace("{admin}", &admin.to_string())
            .replace("{durability}", durability)
            .replace("{auth}", &auth.to_string())
            .replace("node = \"bench\"", &format!("node = \"{name}\""));
        if auth {
            for user in 0..USERS {
                config +=
                    &format!("\n[[user]]\naor = \"sip:u{user}@bench.test\"\npassword = \"secret{user}\"\n");
            }
        }
        config += more;
        fs::write(folder.join("rollcall.toml"), config)?;
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin));
        let process = run_rollcall(rollcall, admin, folder)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { kind, address, process, partner: None, control: Control::Http(admin) })
    }

    fn start_kamailio(auth: bool, folder: &Path) -> Result<Self> {
        let port = free_udp_port()?;
        let tables = folder.join("dbtext");
        fs::create_dir(&tables)?;
        // With everything in memory the presence modules still want to see the tables of their database.
        for table in ["version", "presentity", "active_watchers", "watchers", "xcap"] {
            let from = Path::new(KAMAILIO_TABLES).join(table);
            fs::copy(&from, tables.join(table)).with_context(|| from.display().to_string())?;
        }
        let config = include_str!("kamailio.cfg")
            .replace("{folder}", &folder.display().to_string())
            .replace("{port}", &port.to_string())
            .replace("{users}", &USERS.to_string())
            .replace("{users_max}", &(USERS + 1).to_string());
        let path = folder.join("kamailio.cfg");
        fs::write(&path, config)?;
        let mut command = Command::new("kamailio");
        command
            .args(["-DD", "-E", "-m", KAMAILIO_MEGABYTES, "-M", "16", "-f"])
            .arg(&path)
            .current_dir(folder);
        command.arg("-P").arg(folder.join("pid")).arg("-Y").arg(folder);
        if auth {
            command.args(["-A", "WITH_AUTH"]);
        }
        let mut process = Process::start("kamailio", &mut command, folder)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let pinger = UdpSocket::bind("127.0.0.1:0")?;
        pinger.set_read_timeout(Some(Duration::from_millis(50)))?;
        process.wait_until("an answer to OPTIONS", READY, || ping(&pinger, address))?;
        let control = Control::Binrpc(folder.join("ctl"));
        Ok(Self { kind: Kind::Kamailio, address, process, partner: None, control })
    }

    /// Kills Rollcall, starts it over the same data, and returns how long it takes until it is ready.
    pub(crate) fn crash(&mut self, rollcall: &Path, folder: &Path) -> Result<Duration> {
        let Control::Http(admin) = self.control else { bail!("{} is not ours to kill", self.kind.name()) };
        self.process.kill()?;
        let start = Instant::now();
        self.process = run_rollcall(rollcall, admin, &folder.join(self.kind.name()))?;
        Ok(start.elapsed())
    }

    /// The sum of the samples of a metric of Rollcall's.
    pub(crate) fn metric(&self, name: &str) -> Result<u64> {
        let Control::Http(admin) = self.control else { bail!("{} has other metrics", self.kind.name()) };
        metric(admin, name)
    }

    /// Processor time used so far.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        cpu::processor_time(self.process.id()).with_context(|| self.process.last_words())
    }

    /// What the other node of a pair, or the engine, used so far.
    pub(crate) fn processor_time_of_partner(&self) -> Result<Option<Duration>> {
        self.partner.as_ref().map(|partner| cpu::processor_time(partner.id())).transpose()
    }

    /// The counts of a histogram of Rollcall's, with the upper bound of each bucket.
    pub(crate) fn histogram(&self, name: &str) -> Result<Histogram> {
        let Control::Http(admin) = self.control else { bail!("{} has other metrics", self.kind.name()) };
        Ok(Histogram::read(&http_get(admin, "/metrics")?, name))
    }

    /// The share of one core that the server needs while nothing comes in, over the time of `window`.
    pub(crate) fn idle(&self, window: Duration) -> Result<f64> {
        let (before, start) = (cpu::processor_time_of_threads(self.process.id())?, Instant::now());
        thread::sleep(window);
        let used = cpu::processor_time_of_threads(self.process.id())?.saturating_sub(before);
        Ok(used.as_secs_f64() / start.elapsed().as_secs_f64())
    }

    /// Memory in use.
    pub(crate) fn memory_bytes(&self) -> Result<u64> {
        cpu::memory_bytes(self.process.id()).with_context(|| self.process.last_words())
    }

    /// Waits until the transactions of a load that ended at `end` are gone: what ends them belongs to the cost of their
    /// messages. Nothing is asked of the server meanwhile, since answering would cost it too.
    pub(crate) fn wait_for_transactions(&self, end: Instant) {
        thread::sleep((end + LINGER).saturating_duration_since(Instant::now()));
    }

    /// Waits likewise, then makes sure that no transaction is left.
    pub(crate) fn linger(&self, end: Instant) -> Result<()> {
        self.wait_for_transactions(end);
        let deadline = Instant::now() + SETTLE;
        loop {
            let left = self.transactions()?;
            if left == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{}: {left} transactions are left", self.kind.name());
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// Transactions in memory.
    fn transactions(&self) -> Result<u64> {
        match &self.control {
            Control::Http(admin) => {
                let metrics = http_get(*admin, "/metrics")?;
                sum(&metrics, "rollcall_transactions{", ' ').context("no rollcall_transactions in /metrics")
            }
            Control::Binrpc(socket) => {
                let socket = format!("unix:{}", socket.display());
                let output = Command::new("kamcmd").args(["-s", &socket, "tm.stats"]).output()?;
                let text = String::from_utf8_lossy(&output.stdout).replace('\t', " ");
                sum(&text, " current:", ' ').with_context(|| format!("kamcmd tm.stats said: {text}"))
            }
        }
    }
}

pub(crate) fn run_rollcall(rollcall: &Path, admin: SocketAddr, folder: &Path) -> Result<Process> {
    let mut command = Command::new(rollcall);
    command.arg("run").arg("--config").arg(folder.join("rollcall.toml")).env("RUST_LOG", "warn");
    let mut process = Process::start("rollcall", command.current_dir(folder), folder)?;
    process.wait_until("/readyz", READY, || http_get(admin, "/readyz").is_ok())?;
    Ok(process)
}

/// The sum of the samples of a metric of a server of ours.
pub(crate) fn metric(admin: SocketAddr, name: &str) -> Result<u64> {
    sum(&http_get(admin, "/metrics")?, name, ' ').with_context(|| format!("no {name} in /metrics"))
}

/// The sum of the last words of the lines that begin with `prefix`; `None` if there is no such line.
fn sum(text: &str, prefix: &str, separator: char) -> Option<u64> {
    let mut values = text.lines().filter(|line| line.starts_with(prefix)).peekable();
    values.peek()?;
    values.map(|line| line.rsplit(separator).next()?.parse::<u64>().ok()).sum()
}

/// The body of a 200 response.
fn http_get(server: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let Some((head, body)) = response.split_once("\r\n\r\n") else { bail!("{path}: no HTTP response") };
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "{path}: {status}");
    Ok(body.to_owned())
}

/// Whether the server answers an OPTIONS for itself.
fn ping(socket: &UdpSocket, server: SocketAddr) -> bool {
    let Ok(from) = socket.local_addr() else { return false };
    let request = format!(
        "OPTIONS sip:bench.test SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK-ping\r\nMax-Forwards: 70\r\n\
         From: <sip:bench@bench.test>;tag=1\r\nTo: <sip:bench.test>\r\nCall-ID: ping@bench\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let mut response = [0; 2048];
    socket.send_to(request.as_bytes(), server).is_ok()
        && socket.recv(&mut response).is_ok_and(|length| response[..length].starts_with(b"SIP/2.0 200"))
}

/// A histogram of Prometheus: how often at most how much.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Histogram {
    /// Upper bounds, rising, and the counts up to them.
    buckets: Vec<(f64, u64)>,
}

impl Histogram {
    fn read(metrics: &str, name: &str) -> Self {
        let prefix = format!("{name}_bucket{{le=\"");
        let bucket = |line: &str| {
            let (bound, count) = line.strip_prefix(&prefix)?.split_once("\"} ")?;
            Some((bound.parse().ok()?, count.parse().ok()?))
        };
        Self { buckets: metrics.lines().filter_map(bucket).collect() }
    }

    /// What came since another reading of the same.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let earlier = before.buckets.iter().map(|(_, count)| *count).chain(std::iter::repeat(0));
        let buckets = self.buckets.iter().zip(earlier);
        Self { buckets: buckets.map(|((bound, count), earlier)| (*bound, count - earlier)).collect() }
    }

    /// Adds another of the same bounds.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
            return;
        }
        for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
    }

    /// The least upper bound of a share of all; `None` if there is nothing.
    pub(crate) fn within(&self, share: f64) -> Option<f64> {
        let all = self.buckets.last().filter(|(_, count)| *count > 0)?.1 as f64;
        self.buckets.iter().find(|(_, count)| *count as f64 >= share * all).map(|(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed() {
        let metrics = "# TYPE x gauge\nx{kind=\"client\"} 3\nx{kind=\"server\"} 4\ny 5\n";
        assert_eq!(sum(metrics, "x{", ' '), Some(7));
        assert_eq!(sum(metrics, "z{", ' '), None);
    }

    #[test]
    fn shares_of_a_histogram() {
        let metrics = "x_bucket{le=\"0.1\"} 50\nx_bucket{le=\"1\"} 99\nx_bucket{le=\"+Inf\"} 100\nx_sum 3\n";
        let all = Histogram::read(metrics, "x");
        assert_eq!(
            (all.within(0.5), all.within(0.99), all.within(1.0)),
            (Some(0.1), Some(1.0), Some(f64::INFINITY))
        );
        assert_eq!(all.since(&all).within(0.5), None);
    }
}
