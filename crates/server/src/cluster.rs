//! This node's part in a cluster, and its links to the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use rand::Rng;
use replication::{
    Credentials, Engine, EngineOptions, Replica, ReplicaMetrics, Service, ServiceOptions, Tls,
};
use sip_auth::NodeSecret;

use crate::config::{Config, ConfigError, ReplicationConfig, tls_error};
use crate::repro::{Bridge, Ends, PeerOptions};
use crate::secret;
use crate::server::StartError;
use crate::state::unix_ms;

/// How often is looked whether all is there that peers have.
const LOOK: Duration = Duration::from_millis(10);

/// What `[replication]` comes to, before anything is connected.
pub(crate) struct Cluster {
    pub(crate) replica: Arc<Replica>,
    pub(crate) are_publications_replicated: bool,
    /// What all nodes make nonces and dialog tokens under, if they share a secret.
    pub(crate) secret: Option<NodeSecret>,
    others: Others,
    repro: Option<PeerOptions>,
    start_wait: Duration,
    /// When the replica began to wait for its peers.
    began: Instant,
}

/// How this node hears of others like it.
enum Others {
    /// It does not.
    None,
    Links(ServiceOptions),
    Engine(EngineOptions),
}

/// The links of a node that has joined its cluster. They end, in order, when this is dropped.
#[derive(Debug)]
pub(crate) struct Links {
    service: Option<Service>,
    engine: Option<Engine>,
    repro: Option<Bridge>,
}

impl Cluster {
    /// Reads the credentials and makes the replica; `None` if this node is alone.
    pub(crate) fn new(
        config: &Config,
        registry: &Registry,
        now: Instant,
    ) -> Result<Option<Self>, StartError> {
        let Some(section) = &config.replication else { return Ok(None) };
        let peers = section.peers();
        let repro = section.repro();
        // Of a repro alone, or an engine, no proof is asked by this.
        let needs_credentials = !peers.is_empty() || section.secret_file.is_some();
        let credentials = if needs_credentials { Some(section.credentials()?) } else { None };
        let secret = match &credentials {
            Some(Credentials::Secret(secret)) => {
                if secret.is_exposed() {
                    tracing::warn!("replication.secret_file can be read by every user of this machine");
                }
                Some(secret::of_cluster(secret))
            }
            Some(Credentials::Certificates { .. }) | None => None,
        };
        let metrics = ReplicaMetrics::register(registry)?;
        let incarnation = rand::rng().next_u64();
        let (node, options) = (&config.server.node, section.options());
        let (replica, others) = if section.engine.is_some() {
            let engine = section.redis.clone().unwrap_or_default().options()?;
            let replica = Replica::on_engine(node, options, metrics, incarnation, now, unix_ms());
            (replica, Others::Engine(engine))
        } else {
            let names: Vec<String> = peers.iter().map(|peer| peer.node.clone()).collect();
            let replica = Replica::new(node, &names, options, metrics, incarnation, now, unix_ms());
            let others = match credentials.filter(|_| !peers.is_empty()) {
                Some(credentials) => {
                    let listen = section.listen.ok_or_else(|| missing(section, node))?;
                    let tls = Tls::new(&credentials).map_err(tls_error)?;
                    Others::Links(ServiceOptions { listen, peers, tls, unix_ms })
                }
                None => Others::None,
            };
            (replica, others)
        };
        Ok(Some(Self {
            replica,
            are_publications_replicated: section.publications,
            secret,
            others,
            repro,
            start_wait: section.start_wait(),
            began: now,
        }))
    }

    /// Connects, and waits until all is here that the peers have: what this node would tell of its own may be old, and a peer
    /// act for it. Those that do not come are waited for `start_wait_ms`.
    pub(crate) async fn join(self, ends: impl FnOnce(Arc<Replica>) -> Ends) -> Result<Links, StartError> {
        let Self { replica, others, repro, start_wait, began, .. } = self;
        let connecting = Instant::now();
        let (mut service, mut engine) = (None, None);
        match others {
            Others::None => {}
            Others::Links(options) => {
                let links = Service::start(Arc::clone(&replica), options)?;
                tracing::info!(address = %links.address(), "listening for other nodes");
                service = Some(links);
            }
            Others::Engine(options) => {
                tracing::info!(servers = ?options.servers, "sharing an engine with other nodes");
                engine = Some(Engine::start(Arc::clone(&replica), options).map_err(StartError::Thread)?);
            }
        }
        // As of its beginning nobody is late yet.
        while !replica.is_caught_up(began) {
            if connecting.elapsed() >= start_wait {
                tracing::warn!(
                    "not all is here that others have: what is missing comes while this node serves"
                );
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        // After the others: what they removed must be known when it says what it has.
        let repro = match repro {
            Some(options) => {
                let address = options.listen;
                let bridge = Bridge::start(options, ends(replica))
                    .map_err(|source| StartError::Repro { address, source })?;
                tracing::warn!(
                    address = ?bridge.address(),
                    "synchronising with a repro: this wire has neither secrecy nor proof of who speaks"
                );
                bridge.catch_up(start_wait.saturating_sub(connecting.elapsed())).await;
                Some(bridge)
            }
            None => None,
        };
        Ok(Links { service, engine, repro })
    }
}

impl Links {
    /// All is there that this node begins with.
    pub(crate) fn serve(&self) {
        self.service.iter().for_each(Service::serve);
        self.engine.iter().for_each(Engine::serve);
    }

    /// Tells peers what was not told yet, and ends.
    pub(crate) fn stop(self) {
        let Self { service, engine, repro } = self;
        // What repro says last is told to the others.
        drop(repro);
        drop((service, engine));
    }
}

/// A configuration that was not validated.
fn missing(section: &ReplicationConfig, node: &str) -> ConfigError {
    section
        .validate(node)
        .err()
        .unwrap_or_else(|| ConfigError::at("replication.listen", "expected an address"))
}
