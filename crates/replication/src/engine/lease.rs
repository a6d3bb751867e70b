//! Who is there, and who acts for those that are not.
//!
//! A node gives a sign of life from time to time. Whoever sees none of another for the whole timeout, though the engine
//! answers, may inherit from it, shard by shard: the first who asks does, and whatever the other still sends is refused from
//! then on, until it has read what was done. No clock but each node's own is gone by.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::connection::Connection;
use super::entry::LogId;
use super::{EngineError, Shared, script};
use crate::driver::{unless, until_true};
use crate::outlog::LANES;
use crate::{NodeId, PARTS, Succession};

/// How often a sign of life is given; a quarter of the timeout if that is less.
const BEAT: Duration = Duration::from_secs(1);

/// Gives signs of life, and inherits, until it is time to close.
pub(super) async fn keep_lease(shared: Arc<Shared>) {
    let mut closing = shared.pace.closing.clone();
    let beat = BEAT.min(shared.replica.options.peer_timeout / 4);
    let mut leases = Leases::new(shared.replica.node, shared.replica.options.peer_timeout);
    loop {
        match unless(&mut closing, hold(&shared, &mut leases, beat)).await {
            None => break,
            // Those who tell and listen say so already.
            Some(Err(error)) => tracing::debug!(%error, "no sign of life could be given"),
        }
        tokio::select! {
            () = sleep(beat) => {}
            () = until_true(&mut closing) => break,
        }
    }
    if let Err(error) = leave(&shared).await {
        tracing::debug!(%error, "the others are not told that this node leaves");
    }
}

async fn hold(shared: &Shared, leases: &mut Leases, beat: Duration) -> Result<Infallible, EngineError> {
    let mut connection = shared.servers.connect(0, Duration::ZERO).await?;
    warn_of_eviction(&mut connection).await?;
    let script = script::load(&mut connection, script::BEAT).await?;
    let life = format!("{:016x}", shared.replica.incarnation);
    let mut count = 0_u64;
    let mut looked: Option<(BTreeSet<NodeId>, Instant)> = None;
    loop {
        let mut evaluate = redis::cmd("EVALSHA");
        evaluate.arg(&script).arg(1).arg(shared.names.nodes());
        evaluate.arg(Shared::id(shared.replica.node)).arg(format!("{life} {count}"));
        let (before, signs): (String, BTreeMap<String, String>) =
            evaluate.query_async(&mut connection).await?;
        if count > 0 && !before.starts_with(&life) {
            tracing::error!(node = %shared.replica.name, "another process goes by the name of this node");
        }
        count += 1;
        let now = Instant::now();
        leases.heard(now, signs);
        let live = leases.live(now);
        let is_old =
            |at: &Instant| now.saturating_duration_since(*at) >= shared.replica.options.digest_interval;
        let is_known = looked.as_ref().is_some_and(|(known, at)| *known == live && !is_old(at));
        if shared.pace.is_serving.load(Ordering::Relaxed) && !is_known {
            inherit(shared, &live).await?;
            looked = Some((live, now));
        }
        sleep(beat).await;
    }
}

/// Acts for those that are gone, where nobody does yet.
async fn inherit(shared: &Shared, live: &BTreeSet<NodeId>) -> Result<(), EngineError> {
    let own = shared.replica.node;
    let mut inherited: [BTreeSet<NodeId>; LANES] = Default::default();
    // Not all begin with the same shard, so that they share them.
    let first = own.0 as usize;
    for lane in (0..LANES).map(|at| (at + first) % LANES) {
        let parts = (lane..PARTS).step_by(LANES);
        let mut owners: BTreeSet<NodeId> =
            parts.flat_map(|part| shared.replica.part(part).lock().owners()).collect();
        owners.retain(|owner| !live.contains(owner));
        if owners.is_empty() {
            continue;
        }
        let mut connection = shared.servers.connect(lane, Duration::ZERO).await?;
        let script = script::load(&mut connection, script::INHERIT).await?;
        let fences: BTreeMap<String, String> =
            redis::cmd("HGETALL").arg(shared.names.fences(lane)).query_async(&mut connection).await?;
        for owner in owners {
            let seen = fences.get(&Shared::id(owner)).map_or("", String::as_str);
            let heir = seen.split_once(' ').map(|(_, heir)| heir);
            if heir == Some(Shared::id(own).as_str()) {
                inherited[lane].insert(owner);
            } else if !live.iter().any(|node| heir == Some(Shared::id(*node).as_str())) {
                let mut evaluate = redis::cmd("EVALSHA");
                evaluate.arg(&script).arg(2).arg(shared.names.head(lane)).arg(shared.names.fences(lane));
                evaluate.arg(Shared::id(owner)).arg(seen).arg(Shared::id(own));
                let head: Option<String> = evaluate.query_async(&mut connection).await?;
                if let Some(head) = head {
                    // What it did last has to be known before anything is done for it.
                    let head: LogId = head.parse()?;
                    shared.lanes[lane].wait_read(head).await?;
                    inherited[lane].insert(owner);
                }
            }
        }
    }
    let shards = inherited.iter().filter(|owners| !owners.is_empty()).count();
    if shards > 0 {
        tracing::info!(shards, "this node acts for others that are gone");
        shared.replica.take_over(Instant::now(), &Succession::by_lease(inherited));
    }
    Ok(())
}

