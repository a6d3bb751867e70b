//! What tests need from the system, and how it gets there.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::shell;

/// A program and the Debian package that has it.
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
}

impl Tool {
    /// What it is called.
    pub(crate) fn program(&self) -> &'static str {
        self.program
    }
}

/// SIPp: registrations, calls, watchers.
pub(crate) const SIPP: Tool = Tool { program: "sipp", package: "sip-tester" };
/// A softphone.
pub(crate) const BARESIP: Tool = Tool { program: "baresip", package: "baresip-core" };
/// Validates presence documents.
pub(crate) const XMLLINT: Tool = Tool { program: "xmllint", package: "libxml2-utils" };
/// Runs the black-box suite.
pub(crate) const PYTHON: Tool = Tool { program: "python3", package: "python3" };
/// An engine that nodes share.
pub(crate) const REDIS: Tool = Tool { program: "redis-server", package: "redis-server" };
/// Makes the certificates of the black-box suite.
pub(crate) const OPENSSL: Tool = Tool { program: "openssl", package: "openssl" };

/// Installs what is missing where that is possible: as root, with apt-get.
///
/// # Errors
/// What has to be installed by hand, with the command that does it.
pub(crate) fn ensure(tools: &[&Tool]) -> Result<()> {
    let missing: Vec<_> =
        tools.iter().filter(|tool| !is_there(tool.program)).map(|tool| tool.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let command = format!("apt-get update && apt-get install -y --no-install-recommends {packages}");
    if user_id() != Some(0) || !is_there("apt-get") {
        bail!("the tests need more of this machine; run\n    sudo sh -c '{command}'");
    }
    shell::run("sh", &["-c", &command], &[("DEBIAN_FRONTEND", "noninteractive".as_ref())])
}

/// Whether a program is on the path.
pub(crate) fn is_there(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn user_id() -> Option<u32> {
    let id = Command::new("id").arg("-u").stderr(Stdio::null()).output().ok()?;
    String::from_utf8(id.stdout).ok()?.trim().parse().ok()
}
