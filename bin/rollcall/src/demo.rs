//! Not here yet.
pub(crate) fn demo() -> anyhow::Result<()> {
    anyhow::bail!("")
}
