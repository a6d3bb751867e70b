//! `rollcall check`.

use anyhow::Context;
use server::Sources;

/// Validates a configuration and prints what is in effect, without secrets.
pub(crate) fn check(sources: &Sources) -> anyhow::Result<()> {
    let config = server::config::load(sources)?;
    let text = config.to_toml().context("the configuration cannot be printed")?;
    print!("{text}");
    Ok(())
}
