//! Metrics of the journal and of the cluster.

use std::time::Duration;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// `rollcall_journal_commits_total`: groups of changes that were written and are on the disk.
pub const COMMITS: &str = "rollcall_journal_commits_total";
/// `rollcall_journal_commit_duration_seconds`: from the first octet written to all on the disk.
pub const COMMIT_DURATION: &str = "rollcall_journal_commit_duration_seconds";
/// `rollcall_journal_bytes`: octets of all segments in use.
pub const BYTES: &str = "rollcall_journal_bytes";
/// `rollcall_journal_written_bytes_total`: octets written.
pub const WRITTEN: &str = "rollcall_journal_written_bytes_total";
/// `rollcall_journal_writable`: 1; 0 while no change is accepted, as the disk is full or fails. Worth an alert.
pub const WRITABLE: &str = "rollcall_journal_writable";
/// `rollcall_journal_errors_total`: writes, and reservations of room, that failed.
pub const ERRORS: &str = "rollcall_journal_errors_total";
/// `rollcall_journal_compactions_total`: times that the state was written anew and older segments deleted.
pub const COMPACTIONS: &str = "rollcall_journal_compactions_total";
/// `rollcall_journal_damaged_bytes`: octets found unreadable at the start of the process.
pub const DAMAGED: &str = "rollcall_journal_damaged_bytes";

/// The counters.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) commits: IntCounter,
    pub(crate) commit_duration: Histogram,
    pub(crate) bytes: IntGauge,
    pub(crate) written: IntCounter,
    pub(crate) writable: IntGauge,
    pub(crate) errors: IntCounter,
    pub(crate) compactions: IntCounter,
    pub(crate) damaged: IntGauge,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If one of them is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let buckets = prometheus::exponential_buckets(0.000_05, 2.0, 16)?;
        let metrics = Self {
            commits: IntCounter::new(COMMITS, "Groups of changes on the disk.")?,
            commit_duration: Histogram::with_opts(
                HistogramOpts::new(COMMIT_DURATION, "From the first octet written to all on the disk.")
                    .buckets(buckets),
            )?,
            bytes: IntGauge::new(BYTES, "Octets of all journal segments in use.")?,
            written: IntCounter::new(WRITTEN, "Octets written to the journal.")?,
            writable: IntGauge::new(
                WRITABLE,
                "Whether changes are accepted: 0 if the disk is full or fails.",
            )?,
            errors: IntCounter::new(ERRORS, "Writes, and reservations of room, that failed.")?,
            compactions: IntCounter::new(COMPACTIONS, "Times that the state was written anew.")?,
            damaged: IntGauge::new(DAMAGED, "Octets found unreadable at the start.")?,
        };
        registry.register(Box::new(metrics.commits.clone()))?;
        registry.register(Box::new(metrics.commit_duration.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.written.clone()))?;
        registry.register(Box::new(metrics.writable.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.compactions.clone()))?;
        registry.register(Box::new(metrics.damaged.clone()))?;
        Ok(metrics)
    }
}

/// `rollcall_replication_lag_seconds{peer}`: how long ago the oldest change was made that a peer does not have; 0 if it has all.
pub const LAG: &str = "rollcall_replication_lag_seconds";
/// `rollcall_replication_divergence{peer}`: records that the last comparison with a peer found to differ although they are not on
/// their way. They are repaired; where this is not 0 for long, something is wrong.
pub const DIVERGENCE: &str = "rollcall_replication_divergence";
/// `rollcall_replication_peer_up{peer}`: 1 if a peer was heard within `peer_timeout_ms`.
pub const PEER_UP: &str = "rollcall_replication_peer_up";
/// `rollcall_replication_unacked_total`: acknowledgements that waited for another node in vain, and were sent all the same.
pub const UNACKED: &str = "rollcall_replication_unacked_total";
/// `rollcall_replication_ack_duration_seconds`: from the gathering of a group of changes until a peer said that it has it.
pub const ACK_DURATION: &str = "rollcall_replication_ack_duration_seconds";
/// `rollcall_replication_comparisons_total`: times that all was compared with a peer.
pub const COMPARISONS: &str = "rollcall_replication_comparisons_total";
/// `rollcall_replication_fenced_total`: times that the engine refused changes of this node in a virtual shard, as others acted
/// for it; they are told again when it has read what those did.
pub const FENCED: &str = "rollcall_replication_fenced_total";
/// `rollcall_replication_unreadable_total`: changes of other nodes that were not understood.
pub const UNREADABLE: &str = "rollcall_replication_unreadable_total";
/// `rollcall_replication_refused_total{reason}`: connections that did not prove to be of a node of the cluster
/// (`handshake`), or gave way to another before they had (`handshakes_max`); of the wire of repro: from another address than
/// the peer's (`address`), of another version (`version`), or given way to a newer one (`readers_max`).
pub const REFUSED: &str = "rollcall_replication_refused_total";

