//! A repro that says and expects what a test has written.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use peers::{OPEN, Rollcall, free_port};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(15);

/// What a client says first, as observed.
pub(crate) const REQUEST: &str =
    "<InitialSync>\r\n  <Request>\r\n     <Version>4</Version>\r\n  </Request>\r\n</InitialSync>\r\n";

/// What a server says last of a dump, as observed.
pub(crate) const COMPLETE: &str = "<InitialSync>\r\n  <Request>\r\n     <Version>4</Version>\r\n  </Request>\r\n\r\n  \
                                   <Response>\r\n    <Result Code=\"200\">Initial Sync Completed.</Result>\r\n  \
                                   </Response>\r\n</InitialSync>";

/// A connection with the server under test.
pub(crate) struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Wire {
    /// Connects as a repro's client does, without a word.
    pub(crate) fn connect(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&to, LIMIT)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Connects, asks, and returns the dump.
    pub(crate) fn read(to: SocketAddr) -> Result<(Self, String)> {
        let mut wire = Self::connect(to)?;
        wire.say(REQUEST)?;
        let dump = wire.until(COMPLETE)?;
        Ok((wire, dump))
    }

    /// Sends octets as they are.
    pub(crate) fn say(&mut self, text: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.stream.write_all(text.as_ref())?)
    }

    /// What comes before `end`, once that has come. `end` is taken off, too.
    pub(crate) fn until(&mut self, end: &str) -> Result<String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let at = self.received.windows(end.len()).position(|octets| octets == end.as_bytes());
            if let Some(at) = at {
                let before = self.received.drain(..at + end.len()).take(at).collect();
                return Ok(String::from_utf8(before)?);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let come = String::from_utf8_lossy(&self.received).into_owned();
            ensure!(!left.is_zero(), "no `{end}` came; what came: {come}");
            ensure!(self.fill(left)?, "closed before `{end}` came; what came: {come}");
        }
    }

    /// The next event, without its white space before it.
    pub(crate) fn event(&mut self, root: &str) -> Result<String> {
        let end = format!("</{root}>\r\n");
        Ok(format!("{}{end}", self.until(&end)?.trim_start_matches("\r\n")))
    }

    /// Waits until the other side closes.
    pub(crate) fn until_closed(&mut self) -> Result<String> {
        let deadline = Instant::now() + LIMIT;
        while self.fill(deadline.saturating_duration_since(Instant::now()))? {}
        Ok(String::from_utf8_lossy(&self.received).into_owned())
    }

    /// What came and was not asked for; nothing is waited for.
    pub(crate) fn rest(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    pub(crate) fn close(self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Both)?)
    }

    /// Reads once; `false` if it is closed.
    fn fill(&mut self, limit: Duration) -> Result<bool> {
        ensure!(!limit.is_zero(), "nothing came in time");
        let mut octets = [0; 65_536];
        self.stream.set_read_timeout(Some(limit))?;
        match self.stream.read(&mut octets) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.received.extend_from_slice(&octets[..count]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("nothing came in time")
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Where the server under test looks for a repro.
pub(crate) struct Place {
    listener: TcpListener,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))? })
    }

    pub(crate) fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// The server's connection, its request read.
    pub(crate) fn accept(&self) -> Result<Wire> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nodelay(true)?;
        let mut wire = Wire { stream, received: Vec::new() };
        let before = wire.until(REQUEST)?;
        ensure!(before.is_empty(), "no more and no less than a repro says: {before}");
        Ok(wire)
    }

    /// The same, and a dump.
    pub(crate) fn dump(&self, events: &str) -> Result<Wire> {
        let mut wire = self.accept()?;
        wire.say(format!("{events}{COMPLETE}"))?;
        Ok(wire)
    }
}

/// A server that is told by a scripted repro, and tells it.
pub(crate) struct Half {
    pub(crate) server: Rollcall,
    pub(crate) place: Place,
    pub(crate) link: SocketAddr,
}

/// The configuration of a node with a repro at `place`, for which it listens at `link`.
pub(crate) fn config(node: &str, keys: &str, peer: &str, link: SocketAddr, place: SocketAddr) -> String {
    format!(
        "{OPEN}\n[server]\nnode = \"{node}\"\ndrain_seconds = 0\n[replication]\nstart_wait_ms = 0\n{keys}\n\
         [[replication.peer]]\nnode = \"{peer}\"\ncompat = \"repro\"\nlisten = \"{link}\"\naddress = \"{place}\"\n"
    )
}

/// Starts a server; `keys` are further ones of `[replication]`.
pub(crate) fn half(keys: &str) -> Result<Half> {
    let place = Place::new()?;
    let link = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let server = Rollcall::start(&config("a", keys, "repro", link, place.address()?))?;
    Ok(Half { server, place, link })
}

/// A text with what depends on the clock taken out, each number within bounds: `lastupdate` at most 5, `expires` 0 or as
/// much as `lifetime` at most.
pub(crate) fn timeless(text: &str, lifetime: u32) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) =
        ["<lastupdate>", "<expires>"].iter().filter_map(|tag| Some(rest.find(tag)? + tag.len())).min()
    {
        let (before, after) = rest.split_at(at);
        let (number, after) = after.split_once('<').context("an end")?;
        let value: u32 = number.parse()?;
        let is_age = before.ends_with("<lastupdate>");
        let is_right =
            if is_age { value <= 5 } else { value == 0 || (lifetime - 5..=lifetime).contains(&value) };
        ensure!(is_right, "{number} in {text}");
        out += before;
        out += if is_age {
            "AGE"
        } else if value == 0 {
            "0"
        } else {
            "LEFT"
        };
        out.push('<');
        rest = after;
    }
    Ok(out + rest)
}

/// What stands between two tags, the first time.
pub(crate) fn value<'a>(event: &'a str, name: &str) -> Result<&'a str> {
    let (_, rest) =
        event.split_once(&format!("<{name}>")).with_context(|| format!("no {name} in {event}"))?;
    Ok(rest.split_once("</").context("an end")?.0)
}

/// An event with one contact.
pub(crate) fn reginfo(user: &str, contact: &str, expires: u32, age: u64) -> String {
    let contact = contact.replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    format!(
        "<reginfo>\r\n   <aor>sip:{user}@example.test</aor>\r\n   <contactinfo>\r\n      \
         <contacturi>{contact}</contacturi>\r\n      <expires>{expires}</expires>\r\n      \
         <lastupdate>{age}</lastupdate>\r\n   </contactinfo>\r\n</reginfo>\r\n"
    )
}

/// An event about a publication of Alice's; without a body it is a refresh or a removal.
pub(crate) fn pubinfo(tag: &str, expires: u32, age: u64, body: &str) -> String {
    let body = body.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let contents = match &*body {
        "" => String::new(),
        body => format!("   <contents>{body}</contents>\r\n   <isencrypted>false</isencrypted>\r\n"),
    };
    format!(
        "<pubinfo>\r\n   <eventtype>presence</eventtype>\r\n   <documentkey>alice@example.test</documentkey>\r\n   \
         <etag>{tag}</etag>\r\n   <expires>{expires}</expires>\r\n   <lastupdate>{age}</lastupdate>\r\n{contents}\
         </pubinfo>\r\n"
    )
}
