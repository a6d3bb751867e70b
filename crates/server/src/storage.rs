//! The journal: opened before anything is served, and given back to whose state it holds.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Instant;

use presence::{Kept, Presence, Restoring};
use prometheus::Registry;
use replication::{Journal, Metrics, Owner, Persistence};

use crate::config::{Durability, StorageConfig};
use crate::server::StartError;

/// Takes back what the journal holds, and from then on has every change written to it. `None` if no kind of state is to
/// outlive the process.
pub(crate) fn open(
    config: &StorageConfig,
    data_dir: &Path,
    registry: &Registry,
    bindings: &Arc<registrar::Store>,
    presence: &Arc<Presence>,
    unix_ms: fn() -> i64,
) -> Result<Option<Arc<Journal>>, StartError> {
    let kinds = config.kinds();
    if kinds.iter().all(|kind| *kind == Durability::Memory) {
        return Ok(None);
    }
    let (now, began_unix_ms) = (Instant::now(), unix_ms());
    let mut restoring = Restoring::default();
    let mut refused = 0_u64;
    let metrics = Metrics::register(registry)?;
    let path = data_dir.join("journal");
    let (journal, recovery) = Journal::open(&path, config.options(), metrics, began_unix_ms, |record| {
        let restored = match record.kind {
            registrar::BINDING => bindings.restore(&record, now, began_unix_ms).map(|()| true),
            _ => presence.restore(now, &record, &mut restoring),
        };
        refused += u64::from(restored != Ok(true));
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
    let kept = |durability: Durability| {
        (durability != Durability::Memory).then(|| Persistence {
            journal: Arc::clone(&journal),
            is_awaited: durability == Durability::Commit,
            unix_ms,
        })
    };
    let [of_bindings, of_publications, of_subscriptions] = kinds.map(kept);
    if let Some(persistence) = of_bindings {
        bindings.persist(persistence);
    }
    presence.resume(now, Kept { publications: of_publications, subscriptions: of_subscriptions }, restoring);
    let bindings: Weak<dyn Owner> = Arc::downgrade(&(Arc::clone(bindings) as Arc<dyn Owner>));
    let presence: Weak<dyn Owner> = Arc::downgrade(&(Arc::clone(presence) as Arc<dyn Owner>));
    journal.set_owners(vec![bindings, presence]);
    Ok(Some(journal))
}