async fn leave(shared: &Shared) -> Result<(), EngineError> {
    let mut connection = shared.servers.connect(0, Duration::ZERO).await?;
    let mut remove = redis::cmd("HDEL");
    remove.arg(shared.names.nodes()).arg(Shared::id(shared.replica.node));
    Ok(remove.exec_async(&mut connection).await?)
}

/// A server that drops records when its memory is full loses what it acknowledged.
async fn warn_of_eviction(connection: &mut Connection) -> Result<(), EngineError> {
    let memory: String = redis::cmd("INFO").arg("memory").query_async(connection).await?;
    let policy = memory.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
    if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
        tracing::warn!(
            policy,
            "the engine may drop records when its memory is full: set maxmemory-policy noeviction"
        );
    }
    Ok(())
}

/// Who gives signs of life, as one node sees it.
#[derive(Debug)]
struct Leases {
    own: NodeId,
    timeout: Duration,
    /// The last sign of each, and when it was first seen.
    signs: BTreeMap<NodeId, (String, Instant)>,
    heard_at: Option<Instant>,
}

impl Leases {
    fn new(own: NodeId, timeout: Duration) -> Self {
        Self { own, timeout, signs: BTreeMap::new(), heard_at: None }
    }

    /// The engine answered with the signs of all nodes.
    fn heard(&mut self, now: Instant, signs: BTreeMap<String, String>) {
        // Who could not give a sign, as this node could not either, is not silent.
        let was_away = self.heard_at.is_none_or(|at| now.saturating_duration_since(at) >= self.timeout / 2);
        self.heard_at = Some(now);
        let before = std::mem::take(&mut self.signs);
        for (node, sign) in signs {
            let Ok(node) = u32::from_str_radix(&node, 16).map(NodeId) else { continue };
            let since = match before.get(&node) {
                Some((known, since)) if *known == sign && !was_away => *since,
                _ => now,
            };
            self.signs.insert(node, (sign, since));
        }
    }

    /// Who is there; this node is.
    fn live(&self, now: Instant) -> BTreeSet<NodeId> {
        let is_live = |since: Instant| now.saturating_duration_since(since) < self.timeout;
        let live = self.signs.iter().filter(|(_, (_, since))| is_live(*since)).map(|(node, _)| *node);
        live.chain([self.own]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn signs(signs: &[(u32, u32)]) -> BTreeMap<String, String> {
        signs.iter().map(|(node, sign)| (NodeId(*node).to_string(), format!("life {sign}"))).collect()
    }

    #[test]
    fn who_gives_no_sign_for_the_timeout_is_gone() {
        let (mut leases, mut now) = (Leases::new(NodeId(1), TIMEOUT), Instant::now());
        let live = |leases: &Leases, now| leases.live(now).into_iter().map(|node| node.0).collect::<Vec<_>>();
        assert_eq!(live(&leases, now), [1], "it is there itself");
        for beat in 0..5 {
            leases.heard(now, signs(&[(1, beat), (2, beat), (3, 7)]));
            assert_eq!(live(&leases, now), [1, 2, 3], "{beat}");
            now += Duration::from_secs(1);
        }
        leases.heard(now, signs(&[(1, 5), (2, 5), (3, 7)]));
        assert_eq!(live(&leases, now), [1, 2]);
        leases.heard(now, signs(&[(1, 5), (3, 8)]));
        assert_eq!(live(&leases, now), [1, 3], "the one has left, the other is back");
    }

    // The engine was away: nobody could give a sign, and nobody is gone for that.
    #[test]
    fn who_was_not_heard_as_nobody_was_is_not_gone() {
        let (mut leases, now) = (Leases::new(NodeId(1), TIMEOUT), Instant::now());
        leases.heard(now, signs(&[(1, 1), (2, 1)]));
        let later = now + TIMEOUT * 9;
        leases.heard(later, signs(&[(1, 2), (2, 1)]));
        assert!(leases.live(later).contains(&NodeId(2)));
        let mut at = later;
        while at < later + TIMEOUT {
            at += Duration::from_secs(1);
            leases.heard(at, signs(&[(1, 2), (2, 1)]));
        }
        assert!(!leases.live(at).contains(&NodeId(2)), "but now it is");
    }
}
