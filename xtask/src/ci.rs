//! What CI runs first.

use anyhow::Result;

use crate::shell::cargo;
use crate::test;

/// Formatting, lints, docs, generated files, then every test.
pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])?;
    cargo(&["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings".as_ref())])?;
    crate::generate(true)?;
    test::run()
}
