//! An engine that all nodes share, Redis or Valkey, in place of links among them: it holds every record, each node tells it
//! what changes there, and reads from it what changed elsewhere.
//!
//! State lies in [`LANES`] virtual shards, each with a log, on whichever server its slot is. Nodes keep all of it in memory
//! as well: they answer from there, go on with it when the engine is away, and say again what the engine has lost.

mod compare;
mod connection;
mod entry;
mod lane;
mod lease;
mod listen;
mod names;
mod script;
mod servers;
mod tell;
mod tls;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use self::lane::Lane;
use self::names::Names;
use self::servers::Servers;
pub use self::servers::{EngineError, Layout, ServerOptions};
pub use self::tls::{EngineTls, EngineTlsError};
use crate::driver::{Driver, Driving, Pace};
use crate::outlog::LANES;
use crate::{NodeId, Replica};

/// Chunks of what is said again that wait to be sent.
const AGAIN_MAX: usize = 4;

/// How an engine is used.
#[derive(Debug)]
pub struct EngineOptions {
    /// Where it is.
    pub servers: ServerOptions,
    /// What all its keys begin with, of letters, digits, `_`, `-` and `.`: the same on all nodes, and of no other cluster.
    pub prefix: String,
    /// Changes that the log of a virtual shard keeps, about: who missed more compares all.
    pub log_entries_max: u32,
    /// The wall clock, in milliseconds since 1970 UTC.
    pub unix_ms: fn() -> i64,
}

/// A node's connection with its engine. It ends, in order, when this is dropped: the engine is told what was changed and not
/// told yet, for a second at most, and that this node leaves. It blocks until then; whoever makes changes should have ended.
pub struct Engine {
    driving: Driving,
}

/// What all tasks have.
struct Shared {
    replica: Arc<Replica>,
    servers: Servers,
    names: Names,
    log_entries_max: u32,
    pace: Pace,
    lanes: Box<[Lane]>,
    /// Some lane is to be compared.
    is_comparison_due: Notify,
    /// A bit for each lane that is not heard.
    away: AtomicU16,
}

/// What is said to the engine again.
enum Again {
    /// Whole frames, a change each, as in a [`crate::outlog::Group`].
    Changes(Vec<u8>),
    /// All that the comparison found lacking.
    Done,
}

impl Engine {
    /// Begins to drive `replica`, which is one [`Replica::on_engine`]. The engine need not be there yet.
    ///
    /// # Errors
    /// A thread cannot be had.
    pub fn start(replica: Arc<Replica>, options: EngineOptions) -> io::Result<Self> {
        let EngineOptions { servers, prefix, log_entries_max, unix_ms } = options;
        let (driver, pace) = Driver::new(Arc::clone(&replica), unix_ms);
        let shared = Arc::new(Shared {
            servers: Servers::new(servers, replica.options.peer_timeout),
            replica,
            names: Names::new(&prefix),
            log_entries_max,
            pace,
            lanes: (0..LANES).map(|_| Lane::new()).collect(),
            is_comparison_due: Notify::new(),
            away: AtomicU16::new(0),
        });
        let begun = Arc::clone(&shared);
        let begin = move |tasks: &mut JoinSet<()>| begun.begin(tasks);
        let driving = driver.start("engine", begin, move || shared.is_all_told())?;
        Ok(Self { driving })
    }

    /// All is there that this node begins with: from now on it acts for nodes that are gone.
    pub fn serve(&self) {
        self.driving.serve();
    }
}

impl Shared {
    fn begin(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        let mut again = Vec::new();
        for lane in 0..LANES {
            let (say, said) = mpsc::channel(AGAIN_MAX);
            again.push(say);
            tasks.spawn(tell::keep_telling(Arc::clone(&self), lane, said));
            tasks.spawn(listen::keep_listening(Arc::clone(&self), lane));
        }
        tasks.spawn(compare::keep_comparing(Arc::clone(&self), again));
        tasks.spawn(lease::keep_lease(self));
    }

    fn is_all_told(&self) -> bool {
        let last = self.replica.outlog.last();
        self.lanes.iter().all(|lane| lane.has_told(last))
    }

    /// Some of the log of a lane was missed.
    fn miss(&self, lane: usize) {
        self.lanes[lane].miss();
        self.is_comparison_due.notify_one();
    }

    /// A connection with the server of a lane is over, or cannot be had. It is said once until all are back.
    fn is_away(&self, lane: usize, error: &EngineError) {
        if self.away.fetch_or(1 << lane, Ordering::Relaxed) == 0 {
            tracing::warn!(shard = lane, %error, "the engine is away: this node goes by what it has");
        } else {
            tracing::debug!(shard = lane, %error, "the engine is away");
        }
    }

    /// A lane is heard.
    fn is_back(&self, lane: usize) {
        let bit = 1 << lane;
        if self.away.fetch_and(!bit, Ordering::Relaxed) == bit {
            tracing::info!("the engine is there");
        }
    }

    /// Takes note of what lanes have come to, where it is looked up.
    fn note(&self) {
        let progress = self.lanes.iter().map(Lane::progress);
        let Some(least) = progress.reduce(|a, b| a.least(b)) else { return };
        let mut members = self.replica.members.lock();
        if let Some(heard_at) = least.heard_at {
            members.heard(0, heard_at);
        }
        if let Some(engine) = members.list.first_mut() {
            engine.has = least.told;
            engine.taken.is_synced = least.is_synced;
            engine.taken.up_to = engine.taken.up_to.max(least.up_to);
        }
    }

    /// How nodes are named in the engine.
    fn id(node: NodeId) -> String {
        node.to_string()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}
