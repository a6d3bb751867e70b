//! Pages that are made from the source.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::shell::root;

/// A page and what stands in it.
pub(crate) struct Page {
    /// From the root of the repository.
    pub(crate) path: &'static str,
    pub(crate) text: String,
}

/// Writes a page, or with `check` fails if it is not what stands there.
pub(crate) fn write_or_check(page: &Page, check: bool) -> Result<()> {
    let path = root().join(page.path);
    if check {
        let found = fs::read_to_string(&path).unwrap_or_default();
        ensure!(found == page.text, "{} is not up to date: run `cargo xtask gen`", page.path);
        return Ok(());
    }
    fs::create_dir_all(root().join("docs"))?;
    fs::write(&path, &page.text).with_context(|| page.path)
}
