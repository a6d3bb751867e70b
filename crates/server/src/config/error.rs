//! A configuration that cannot be used: where, and what was expected there.

use std::fmt;
use std::path::PathBuf;

/// Names file, line and key, and what was expected.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, if the fault is in one.
    pub file: Option<PathBuf>,
    /// The line in it, from 1, if it is known.
    pub line: Option<usize>,
    /// The key: `registrar.min_expires_seconds`, `user[2].aor`; empty if the fault is in none.
    pub key: String,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl ConfigError {
    pub(crate) fn at(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { file: None, line: None, key: key.into(), message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}
