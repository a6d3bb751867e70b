//! What outlives a configuration: endpoint, bindings, presence, users, secrets, counters.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use prometheus::Registry;
use provisioning::Users;
use rand::Rng;
use sip_auth::{NodeSecret, Nonces};
use sip_message::Aor;
use sip_service::{Directory, Domains, Endpoint, EndpointConfig, Network};

use crate::config::Config;

/// The state behind every stack.
pub(crate) struct State {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) bindings: Arc<registrar::Store>,
    pub(crate) presence: Arc<presence::Presence>,
    pub(crate) secret: Arc<NodeSecret>,
    pub(crate) nonces: Arc<Nonces>,
    pub(crate) metrics: FeatureMetrics,
    users: Arc<ArcSwap<Users>>,
}

/// The features' own metrics, registered once.
pub(crate) struct FeatureMetrics {
    pub(crate) proxy: proxy::Metrics,
}

/// The users of the configuration in force: for features whose state outlives a reload.
struct CurrentUsers(Arc<ArcSwap<Users>>);

impl Directory for CurrentUsers {
    fn exists(&self, aor: &Aor) -> bool {
        self.0.load().exists(aor)
    }
}

impl State {
    /// Builds the state of a node that starts.
    pub(crate) fn new(
        config: &Config,
        domains: &Arc<Domains>,
        network: Arc<dyn Network>,
        transaction_metrics: sip_service::Metrics,
        secret: NodeSecret,
        registry: &Registry,
        now: Instant,
    ) -> prometheus::Result<Self> {
        let users = Arc::new(ArcSwap::new(users(config)));
        let endpoint_config =
            EndpointConfig { transactions_max: config.limits.transactions_max, ..EndpointConfig::default() };
        let endpoint = Endpoint::new(network, endpoint_config, transaction_metrics, now);
        // The registrar tells presence of transitions, presence asks the registrar for the state: neither names the
        // other, and the cell breaks the circle of construction.
        let watching: Arc<std::sync::OnceLock<std::sync::Weak<presence::Presence>>> = Arc::default();
        let told = Arc::clone(&watching);
        let bindings = registrar::Store::new(
            registrar::Metrics::register(registry)?,
            Arc::new(move |now, aor: &Aor| {
                if let Some(presence) = told.get().and_then(std::sync::Weak::upgrade) {
                    presence.registration_changed(now, aor);
                }
            }),
        );
        let presence = presence::Presence::new(presence::Parts {
            endpoint: Arc::clone(&endpoint),
            directory: Arc::new(CurrentUsers(Arc::clone(&users))),
            registrations: Arc::clone(&bindings) as _,
            config: Arc::new(config.presence.clone()),
            domains: Arc::clone(domains),
            per_domain: config.domain.iter().map(|d| d.presence.clone()).collect(),
            metrics: presence::Metrics::register(registry)?,
            seed: rand::rng().next_u64(),
            wall_clock: Arc::new(unix_ms),
            now,
        });
        let _first = watching.set(Arc::downgrade(&presence));
        Ok(Self {
            endpoint,
            bindings,
            presence,
            secret: Arc::new(secret),
            nonces: Nonces::new(&config.auth, sip_auth::Metrics::register(registry)?, Arc::new(unix_seconds)),
            metrics: FeatureMetrics { proxy: proxy::Metrics::register(registry)? },
            users,
        })
    }

    /// The users of the configuration in force.
    pub(crate) fn users(&self) -> Arc<Users> {
        self.users.load_full()
    }

    /// Puts another configuration's users and presence policies in force.
    pub(crate) fn reconfigure(&self, config: &Config, domains: &Arc<Domains>, now: Instant) {
        self.users.store(users(config));
        self.presence.reconfigure(
            now,
            Arc::new(config.presence.clone()),
            Arc::clone(domains),
            config.domain.iter().map(|d| d.presence.clone()).collect(),
        );
    }

    /// Runs what is due in a worker's share of all state.
    pub(crate) fn tick(&self, now: Instant, share: usize, of: usize) {
        self.endpoint.tick(now, share, of);
        self.bindings.tick(now, share, of);
        self.presence.tick(now, share, of);
    }
}

/// With authentication off, every user part of a configured domain exists (laboratories, trusted networks).
fn users(config: &Config) -> Arc<Users> {
    if config.auth.enabled {
        Arc::new(Users::load(&config.user).expect("a validated configuration has valid users"))
    } else {
        Arc::new(Users::open_to_all(config.domain.iter().map(|d| d.name.as_str())))
    }
}

fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
