//! Memory per binding and per subscription.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use super::client::Client;
use super::message::{register, subscribe};
use super::server::{Kind, Server};

/// What is kept many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    /// One binding of each of many users.
    Binding,
    /// Ten watchers of each of many users.
    Subscription,
}

const WATCHERS_PER_PRESENTITY: usize = 10;
const EXPIRES_SECONDS: u32 = 3600;
/// Waves of requests; the first is not counted.
pub(crate) const WAVES: usize = 5;

impl Thing {
    /// How many one wave brings.
    pub(crate) fn per_wave(self, quick: bool) -> usize {
        let count = match self {
            Self::Binding => 25_000,
            Self::Subscription => 5_000,
        };
        if quick { count / 5 } else { count }
    }

    /// Bytes for each, by server.
    ///
    /// They come in waves of equal size, and before each reading the transactions of the wave have ended. The first wave
    /// leaves behind what an allocator keeps of their memory; as every later wave needs the same again, the growth from
    /// then on is that of what is kept.
    pub(crate) fn measure(
        self,
        kinds: &[Kind],
        rollcall: &Path,
        quick: bool,
        folder: &Path,
    ) -> Result<Vec<(Kind, f64)>> {
        let count = self.per_wave(quick);
        let waves = if quick { 3 } else { WAVES };
        let servers: Vec<_> =
            kinds.iter().map(|kind| Server::start(*kind, rollcall, false, folder)).collect::<Result<_>>()?;
        let clients: Vec<_> =
            servers.iter().map(|server| Client::new(server.address)).collect::<Result<_>>()?;
        let mut readings = Vec::new();
        for wave in 0..waves {
            for (server, client) in servers.iter().zip(&clients) {
                let notified = self == Self::Subscription;
                client
                    .run(count, notified, |n| self.request(wave * count + n, client.port, wave, n))
                    .with_context(|| server.kind.name())?;
            }
            let end = Instant::now();
            let reading = servers.iter().map(|server| {
                server.linger(end)?;
                server.memory_bytes()
            });
            readings.push(reading.collect::<Result<Vec<u64>>>()?);
        }
        let kept = ((waves - 1) * count) as f64;
        let (first, last) = readings.first().zip(readings.last()).context("no reading")?;
        let bytes = first.iter().zip(last).map(|(first, last)| last.saturating_sub(*first) as f64 / kept);
        Ok(kinds.iter().copied().zip(bytes).collect())
    }

    /// The request that brings the thing of that number, which is the `index`th of its wave.
    fn request(self, number: usize, port: u16, wave: usize, index: usize) -> String {
        let call_id = format!("wave-{wave}-{index}");
        match self {
            Self::Binding => register(&format!("u{number}"), port, port, call_id),
            Self::Subscription => {
                let presentity = format!("u{}", number / WATCHERS_PER_PRESENTITY);
                subscribe(&presentity, &format!("w{number}"), port, call_id, EXPIRES_SECONDS)
            }
        }
    }
}
