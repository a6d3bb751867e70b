//! One PUBLISH, many watchers: who is told when.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::client::Client;
use super::message::{Incoming, ok, publish, subscribe};

/// Watchers of the one presentity.
pub(crate) const WATCHERS: usize = 1_000;
/// Sockets that the watchers share; with more of them our own processor time would grow, with fewer a burst might
/// not find room in their buffers where the system limits these.
const SOCKETS: usize = 8;
/// How long a round may take until it has failed.
const ROUND: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
const PRESENTITY: &str = "u0";

/// The watchers with their subscriptions, and the presentity's publication.
pub(crate) struct Fanout {
    watchers: Vec<Client>,
    publisher: Client,
    entity_tag: Option<String>,
    round: u32,
    told: Vec<bool>,
    last_told: Instant,
    buffer: Vec<u8>,
}

impl Fanout {
    /// Subscribes all watchers and publishes for the first time.
    pub(crate) fn new(server: SocketAddr) -> Result<Self> {
        let watchers = (0..SOCKETS).map(|_| Client::new(server)).collect::<Result<Vec<_>>>()?;
        for (at, client) in watchers.iter().enumerate() {
            client.run(WATCHERS / SOCKETS, true, |index| {
                let watcher = index * SOCKETS + at;
                subscribe(
                    PRESENTITY,
                    &format!("w{watcher}"),
                    client.port,
                    format!("watch-{watcher}-{index}"),
                    3600,
                )
            })?;
            client.socket.set_nonblocking(true)?;
        }
        let publisher = Client::new(server)?;
        publisher.socket.set_nonblocking(true)?;
        Ok(Self {
            watchers,
            publisher,
            entity_tag: None,
            round: 0,
            told: Vec::new(),
            last_told: Instant::now(),
            buffer: vec![0; 65_536],
        })
    }

    /// Publishes once and answers every NOTIFY; returns how long after the PUBLISH the last watcher was told.
    pub(crate) fn round(&mut self) -> Result<Duration> {
        self.round += 1;
        // Fixed width, so that no round's note is contained in another's.
        let note = format!("round {:06}", self.round);
        let port = self.publisher.port;
        let call_id = format!("publish-{port}");
        let text = publish(PRESENTITY, port, call_id, self.round, self.entity_tag.as_deref(), &note);
        self.told.clear();
        self.told.resize(WATCHERS, false);
        let (mut left, mut published) = (WATCHERS, false);
        let sent = Instant::now();
        self.publisher.socket.send(text.as_bytes())?;
        while left > 0 || !published {
            let mut ready: Vec<_> = self
                .watchers
                .iter()
                .chain([&self.publisher])
                .map(|client| PollFd::new(&client.socket, PollFlags::IN))
                .collect();
            ensure!(poll(&mut ready, Some(&ROUND))? > 0, "{left} of {WATCHERS} watchers were not told");
            let ready: Vec<bool> = ready.iter().map(|fd| !fd.revents().is_empty()).collect();
            for (at, _) in ready.iter().enumerate().filter(|(_, ready)| **ready) {
                if at < SOCKETS {
                    left -= self.drain_watcher(at, &note)?;
                } else {
                    published |= self.drain_publisher()?;
                }
            }
        }
        Ok(self.last_told.saturating_duration_since(sent))
    }

    /// Answers what came in at one socket; returns how many watchers heard of this round for the first time.
    fn drain_watcher(&mut self, at: usize, note: &str) -> Result<usize> {
        let mut news = 0;
        while let Some(length) = receive(&self.watchers[at], &mut self.buffer)? {
            let received = Instant::now();
            let Some(incoming) = Incoming::parse(&self.buffer[..length]) else {
                bail!("the server sent no SIP")
            };
            if incoming.status.is_some() {
                continue;
            }
            self.watchers[at].socket.send(&ok(&incoming))?;
            let index = incoming.index().context("a NOTIFY in no dialog of ours")?;
            let told = self.told.get_mut(index * SOCKETS + at).context("a NOTIFY in no dialog of ours")?;
            if !*told && incoming.body.contains(note) {
                *told = true;
                self.last_told = received;
                news += 1;
            }
        }
        Ok(news)
    }

    fn drain_publisher(&mut self) -> Result<bool> {
        let mut published = false;
        while let Some(length) = receive(&self.publisher, &mut self.buffer)? {
            let Some(incoming) = Incoming::parse(&self.buffer[..length]) else {
                bail!("the server sent no SIP")
            };
            ensure!(incoming.status == Some(200), "PUBLISH was answered {}", incoming.head);
            self.entity_tag = Some(incoming.header("SIP-ETag").context("a 200 without SIP-ETag")?.to_owned());
            published = true;
        }
        Ok(published)
    }
}

fn receive(client: &Client, buffer: &mut [u8]) -> Result<Option<usize>> {
    match client.socket.recv(buffer) {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error).context("the server is gone"),
    }
}
