//! How a journal behaves.

use std::time::Duration;

/// Sizes and delays of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Octets of a segment, at least 4 KiB. That much is kept reserved on the disk ahead of what is written, and at most
    /// that much gathers in memory: when the disk falls behind further, changes are refused. Default 16 MiB.
    pub segment_bytes: u64,
    /// The least time from the beginning of one group to that of the next: after a pause, what somebody waits for is written
    /// at once, and in larger groups under load. Default 2 ms.
    pub commit_interval: Duration,
    /// How long a change that nobody waits for may stay unwritten. Twenty times as long after it refused something, but at
    /// most a second, the disk is asked again. Default 10 ms.
    pub relaxed_delay: Duration,
    /// Octets of all segments below which the state is not written anew; at least a segment. Default 64 MiB.
    pub compact_bytes_min: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            commit_interval: Duration::from_millis(2),
            relaxed_delay: Duration::from_millis(10),
            compact_bytes_min: 64 << 20,
        }
    }
}
