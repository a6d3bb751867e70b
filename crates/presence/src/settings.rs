//! What a configuration means for presence: replaced as a whole on reload.

use std::fmt;
use std::sync::Arc;

use sip_message::{Aor, Uri};
use sip_service::{Directory, Domain, Domains};

use crate::metrics::DomainMetrics;
use crate::{Config, DomainConfig, Metrics};

/// The parts of a configuration that presence needs.
#[derive(Clone)]
pub struct Settings {
    /// `[presence]`.
    pub config: Config,
    /// The domains that are ours.
    pub domains: Arc<Domains>,
    /// `[domain.presence]` of each, at its [`Domain::index`].
    pub per_domain: Vec<DomainConfig>,
    /// Who exists.
    pub directory: Arc<dyn Directory>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("config", &self.config)
            .field("per_domain", &self.per_domain)
            .finish_non_exhaustive()
    }
}

/// Settings with what is worked out of them once.
pub(crate) struct Current {
    pub(crate) config: Config,
    pub(crate) policy: sip_event::Policy,
    pub(crate) directory: Arc<dyn Directory>,
    domains: Arc<Domains>,
    per_domain: Vec<(DomainConfig, DomainMetrics)>,
    metrics: Metrics,
}

/// A domain that is served.
#[derive(Clone, Copy)]
pub(crate) struct Served<'a> {
    pub(crate) config: &'a DomainConfig,
    pub(crate) metrics: &'a DomainMetrics,
}

impl Current {
    pub(crate) fn new(settings: Settings, metrics: &Metrics) -> Self {
        let Settings { config, domains, per_domain, directory } = settings;
        let per_domain = domains
            .iter()
            .map(|domain| {
                let config = per_domain.get(domain.index).copied().unwrap_or_default();
                (config, metrics.domain(&domain.name))
            })
            .collect();
        Self {
            policy: config.notifier_policy(),
            config,
            directory,
            domains,
            per_domain,
            metrics: metrics.clone(),
        }
    }

    /// The domain of a Request-URI, if its presence is served.
    pub(crate) fn of_uri(&self, uri: &Uri<'_>) -> Option<Served<'_>> {
        self.served(self.domains.of(uri)?)
    }

    /// The domain of an AOR, if its presence is served.
    pub(crate) fn of_aor(&self, aor: &Aor) -> Option<Served<'_>> {
        self.served(self.domains.find(aor.domain())?)
    }

    fn served(&self, domain: &Domain) -> Option<Served<'_>> {
        let (config, metrics) = self.per_domain.get(domain.index)?;
        domain.presence.then_some(Served { config, metrics })
    }

    /// The gauges of an AOR's domain, which may be ours no longer.
    pub(crate) fn gauges(&self, aor: &Aor) -> DomainMetrics {
        match self.domains.find(aor.domain()).and_then(|domain| self.per_domain.get(domain.index)) {
            Some((_, metrics)) => metrics.clone(),
            None => self.metrics.domain(aor.domain()),
        }
    }
}