/// How far one peer is.
#[derive(Clone, Debug)]
pub(crate) struct PeerMetrics {
    lag: Gauge,
    is_up: IntGauge,
}

impl PeerMetrics {
    pub(crate) fn set(&self, lag: Duration, is_up: bool) {
        self.lag.set(lag.as_secs_f64());
        self.is_up.set(i64::from(is_up));
    }
}

/// The metrics of a node in a cluster.
#[derive(Clone, Debug)]
pub struct ReplicaMetrics {
    lag: GaugeVec,
    divergence: IntGaugeVec,
    peer_up: IntGaugeVec,
    pub(crate) unacked: IntCounter,
    pub(crate) ack_duration: Histogram,
    pub(crate) comparisons: IntCounter,
    pub(crate) fenced: IntCounter,
    pub(crate) unreadable: IntCounter,
    refused: IntCounterVec,
}

impl ReplicaMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If one of them is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            lag: GaugeVec::new(
                Opts::new(LAG, "Since when a peer lacks the oldest change that it does not have."),
                &["peer"],
            )?,
            divergence: IntGaugeVec::new(
                Opts::new(DIVERGENCE, "Records that the last comparison found to differ."),
                &["peer"],
            )?,
            peer_up: IntGaugeVec::new(
                Opts::new(PEER_UP, "Whether a peer was heard within the timeout."),
                &["peer"],
            )?,
            unacked: IntCounter::new(UNACKED, "Acknowledgements that waited for a peer in vain.")?,
            ack_duration: Histogram::with_opts(
                HistogramOpts::new(ACK_DURATION, "From the gathering of changes until a peer has them.")
                    .buckets(prometheus::exponential_buckets(0.000_1, 2.0, 17)?),
            )?,
            comparisons: IntCounter::new(COMPARISONS, "Times that all was compared with a peer.")?,
            fenced: IntCounter::new(
                FENCED,
                "Times that the engine refused changes as others acted for this node.",
            )?,
            unreadable: IntCounter::new(UNREADABLE, "Changes of other nodes that were not understood.")?,
            refused: IntCounterVec::new(
                Opts::new(REFUSED, "Connections that did not prove to be of a node of the cluster."),
                &["reason"],
            )?,
        };
        registry.register(Box::new(metrics.lag.clone()))?;
        registry.register(Box::new(metrics.divergence.clone()))?;
        registry.register(Box::new(metrics.peer_up.clone()))?;
        registry.register(Box::new(metrics.unacked.clone()))?;
        registry.register(Box::new(metrics.ack_duration.clone()))?;
        registry.register(Box::new(metrics.comparisons.clone()))?;
        registry.register(Box::new(metrics.fenced.clone()))?;
        registry.register(Box::new(metrics.unreadable.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        Ok(metrics)
    }

    /// How far a peer is behind, and whether it is there.
    pub fn peer(&self, name: &str, lag: Duration, is_up: bool) {
        self.of_peer(name).set(lag, is_up);
    }

    pub(crate) fn of_peer(&self, name: &str) -> PeerMetrics {
        PeerMetrics {
            lag: self.lag.with_label_values(&[name]),
            is_up: self.peer_up.with_label_values(&[name]),
        }
    }

    /// [`UNACKED`] so far.
    pub fn unacked(&self) -> u64 {
        self.unacked.get()
    }

    /// A connection was refused. The reason is of a small closed set.
    pub fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// Something that another node said was not understood.
    pub fn unreadable(&self) {
        self.unreadable.inc();
    }

    pub(crate) fn diverged(&self, name: &str, records: i64) {
        self.divergence.with_label_values(&[name]).set(records);
    }
}
