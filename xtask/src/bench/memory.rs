//! Memory per binding and per subscription.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use super::client::Client;
use super::message::{query, register, subscribe};
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

impl Thing {
    pub(crate) fn count(self, quick: bool) -> usize {
        let count = match self {
            Self::Binding => 100_000,
            Self::Subscription => 20_000,
        };
        if quick { count / 5 } else { count }
    }

    /// Bytes for each, by server.
    ///
    /// Before the first reading as many requests are made as will be made after it, of a kind that leaves nothing: what
    /// transactions and buffers need at their peak is then there already, and only what is kept makes the difference.
    pub(crate) fn measure(
        self,
        kinds: &[Kind],
        rollcall: &Path,
        quick: bool,
        folder: &Path,
    ) -> Result<Vec<(Kind, f64)>> {
        let count = self.count(quick);
        let servers: Vec<_> =
            kinds.iter().map(|kind| Server::start(*kind, rollcall, false, folder)).collect::<Result<_>>()?;
        let clients: Vec<_> =
            servers.iter().map(|server| Client::new(server.address)).collect::<Result<_>>()?;
        let wave = |keep: bool, w: usize| -> Result<Vec<u64>> {
            for (server, client) in servers.iter().zip(&clients) {
                let notified = self == Self::Subscription;
                client
                    .run(count, notified, |n| self.request(n + w * count, client.port, keep))
                    .with_context(|| server.kind.name())?;
            }
            let end = Instant::now();
            servers
                .iter()
                .map(|server| {
                    server.linger(end)?;
                    server.memory_bytes()
                })
                .collect()
        };
        let (before, after) = (wave(false, 0)?, wave(true, 0)?);
        let b = wave(true, 1)?;
        let c = wave(true, 2)?;
        eprintln!("{before:?} {after:?} {b:?} {c:?}");
        for s in &servers {
            eprintln!("{}", s.shm());
        }
        let bytes = before
            .iter()
            .zip(after)
            .map(|(before, after)| after.saturating_sub(*before) as f64 / count as f64);
        Ok(kinds.iter().copied().zip(bytes).collect())
    }

    fn request(self, n: usize, port: u16, keep: bool) -> String {
        let call_id = format!("{}-{n}", if keep { "kept" } else { "gone" });
        match (self, keep) {
            (Self::Binding, true) => register(&format!("u{n}"), port, port, call_id),
            (Self::Binding, false) => query(&format!("u{n}"), port, call_id),
            (Self::Subscription, _) => {
                let presentity = format!("u{}", n / WATCHERS_PER_PRESENTITY);
                let expires_seconds = if keep { EXPIRES_SECONDS } else { 0 };
                subscribe(&presentity, &format!("w{n}"), port, call_id, expires_seconds)
            }
        }
    }
}
