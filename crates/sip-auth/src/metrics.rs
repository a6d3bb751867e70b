//! `rollcall_auth_total{outcome}`.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// `rollcall_auth_total{outcome}`: requests that had to prove who sent them: `ok`, `challenged` (no credentials), `stale`
/// (right, but by a nonce that is old or used), `wrong` (password, user or algorithm: which of them is not told),
/// `forbidden` (another user in From), `malformed`.
const AUTH: &str = "rollcall_auth_total";

/// The counters, resolved.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) ok: IntCounter,
    pub(crate) challenged: IntCounter,
    pub(crate) stale: IntCounter,
    pub(crate) wrong: IntCounter,
    pub(crate) forbidden: IntCounter,
    pub(crate) malformed: IntCounter,
}

impl Metrics {
    /// Registers the metric.
    ///
    /// # Errors
    /// If it is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let all = IntCounterVec::new(
            Opts::new(AUTH, "Requests that had to be authenticated, by outcome."),
            &["outcome"],
        )?;
        registry.register(Box::new(all.clone()))?;
        let outcome = |name| all.with_label_values(&[name]);
        Ok(Self {
            ok: outcome("ok"),
            challenged: outcome("challenged"),
            stale: outcome("stale"),
            wrong: outcome("wrong"),
            forbidden: outcome("forbidden"),
            malformed: outcome("malformed"),
        })
    }
}
