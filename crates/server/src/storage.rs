//! Where state outlives this process: the journal, opened before anything is served and given back to whose state it holds,
//! and the other nodes.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Instant;

use presence::{Kept, Presence};
use prometheus::Registry;
use replication::{Journal, Metrics, Owner, Persistence, Replica, Replicated};

use crate::config::{Durability, StorageConfig};
use crate::server::StartError;

/// Takes back what the journal holds, if any kind of state is to outlive the process. From then on every change is written
/// to it, and told to other nodes through `replica`. Watchers are told of nothing yet.
#[allow(clippy::too_many_arguments)] // all that state touches
pub(crate) fn open(
    config: &StorageConfig,
    data_dir: &Path,
    registry: &Registry,
    bindings: &Arc<registrar::Store>,
    presence: &Arc<Presence>,
    replica: Option<&Arc<Replica>>,
    are_publications_replicated: bool,
    unix_ms: fn() -> i64,
) -> Result<Option<Arc<Journal>>, StartError> {
    let kinds = config.kinds();
    let journal = if kinds.iter().all(|kind| *kind == Durability::Memory) {
        None
    } else {
        Some(recover(config, data_dir, registry, bindings, presence, replica, unix_ms)?)
    };
    let kept = |durability: Durability, is_replicated: bool| {
        let journal = journal.as_ref().filter(|_| durability != Durability::Memory);
        let persistence = Persistence {
            journal: journal.map(|journal| (Arc::clone(journal), durability == Durability::Commit)),
            replica: replica.filter(|_| is_replicated).map(Arc::clone),
            unix_ms,
        };
        (persistence.journal.is_some() || persistence.replica.is_some()).then_some(persistence)
    };
    let [of_bindings, of_publications, of_subscriptions] = kinds;
    if let Some(persistence) = kept(of_bindings, true) {
        bindings.persist(persistence);
    }
    presence.keep(Kept {
        publications: kept(of_publications, are_publications_replicated),
        subscriptions: kept(of_subscriptions, true),
    });
    if let Some(replica) = replica {
        let bindings: Weak<dyn Replicated> = Arc::downgrade(&(Arc::clone(bindings) as Arc<dyn Replicated>));
        let presence: Weak<dyn Replicated> = Arc::downgrade(&(Arc::clone(presence) as Arc<dyn Replicated>));
        replica.set_owners(vec![bindings, presence]);
    }
    if let Some(journal) = &journal {
        let bindings: Weak<dyn Owner> = Arc::downgrade(&(Arc::clone(bindings) as Arc<dyn Owner>));
        let presence: Weak<dyn Owner> = Arc::downgrade(&(Arc::clone(presence) as Arc<dyn Owner>));
        let removed = replica
            .map(|replica| Arc::downgrade(&(Arc::clone(replica) as Arc<dyn Owner>)) as Weak<dyn Owner>);
        journal
            .set_owners([bindings, presence].into_iter().chain(removed).collect(), replica.map(Arc::clone));
    }
    Ok(journal)
}

fn recover(
    config: &StorageConfig,
    data_dir: &Path,
    registry: &Registry,
    bindings: &registrar::Store,
    presence: &Presence,
    replica: Option<&Arc<Replica>>,
    unix_ms: fn() -> i64,
) -> Result<Arc<Journal>, StartError> {
    let (now, began_unix_ms) = (Instant::now(), unix_ms());
    // Without others of our kind nobody else notifies, whoever did.
    let own = replica.filter(|replica| replica.has_peers()).map(|replica| replica.node());
    let mut refused = 0_u64;
    let metrics = Metrics::register(registry)?;
    let path = data_dir.join("journal");
    let (journal, recovery) = Journal::open(&path, config.options(), metrics, began_unix_ms, |record| {
        let part = match record.kind {
            registrar::BINDING => bindings.restore(&record, now, began_unix_ms).ok(),
            // It reads the wall clock, and what is left counts from the same time.
            _ => presence.restore(Instant::now(), &record, own).ok().flatten(),
        };
        match (part, replica) {
            (Some(part), Some(replica)) => replica.restore(now, began_unix_ms, part, &record),
            (Some(_), None) => {}
            (None, _) => refused += 1,
        }
    })?;
    tracing::info!(
        records = recovery.records,
        expired = recovery.expired,
        torn_bytes = recovery.torn_bytes,
        seconds = now.elapsed().as_secs_f64(),
        "state was recovered"
    );
    if !recovery.damaged.is_empty() {
        let (bytes, segments) = (recovery.damaged_bytes, &recovery.damaged);
        tracing::error!(bytes, ?segments, "the journal was damaged: what was not readable is set aside");
    }
    if refused > 0 {
        tracing::warn!(refused, "records were left out: of no domain that is served, or unreadable");
    }
    Ok(journal)
}
