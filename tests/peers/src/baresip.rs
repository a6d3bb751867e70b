//! baresip, a SIP client for people, driven through its control socket.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::Process;

/// Where Debian's package has its modules, on every architecture.
const MODULES: &str = "/usr/lib/baresip/modules";
/// How long it may take to start, or to answer a command.
const LIMIT: Duration = Duration::from_secs(15);

/// Who an instance is, and whom it watches.
pub struct Account<'a> {
    /// The user part of its AOR, also its name for digest authentication.
    pub user: &'a str,
    /// The domain of its AOR.
    pub domain: &'a str,
    /// Its password.
    pub password: &'a str,
    /// Answers calls at once.
    pub answers: bool,
    /// Publishes its presence (RFC 3903), for ten minutes at a time.
    pub publishes: bool,
    /// The AOR whose presence it subscribes to, without scheme.
    pub watches: Option<&'a str>,
}

/// A running instance.
pub struct Baresip {
    process: Process,
    control: TcpStream,
    /// What came in on the control socket and has not been read yet.
    received: Vec<u8>,
    // The files stay as long as the process does.
    _folder: TempDir,
}

impl Baresip {
    /// Starts an instance that registers with `server` over UDP, and waits until it takes commands. Its output includes
    /// a trace of its SIP messages.
    ///
    /// # Errors
    /// baresip is not installed, or does not become ready.
    pub fn start(server: SocketAddr, account: &Account<'_>) -> Result<Self> {
        let (sip, control) = (free_port()?, SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
        let folder = tempfile::tempdir()?;
        let file = |name: &str, text: String| fs::write(folder.path().join(name), text);
        file("config", config(sip, control))?;
        file("accounts", account.line(server))?;
        file("contacts", account.watches.map_or(String::new(), |aor| format!("<sip:{aor}>;presence=p2p\n")))?;
        let mut command = Command::new("baresip");
        // `-v` adds the state of its calls, `-s` its SIP messages.
        command.args(["-v", "-s", "-f"]).arg(folder.path()).env("HOME", folder.path());
        let mut process = Process::start(&format!("baresip {}", account.user), &mut command)?;
        process.wait_for("baresip is ready", LIMIT)?;
        let control = TcpStream::connect_timeout(&control, LIMIT).context("baresip's control socket")?;
        control.set_read_timeout(Some(LIMIT))?;
        Ok(Self { process, control, received: Vec::new(), _folder: folder })
    }

    /// The next line of its output that contains `text`, among those that no earlier call has passed.
    ///
    /// # Errors
    /// There is none within `limit`.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String> {
        self.process.wait_for(text, limit)
    }

    /// Gives a command of its menu, such as `dial` with an URI or `hangup` with nothing, and returns what it answers.
    ///
    /// # Errors
    /// baresip does not know the command, or cannot carry it out.
    pub fn command(&mut self, command: &str, parameters: &str) -> Result<String> {
        let request = format!("{{\"command\":\"{command}\",\"params\":\"{parameters}\"}}");
        write!(self.control, "{}:{request},", request.len())?;
        loop {
            let message = self.control_message()?;
            // Events come on the same socket; its output tells them too.
            if message.contains("\"response\":true") {
                ensure!(message.contains("\"ok\":true"), "baresip {command} {parameters}: {message}");
                return Ok(message);
            }
        }
    }

    /// The next netstring (`LENGTH:TEXT,`) of the control socket.
    fn control_message(&mut self) -> Result<String> {
        loop {
            if let Some((message, length)) = netstring(&self.received)? {
                self.received.drain(..length);
                return Ok(message);
            }
            let mut buffer = [0; 4096];
            match self.control.read(&mut buffer).context("baresip's control socket")? {
                0 => bail!("baresip closed its control socket"),
                length => self.received.extend_from_slice(&buffer[..length]),
            }
        }
    }
}

impl Account<'_> {
    fn line(&self, server: SocketAddr) -> String {
        let Self { user, domain, password, .. } = self;
        let answer = if self.answers { "auto" } else { "manual" };
        let publish = if self.publishes { ";pubint=600" } else { "" };
        format!(
            "<sip:{user}@{domain}>;auth_pass={password};outbound=\"sip:{server};transport=udp\";regint=600;\
             answermode={answer}{publish}\n"
        )
    }
}

/// No audio driver is loaded, so calls carry no sound, and a machine needs no sound card.
fn config(sip: u16, control: SocketAddr) -> String {
    format!(
        "poll_method epoll\nsip_listen 127.0.0.1:{sip}\nnet_interface 127.0.0.1\nrtp_ports 10000-19999\n\
         module_path {MODULES}\nmodule g711.so\nmodule_tmp account.so\nmodule_app contact.so\n\
         module_app menu.so\nmodule_app presence.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen {control}\n"
    )
}

/// The text of the netstring at the beginning, and the octets that it takes; `None` if not all of it is there.
fn netstring(bytes: &[u8]) -> Result<Option<(String, usize)>> {
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else { return Ok(None) };
    let length: usize =
        std::str::from_utf8(&bytes[..colon])?.parse().context("a netstring begins with its length")?;
    let end = colon + 1 + length;
    Ok(bytes
        .get(colon + 1..end)
        .filter(|_| bytes.len() > end)
        .map(|text| (String::from_utf8_lossy(text).into_owned(), end + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netstrings_are_taken_whole() {
        assert_eq!(netstring(b"5:hello,3:").unwrap(), Some(("hello".into(), 8)));
        assert_eq!(netstring(b"5:hello").unwrap(), None);
        assert_eq!(netstring(b"5").unwrap(), None);
        assert!(netstring(b"x:hello,").is_err());
    }
}
