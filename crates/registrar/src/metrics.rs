//! Metrics of the registrar.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::{Error, Outcome};

/// `rollcall_registrar_bindings{domain}`: bindings that are alive; exact at every tick.
pub const BINDINGS: &str = "rollcall_registrar_bindings";
/// `rollcall_registrar_registrations_total{outcome}`: REGISTER requests answered. `outcome` is `registered` (a binding
/// was added), `refreshed`, `removed`, `fetched` or the label of an [`Error`].
pub const REGISTRATIONS: &str = "rollcall_registrar_registrations_total";

/// The counters.
#[derive(Clone, Debug)]
pub struct Metrics {
    bindings: IntGaugeVec,
    registrations: IntCounterVec,
    outcomes: [prometheus::IntCounter; 4],
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If one of them is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let bindings = IntGaugeVec::new(Opts::new(BINDINGS, "Bindings that are alive."), &["domain"])?;
        let registrations = IntCounterVec::new(
            Opts::new(REGISTRATIONS, "REGISTER requests answered, by outcome."),
            &["outcome"],
        )?;
        registry.register(Box::new(bindings.clone()))?;
        registry.register(Box::new(registrations.clone()))?;
        let outcomes = Outcome::ALL.map(|outcome| registrations.with_label_values(&[outcome.label()]));
        Ok(Self { bindings, registrations, outcomes })
    }

    /// Begins the count of a domain at zero, so that it is there before its first binding.
    pub(crate) fn domain(&self, domain: &str) {
        self.bindings.with_label_values(&[domain]);
    }

    /// Counts bindings that came (positive) or went. `domain` is one that was ours when they came.
    pub(crate) fn bindings(&self, domain: &str, difference: i64) {
        if difference != 0 {
            self.bindings.with_label_values(&[domain]).add(difference);
        }
    }

    pub(crate) fn outcome(&self, outcome: Outcome) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            counter.inc();
        }
    }

    pub(crate) fn refused(&self, error: &Error) {
        self.registrations.with_label_values(&[error.label()]).inc();
    }
}
