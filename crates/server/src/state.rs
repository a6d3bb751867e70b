//! What outlives a configuration: endpoint, bindings, presence, secret, counters; and the users of the one in force.

use std::sync::{Arc, OnceLock, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use presence::Presence;
use prometheus::Registry;
use provisioning::Users;
use rand::Rng;
use sip_auth::{NodeSecret, Nonces};
use sip_message::Aor;
use sip_service::{Domains, Endpoint, EndpointConfig, Network};

use crate::config::Config;

/// The state behind every stack.
pub(crate) struct State {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) bindings: Arc<registrar::Store>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) secret: Arc<NodeSecret>,
    pub(crate) nonces: Arc<Nonces>,
    pub(crate) proxy_metrics: proxy::Metrics,
    users: ArcSwap<Users>,
}

impl State {
    /// The state of a node that starts.
    pub(crate) fn new(
        config: &Config,
        domains: &Arc<Domains>,
        network: Arc<dyn Network>,
        transaction_metrics: sip_service::Metrics,
        secret: NodeSecret,
        registry: &Registry,
        now: Instant,
    ) -> prometheus::Result<Self> {
        let users = users(config);
        let endpoint_config =
            EndpointConfig { transactions_max: config.limits.transactions_max, ..EndpointConfig::default() };
        let endpoint = Endpoint::new(network, endpoint_config, transaction_metrics, now);
        // The registrar tells presence of transitions and presence asks the registrar for the state, yet neither names the
        // other: the cell closes the circle once both are there.
        let told: Arc<OnceLock<Weak<Presence>>> = Arc::default();
        let listener = Arc::clone(&told);
        let bindings = registrar::Store::new(
            registrar::Metrics::register(registry)?,
            Arc::new(move |now, aor: &Aor| {
                if let Some(presence) = listener.get().and_then(Weak::upgrade) {
                    presence.registration_changed(now, aor);
                }
            }),
        );
        let presence = Presence::new(
            Arc::clone(&endpoint),
            Arc::clone(&bindings) as _,
            settings(config, domains, &users),
            presence::Metrics::register(registry)?,
            presence::Clock { unix_ms, monotonic: Instant::now },
            rand::rng().next_u64(),
            now,
        );
        told.get_or_init(|| Arc::downgrade(&presence));
        Ok(Self {
            endpoint,
            bindings,
            presence,
            secret: Arc::new(secret),
            nonces: Nonces::new(&config.auth, sip_auth::Metrics::register(registry)?, Arc::new(unix_seconds)),
            proxy_metrics: proxy::Metrics::register(registry)?,
            users: ArcSwap::new(users),
        })
    }

    /// The users of the configuration in force.
    pub(crate) fn users(&self) -> Arc<Users> {
        self.users.load_full()
    }

    /// Puts another configuration's users and presence settings in force.
    pub(crate) fn reconfigure(&self, config: &Config, domains: &Arc<Domains>, now: Instant) {
        let users = users(config);
        self.presence.reconfigure(now, settings(config, domains, &users));
        self.users.store(users);
    }

    /// Runs what is due in a worker's share of all state.
    pub(crate) fn tick(&self, now: Instant, share: usize, of: usize) {
        self.endpoint.tick(now, share, of);
        self.bindings.tick(now, share, of);
        self.presence.tick(now, share, of);
        if share == 0 {
            self.presence.send_held(now);
        }
    }
}

fn settings(config: &Config, domains: &Arc<Domains>, users: &Arc<Users>) -> presence::Settings {
    presence::Settings {
        config: config.presence,
        domains: Arc::clone(domains),
        per_domain: config.domain.iter().map(|domain| domain.presence).collect(),
        directory: Arc::clone(users) as _,
    }
}

/// With authentication off, every user part of a configured domain exists (laboratories, trusted networks).
fn users(config: &Config) -> Arc<Users> {
    if config.auth.enabled {
        Arc::new(Users::load(&config.user).expect("a validated configuration has valid users"))
    } else {
        Arc::new(Users::open_to_all(config.domain.iter().map(|domain| domain.name.as_str())))
    }
}

/// Milliseconds since 1970 UTC.
pub(crate) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
