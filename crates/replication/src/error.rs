//! What can go wrong with state that is to last.

use std::io;
use std::path::PathBuf;

/// A journal that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or the directory could not be had.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has the journal open.
    #[error("{path}: another process uses this journal")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A thread could not be had.
    #[error("a thread could not be started: {0}")]
    Thread(io::Error),
    /// A segment was written by a later version of this software.
    #[error("segment {segment} has format version {found}, at most {known} is known")]
    Version {
        /// Its number.
        segment: u64,
        /// Its version.
        found: u16,
        /// Ours.
        known: u16,
    },
}

/// Why a change is not kept: it must not be acknowledged (503).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unkept {
    /// There is no room for it, or nowhere to write it. It was not made; what is there lives on.
    #[error("the disk takes no more changes")]
    Full,
    /// It was made in memory and could not be written; that is tried again, but nobody is to rely on it.
    #[error("a change could not be written to the disk")]
    Lost,
}
