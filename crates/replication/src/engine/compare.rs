//! All that the engine holds of some virtual shards is compared with what is here: at the beginning, and when some of a log was
//! missed. What is lacking on either side is told to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use tokio::sync::mpsc;

use super::connection::Connection;
use super::entry::{self, Left, VERSION_BYTES};
use super::{Again, EngineError, Shared};
use crate::backoff::Backoff;
use crate::driver::{unless, until_true};
use crate::outlog::LANES;
use crate::part::{KeyHash, Listed};
use crate::{Kind, PARTS, Peer, Record, Stamp, Version, frame};

/// Names that the engine is asked for at once, about.
const PAGE: usize = 1_000;
/// Keys that are said again at once.
const AGAIN_KEYS: usize = 16_384;
/// Octets of what is said again, in one chunk.
const AGAIN_BYTES: u64 = 256 << 10;
/// What is younger may be on its way; only what is older has diverged.
const IN_FLIGHT_MS: u64 = 5_000;

/// Compares what is due until it is time to close.
pub(super) async fn keep_comparing(shared: Arc<Shared>, again: Vec<mpsc::Sender<Again>>) {
    let mut closing = shared.pace.closing.clone();
    let mut backoff = Backoff::new();
    loop {
        let due: Vec<usize> = (0..LANES).filter(|lane| shared.lanes[*lane].begin_comparison()).collect();
        if due.is_empty() {
            tokio::select! {
                () = shared.is_comparison_due.notified() => continue,
                () = until_true(&mut closing) => return,
            }
        }
        let mut compared = Comparison { shared: &shared, again: &again, seen: HashMap::new(), diverged: 0 };
        match unless(&mut closing, compared.run(&due)).await {
            None => return,
            Some(Ok(())) => backoff.reset(),
            Some(Err(error)) => {
                tracing::warn!(%error, "what the engine has could not be compared");
                due.iter().for_each(|lane| shared.miss(*lane));
                tokio::select! {
                    () = shared.servers.wait(&mut backoff) => {}
                    () = until_true(&mut closing) => return,
                }
            }
        }
    }
}

struct Comparison<'a> {
    shared: &'a Shared,
    again: &'a [mpsc::Sender<Again>],
    /// What the engine has.
    seen: HashMap<KeyHash, Version>,
    /// What one side lacked, and should not have.
    diverged: usize,
}

