//! How long a start takes over much state.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::client::Client;
use super::message::{publish, register, subscribe};
use super::server::{Kind, Server};

const EXPIRES_SECONDS: u32 = 3600;

/// What there was, and how long it took to have it again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    pub(crate) bindings: usize,
    /// As many publications, and as many subscriptions.
    pub(crate) publications: usize,
    /// From the start of the process until it is ready.
    pub(crate) took: Duration,
    /// Octets of the journal that were read.
    pub(crate) journal_bytes: u64,
}

impl Recovery {
    /// Fills a server, kills it and starts it again; all must be there.
    pub(crate) fn measure(rollcall: &Path, quick: bool, folder: &Path) -> Result<Self> {
        let (bindings, publications) = if quick { (50_000, 5_000) } else { (1_000_000, 100_000) };
        let mut server = Server::start(Kind::RollcallOnDisk, rollcall, false, folder)?;
        let client = Client::new(server.address)?;
        let port = client.port;
        client.run(bindings, false, |n| register(&format!("u{n}"), port, port, format!("binding-{n}")))?;
        client.run(publications, false, |n| {
            publish(&format!("u{n}"), port, format!("publication-{n}"), 1, None, "here")
        })?;
        client.run(publications, true, |n| {
            subscribe(&format!("u{n}"), &format!("w{n}"), port, format!("subscription-{n}"), EXPIRES_SECONDS)
        })?;
        let journal_bytes = server.metric("rollcall_journal_bytes ")?;
        let took = server.crash(rollcall, folder)?;
        for (metric, expected) in [
            ("rollcall_registrar_bindings{", bindings),
            ("rollcall_presence_publications{", publications),
            ("rollcall_subscriptions{", publications),
        ] {
            let there = server.metric(metric)?;
            ensure!(there == expected as u64, "{there} of {expected} {metric} were recovered");
        }
        Ok(Self { bindings, publications, took, journal_bytes })
    }
}
