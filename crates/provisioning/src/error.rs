//! Users that cannot be loaded.

use crate::Algorithm;

/// What is wrong with which `[[user]]` block, and what was expected there. It names no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The AOR cannot be read.
    #[error("aor: expected user@domain, with or without sip:, found {found:?}")]
    Aor {
        /// The block, from 0.
        index: usize,
        /// What stands there.
        found: String,
    },
    /// An AOR that another block has.
    #[error("aor: expected every user once, {aor} is there already")]
    Twice {
        /// The block, from 0.
        index: usize,
        /// The AOR.
        aor: String,
    },
    /// Neither password nor HA1, or both.
    #[error("expected either a password or an ha1")]
    Secret {
        /// The block, from 0.
        index: usize,
    },
    /// An HA1 that is none of its algorithm.
    #[error("ha1: expected {expected} hexadecimal digits for {algorithm}, found {found} characters")]
    Ha1 {
        /// The block, from 0.
        index: usize,
        /// The algorithm.
        algorithm: Algorithm,
        /// Digits of its hashes.
        expected: usize,
        /// Characters that are there; as many as expected if some are no digits.
        found: usize,
    },
    /// An algorithm is asked for, and HA1 is given for others only: without the password it cannot be made.
    #[error("algorithms: expected those of ha1, which has none for {algorithm}")]
    NoHa1 {
        /// The block, from 0.
        index: usize,
        /// The algorithm.
        algorithm: Algorithm,
    },
    /// `algorithms = []`, or an empty table of HA1.
    #[error("algorithms: expected at least one of MD5, SHA-256, SHA-512-256")]
    NoAlgorithms {
        /// The block, from 0.
        index: usize,
    },
}

impl Error {
    /// The block that is at fault, from 0.
    pub fn index(&self) -> usize {
        match self {
            Self::Aor { index, .. }
            | Self::Twice { index, .. }
            | Self::Secret { index }
            | Self::Ha1 { index, .. }
            | Self::NoHa1 { index, .. }
            | Self::NoAlgorithms { index } => *index,
        }
    }
}
