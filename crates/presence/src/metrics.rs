//! What is counted. Handles are resolved once.

use std::sync::Arc;

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use sip_message::StatusCode;
use sip_service::ClientFailure;

use crate::PACKAGE;

/// `rollcall_presence_publications{domain}`: live publications.
pub const PUBLICATIONS: &str = "rollcall_presence_publications";
/// `rollcall_subscriptions{domain,event}`: live subscriptions, those included whose last NOTIFY is under way.
pub const SUBSCRIPTIONS: &str = "rollcall_subscriptions";
/// `rollcall_notifies_total{event,outcome}`: NOTIFYs concluded: `2xx` to `6xx`, `timeout`, `unreachable`.
pub const NOTIFIES: &str = "rollcall_notifies_total";
/// `rollcall_presence_notify_lag_seconds`: from a PUBLISH received to the NOTIFY of its change sent.
pub const NOTIFY_LAG: &str = "rollcall_presence_notify_lag_seconds";
/// `rollcall_presence_compose_duration_seconds`: one composition of a presentity's publications.
pub const COMPOSE_DURATION: &str = "rollcall_presence_compose_duration_seconds";

const OUTCOMES: [&str; 7] = ["2xx", "3xx", "4xx", "5xx", "6xx", "timeout", "unreachable"];

/// The counters of presence.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    publications: IntGaugeVec,
    subscriptions: IntGaugeVec,
    notifies: [IntCounter; OUTCOMES.len()],
    notify_lag: Histogram,
    compose_duration: Histogram,
}

/// The gauges of one domain.
#[derive(Clone, Debug)]
pub(crate) struct DomainMetrics {
    pub(crate) publications: IntGauge,
    pub(crate) subscriptions: IntGauge,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If one of them is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let publications = IntGaugeVec::new(Opts::new(PUBLICATIONS, "Live publications."), &["domain"])?;
        let subscriptions =
            IntGaugeVec::new(Opts::new(SUBSCRIPTIONS, "Live subscriptions."), &["domain", "event"])?;
        let notifies = IntCounterVec::new(
            Opts::new(NOTIFIES, "NOTIFY requests concluded, by class of the response or failure."),
            &["event", "outcome"],
        )?;
        let notify_lag = Histogram::with_opts(
            HistogramOpts::new(NOTIFY_LAG, "From a PUBLISH received to the NOTIFY of its change sent.")
                .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0]),
        )?;
        let compose_duration = Histogram::with_opts(
            HistogramOpts::new(COMPOSE_DURATION, "One composition of a presentity's publications.")
                .buckets(vec![0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.1]),
        )?;
        registry.register(Box::new(publications.clone()))?;
        registry.register(Box::new(subscriptions.clone()))?;
        registry.register(Box::new(notifies.clone()))?;
        registry.register(Box::new(notify_lag.clone()))?;
        registry.register(Box::new(compose_duration.clone()))?;
        let notifies = OUTCOMES.map(|outcome| notifies.with_label_values(&[PACKAGE, outcome]));
        let inner = Inner { publications, subscriptions, notifies, notify_lag, compose_duration };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn domain(&self, name: &str) -> DomainMetrics {
        DomainMetrics {
            publications: self.inner.publications.with_label_values(&[name]),
            subscriptions: self.inner.subscriptions.with_label_values(&[name, PACKAGE]),
        }
    }

    pub(crate) fn notify_answered(&self, code: StatusCode) {
        self.outcome(usize::from(code.class()).saturating_sub(2));
    }

    pub(crate) fn notify_failed(&self, failure: ClientFailure) {
        self.outcome(match failure {
            ClientFailure::Timeout => 5,
            ClientFailure::Unreachable => 6,
        });
    }

    fn outcome(&self, index: usize) {
        if let Some(counter) = self.inner.notifies.get(index) {
            counter.inc();
        }
    }

    pub(crate) fn notify_lag(&self) -> &Histogram {
        &self.inner.notify_lag
    }

    pub(crate) fn compose_duration(&self) -> &Histogram {
        &self.inner.compose_duration
    }
}
