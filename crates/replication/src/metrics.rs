//! Metrics of the journal.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

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
