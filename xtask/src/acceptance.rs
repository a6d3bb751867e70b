//! The black-box suite in raw SIP.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use crate::shell::{self, release_binary, root};
use crate::tools::{self, OPENSSL, PYTHON, XMLLINT};

/// Which tests, and where they are.
#[derive(Args)]
pub(crate) struct Options {
    /// Folder of the suite.
    #[arg(long, value_name = "FOLDER", default_value = "../shared/acceptance")]
    suite: PathBuf,
    /// Only tests whose name or tag contains this.
    #[arg(short, value_name = "TEXT")]
    k: Option<String>,
    /// Tests at once.
    #[arg(short, value_name = "NUMBER", default_value_t = 6)]
    j: u32,
}

/// Runs the suite against a release build.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runner = root().join(&options.suite).join("sipscript/run.py");
    ensure!(runner.is_file(), "{} is not there: name the suite with --suite", runner.display());
    tools::ensure(&[&PYTHON, &OPENSSL, &XMLLINT])?;
    let rollcall = release_binary()?;
    let out = root().join("target/acceptance");
    let mut arguments = vec![runner.into_os_string(), "--server".into(), "rollcall".into()];
    arguments.extend(["-j".into(), options.j.to_string().into(), "--out".into(), out.into_os_string()]);
    if let Some(text) = &options.k {
        arguments.extend(["-k".into(), text.into()]);
    }
    let environment = [
        ("ROLLCALL_BIN", rollcall.as_os_str()),
        ("ROLLCALL_TRANSPORTS", "udp tcp".as_ref()),
        ("RUST_LOG", "warn".as_ref()),
    ];
    shell::run("python3", &arguments, &environment)
}
