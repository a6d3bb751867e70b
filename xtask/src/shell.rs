//! Running commands from the root of the repository.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask is a folder of the repository").into()
}

/// Runs a command to its end; what it prints is shown.
pub(crate) fn run<S: AsRef<OsStr>>(
    program: &str,
    arguments: &[S],
    environment: &[(&str, &OsStr)],
) -> Result<()> {
    let shown: Vec<_> = arguments.iter().map(|a| a.as_ref().to_string_lossy()).collect();
    eprintln!("$ {program} {}", shown.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root())
        .status()
        .with_context(|| format!("{program} cannot be run"))?;
    ensure!(status.success(), "{program} {} failed: {status}", shown.join(" "));
    Ok(())
}

/// `cargo`, the one that runs us.
pub(crate) fn cargo(arguments: &[&str], environment: &[(&str, &OsStr)]) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    run(&cargo, arguments, environment)
}

/// Builds `rollcall` for release and says where it is.
pub(crate) fn release_binary() -> Result<PathBuf> {
    cargo(&["build", "--release", "--package", "rollcall", "--locked"], &[])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("release/rollcall"))
}
