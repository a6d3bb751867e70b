//! Every test.

use anyhow::Result;

use crate::shell::{cargo, release_binary};
use crate::tools::{self, BARESIP, REDIS, SIPP, XMLLINT};

/// Runs the workspace's own tests, then those that drive a release build with real peers.
pub(crate) fn run() -> Result<()> {
    tools::ensure(&[&SIPP, &BARESIP, &REDIS, &XMLLINT])?;
    // With CI=true a test that lacks a tool fails, instead of saying that it did not check.
    cargo(&["test", "--workspace", "--exclude", "peers", "--locked"], &[("CI", "true".as_ref())])?;
    let rollcall = release_binary()?;
    cargo(&["test", "--package", "peers", "--locked"], &[("ROLLCALL_BIN", rollcall.as_os_str())])
}
