//! The server under test.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::http;
use crate::metrics::Metrics;
use crate::ports::free_port;
use crate::process::Process;

/// How long the server may take to become ready, or to end.
const LIMIT: Duration = Duration::from_secs(15);
/// How long what the admin interface shows may take to become what a test expects.
pub const ADMIN_LIMIT: Duration = Duration::from_secs(15);

/// A configuration in which nobody is challenged, and every user of `example.test` exists and has presence.
pub const OPEN: &str = r#"
[auth]
enabled = false
[[domain]]
name = "example.test"
[domain.presence]
enabled = true
"#;

/// A running Rollcall, with a data directory and ports of its own.
pub struct Rollcall {
    process: Process,
    binary: PathBuf,
    folder: TempDir,
    sip: SocketAddr,
    admin: SocketAddr,
}

/// The binary that `ROLLCALL_BIN` names.
///
/// # Errors
/// The variable is not set, or names no file.
pub fn binary() -> Result<PathBuf> {
    let path = std::env::var_os("ROLLCALL_BIN").map(PathBuf::from).context(
        "ROLLCALL_BIN is not set: these tests drive a release build with real peers; run `cargo xtask test`",
    )?;
    ensure!(path.is_file(), "ROLLCALL_BIN is {}, which is no file: run `cargo xtask test`", path.display());
    // The server runs in a directory of its own, where a relative path would lead elsewhere.
    Ok(path.canonicalize()?)
}

impl Rollcall {
    /// Starts a server on UDP and TCP of one port of 127.0.0.1 and waits until it is ready. `config` holds the tables
    /// besides `[server]`, `[[listen]]` and `[admin]`.
    ///
    /// # Errors
    /// There is no binary, or it does not become ready.
    pub fn start(config: &str) -> Result<Self> {
        Self::start_binary(&binary()?, config)
    }

    /// [`Rollcall::start`] with another binary than the one that `ROLLCALL_BIN` names.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_binary(binary: &Path, config: &str) -> Result<Self> {
        let (sip, admin) = (local(free_port()?), local(free_port()?));
        let folder = tempfile::tempdir()?;
        write_config(folder.path(), sip, admin, config)?;
        let process = run(binary, folder.path(), admin)?;
        Ok(Self { process, binary: binary.to_owned(), folder, sip, admin })
    }

    /// Kills the server as a crash would (SIGKILL), does something to its folder, and starts it again over the same data.
    ///
    /// # Errors
    /// It does not become ready again.
    pub fn crash(&mut self, meanwhile: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.kill()?;
        meanwhile(self.folder.path())?;
        self.start_again()
    }

    /// Kills the server as a crash would (SIGKILL).
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait().map(drop)
    }

    /// Starts a server that has ended again, over what is in its folder.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = run(&self.binary, self.folder.path(), self.admin)?;
        Ok(())
    }

    /// Where it takes SIP, over UDP and TCP.
    pub fn sip(&self) -> SocketAddr {
        self.sip
    }

    /// The port of [`Rollcall::sip`].
    pub fn sip_port(&self) -> u16 {
        self.sip.port()
    }

    /// Where its admin interface is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where its state is.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("rollcall-data")
    }

    /// Scrapes `/metrics`.
    ///
    /// # Errors
    /// It does not answer 200.
    pub fn metrics(&self) -> Result<Metrics> {
        let (code, text) = http::get(self.admin, "/metrics")?;
        ensure!(code == 200, "/metrics answers {code}");
        Ok(Metrics::new(text))
    }

    /// The sum of the samples of a metric, as [`Metrics::sum`] has it.
    ///
    /// # Errors
    /// There is no such sample.
    pub fn metric(&self, wanted: &str) -> Result<f64> {
        self.metrics()?.sum(wanted)
    }

    /// Scrapes until a metric has a value.
    ///
    /// # Errors
    /// It has not within [`ADMIN_LIMIT`]; the error tells its last value.
    pub fn wait_for_metric(&mut self, wanted: &str, value: f64) -> Result<()> {
        let admin = self.admin;
        let mut last = None;
        let scrape = || {
            let (_, text) = http::get(admin, "/metrics").ok()?;
            last = Metrics::new(text).sum(wanted).ok();
            (last == Some(value)).then_some(())
        };
        let waited = self.process.wait_until(&format!("{wanted} = {value}"), ADMIN_LIMIT, scrape);
        waited.with_context(|| format!("{wanted} was {last:?}"))
    }

    /// Writes another configuration where the server reads it on SIGHUP.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn reconfigure(&self, config: &str) -> Result<()> {
        write_config(self.folder.path(), self.sip, self.admin, config)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The server is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// The next line of the log that contains `text`, among those that no earlier call has passed.
    ///
    /// # Errors
    /// There is none in time.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        self.process.wait_for(text, LIMIT)
    }

    /// Waits until `/readyz` answers 503, as it does from when the server began to stop.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_until_draining(&mut self) -> Result<()> {
        let admin = self.admin;
        self.process.wait_until("503 from /readyz", LIMIT, || {
            http::get(admin, "/readyz").is_ok_and(|(code, _)| code == 503).then_some(())
        })
    }

    /// Waits for the server to end.
    ///
    /// # Errors
    /// It does not.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.process.wait(LIMIT)
    }

    /// Does not print the log of this life when it ends.
    pub fn hush(&mut self) {
        self.process.hush();
    }

    /// What the server has logged in this life.
    pub fn log(&mut self) -> String {
        self.process.log()
    }
}

/// Runs the binary over the configuration in `folder` and waits until it is ready.
fn run(binary: &Path, folder: &Path, admin: SocketAddr) -> Result<Process> {
    let mut command = Command::new(binary);
    command.current_dir(folder).args(["run", "--config", "rollcall.toml"]);
    let mut process = Process::start("rollcall", &mut command)?;
    process.wait_until("/readyz", LIMIT, || {
        http::get(admin, "/readyz").is_ok_and(|(code, _)| code == 200).then_some(())
    })?;
    Ok(process)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn write_config(folder: &Path, sip: SocketAddr, admin: SocketAddr, config: &str) -> Result<()> {
    let text = format!(
        "[[listen]]\ntransport = \"udp\"\naddress = \"{sip}\"\n[[listen]]\ntransport = \"tcp\"\naddress = \"{sip}\"\n\
         [admin]\naddress = \"{admin}\"\n\n{config}"
    );
    Ok(fs::write(folder.join("rollcall.toml"), text)?)
}
