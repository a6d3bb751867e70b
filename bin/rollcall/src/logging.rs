//! Logs to standard error.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use server::config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts logging; `RUST_LOG` wins over the configuration.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<()> {
    let text =
        std::env::var("RUST_LOG").ok().or_else(|| config.filter.clone()).unwrap_or_else(|| "info".into());
    let filter = EnvFilter::try_new(&text).with_context(|| format!("log.filter: {text}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    match config.format {
        LogFormat::Human => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
