//! What is counted.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use sip_message::Method;

/// `rollcall_proxy_forwarded_total{method}`: requests sent on, each branch counted.
const FORWARDED: &str = "rollcall_proxy_forwarded_total";
/// `rollcall_proxy_contexts`: response contexts alive.
const CONTEXTS: &str = "rollcall_proxy_contexts";

/// The counters of the proxy. Cloning copies a pointer.
#[derive(Clone, Debug)]
pub struct Metrics {
    forwarded: Arc<[(&'static str, IntCounter)]>,
    pub(crate) contexts: IntGauge,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If one of them is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let forwarded = IntCounterVec::new(
            Opts::new(FORWARDED, "Requests forwarded, each branch counted."),
            &["method"],
        )?;
        let contexts = IntGauge::new(CONTEXTS, "Response contexts alive.")?;
        registry.register(Box::new(forwarded.clone()))?;
        registry.register(Box::new(contexts.clone()))?;
        let methods = [
            "ACK",
            "BYE",
            "INFO",
            "INVITE",
            "MESSAGE",
            "NOTIFY",
            "OPTIONS",
            "PRACK",
            "PUBLISH",
            "REFER",
            "REGISTER",
            "SUBSCRIBE",
            "UPDATE",
            "other",
        ];
        let forwarded = methods.map(|method| (method, forwarded.with_label_values(&[method])));
        Ok(Self { forwarded: Arc::new(forwarded), contexts })
    }

    pub(crate) fn forwarded(&self, method: Method<'_>) {
        if let Some((_, counter)) = self.forwarded.iter().find(|(name, _)| *name == method.label()) {
            counter.inc();
        }
    }
}