impl Comparison<'_> {
    async fn run(&mut self, due: &[usize]) -> Result<(), EngineError> {
        // Servers hold several shards, and go through all their keys for one or for all of them.
        let mut by_server: BTreeMap<(String, u16), Vec<usize>> = BTreeMap::new();
        for lane in due {
            let server = self.shared.servers.primary_of(*lane).await?;
            by_server.entry((server.host, server.port)).or_default().push(*lane);
        }
        for ((host, port), lanes) in by_server {
            let server = Peer { node: String::new(), host, port };
            self.compare(&server, &lanes).await?;
        }
        Ok(())
    }

    async fn compare(&mut self, server: &Peer, lanes: &[usize]) -> Result<(), EngineError> {
        let began = Instant::now();
        let is_first = lanes.iter().all(|lane| self.shared.lanes[*lane].progress().up_to == Stamp::default());
        (self.seen, self.diverged) = (HashMap::new(), 0);
        let mut connection = self.shared.servers.connect_to(server, Duration::ZERO).await?;
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(self.shared.names.records()).arg("COUNT").arg(PAGE);
            let (next, page): (u64, Vec<Vec<u8>>) = scan.query_async(&mut connection).await?;
            self.take(&mut connection, &page, lanes).await?;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let mut told = 0;
        for lane in lanes {
            told += self.say_lacking(*lane).await;
            self.shared.lanes[*lane].end_comparison();
            // An error means that it is time to close.
            let _ = self.again[*lane].send(Again::Done).await;
        }
        self.shared.note();
        let metrics = &self.shared.replica.metrics;
        metrics.comparisons.inc();
        metrics
            .diverged("engine", if is_first { 0 } else { i64::try_from(self.diverged).unwrap_or(i64::MAX) });
        tracing::info!(
            server = %server,
            shards = lanes.len(),
            records = self.seen.len(),
            told,
            seconds = began.elapsed().as_secs_f64(),
            "all that the engine has is here, and all that is here is there"
        );
        Ok(())
    }

    /// Takes those of a page of records that are news here.
    async fn take(
        &mut self,
        connection: &mut Connection,
        page: &[Vec<u8>],
        lanes: &[usize],
    ) -> Result<(), EngineError> {
        let named = page.iter().filter_map(|name| Some((name, self.shared.names.read(name)?)));
        let named: Vec<_> = named.filter(|(_, (lane, ..))| lanes.contains(lane)).collect();
        if named.is_empty() {
            return Ok(());
        }
        let mut heads = redis::pipe();
        for (name, _) in &named {
            heads.cmd("GETRANGE").arg(name).arg(0).arg(VERSION_BYTES - 1);
        }
        let heads: Vec<Vec<u8>> = heads.query_async(connection).await?;
        let mut lacking = Vec::new();
        for ((name, (_, kind, key)), head) in named.into_iter().zip(heads) {
            // What has ended meanwhile is empty.
            let Some(place) = entry::read_version(&head) else { continue };
            let listed = Listed { hash: KeyHash::of(kind, key), version: place.version };
            self.seen.insert(listed.hash, listed.version);
            if self.shared.replica.part(place.part.into()).lock().lacks(&listed) {
                lacking.push((name, kind, key));
                self.diverged += usize::from(self.is_old(listed.version));
            }
        }
        self.fetch(connection, &lacking).await
    }

    async fn fetch(
        &self,
        connection: &mut Connection,
        lacking: &[(&Vec<u8>, Kind, &[u8])],
    ) -> Result<(), EngineError> {
        if lacking.is_empty() {
            return Ok(());
        }
        let mut values = redis::pipe();
        for (name, ..) in lacking {
            values.cmd("GET").arg(name).cmd("PTTL").arg(name);
        }
        let values: Vec<redis::Value> = values.query_async(connection).await?;
        let (now, unix_ms) = (Instant::now(), (self.shared.pace.unix_ms)());
        // A change is of one part, and of kinds of one owner.
        let mut changes: BTreeMap<(u8, u8), Vec<Record<'_>>> = BTreeMap::new();
        for ((_, kind, key), found) in lacking.iter().zip(values.chunks_exact(2)) {
            let [redis::Value::BulkString(stored), redis::Value::Int(left)] = found else { continue };
            let Ok(left) = u64::try_from(*left) else { continue };
            let record = entry::read(*kind, key, stored, Left::Exactly(left), unix_ms)?;
            if let Some(place) = record.place {
                self.shared.replica.clock.observe(now, place.version.stamp);
                changes.entry((place.part, kind.0)).or_default().push(record);
            }
        }
        for records in changes.values() {
            self.shared.replica.give(now, unix_ms, records);
        }
        Ok(())
    }

    /// Says again what the engine lacks of a shard. Returns how many records that were.
    async fn say_lacking(&mut self, lane: usize) -> usize {
        let mut count = 0;
        for part in (lane..PARTS).step_by(LANES) {
            let mut listed = self.shared.replica.list(Instant::now(), part, u64::MAX);
            listed.retain(|listed| self.seen.get(&listed.hash).is_none_or(|seen| *seen < listed.version));
            self.diverged += listed.iter().filter(|listed| self.is_old(listed.version)).count();
            for wanted in listed.chunks(AGAIN_KEYS) {
                let wanted: HashSet<KeyHash> = wanted.iter().map(|listed| listed.hash).collect();
                count += wanted.len();
                let unix_ms = (self.shared.pace.unix_ms)();
                let said = self.shared.replica.said_again(Instant::now(), unix_ms, part, &wanted);
                for piece in frame::pieces(&said, AGAIN_BYTES) {
                    // An error means that it is time to close.
                    let _ = self.again[lane].send(Again::Changes(piece.to_vec())).await;
                }
            }
        }
        count
    }

    fn is_old(&self, version: Version) -> bool {
        let now_ms = self.shared.replica.clock.now(Instant::now()).unix_ms();
        version.stamp.unix_ms() < now_ms.saturating_sub(IN_FLIGHT_MS)
    }
}
