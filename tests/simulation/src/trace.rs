//! The last events of a run, for whoever looks into a failure, and a digest of all of them.

use std::collections::VecDeque;
use std::fmt::{Display, Write as _};

use crate::clock::Ms;

/// Events that are kept.
const KEPT: usize = 250;

#[derive(Debug, Default)]
pub(crate) struct Trace {
    last: VecDeque<String>,
    /// Whether all are printed as they happen.
    is_verbose: bool,
    digest: u64,
}

impl Trace {
    /// Without events yet.
    pub(crate) fn new(is_verbose: bool) -> Self {
        Self { is_verbose, ..Self::default() }
    }

    pub(crate) fn note(&mut self, now: Ms, text: impl Display) {
        // The oldest line makes room, and gives its own to this one.
        let oldest = if self.last.len() == KEPT { self.last.pop_front() } else { None };
        let mut line = oldest.unwrap_or_default();
        line.clear();
        let _ = write!(line, "{:>8}.{:03} {text}", now / 1000, now % 1000);
        for octet in line.bytes() {
            // FNV-1a.
            self.digest = (self.digest ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.is_verbose {
            eprintln!("{line}");
        }
        self.last.push_back(line);
    }

    /// The same for two runs in which the same happened.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn text(&self) -> String {
        self.last.iter().map(|line| format!("{line}\n")).collect()
    }
}
