//! Exit codes, as sysexits.h has them.

use std::process::ExitCode;

use server::{ConfigError, StartError};

/// Bad usage or configuration.
pub(crate) const USAGE: u8 = 64;
/// A port or store could not be had.
const UNAVAILABLE: u8 = 69;
/// A fault of ours.
const INTERNAL: u8 = 70;

/// The code for what went wrong.
pub(crate) fn code_of(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<ConfigError>().is_some() {
        return ExitCode::from(USAGE);
    }
    match error.downcast_ref::<StartError>() {
        Some(
            StartError::Transport(_)
            | StartError::Admin { .. }
            | StartError::DataDir { .. }
            | StartError::Journal(_)
            | StartError::Replication(_)
            | StartError::Repro { .. },
        ) => ExitCode::from(UNAVAILABLE),
        Some(StartError::Config(_)) => ExitCode::from(USAGE),
        Some(StartError::Thread(_) | StartError::Metrics(_)) | None => ExitCode::from(INTERNAL),
    }
}
