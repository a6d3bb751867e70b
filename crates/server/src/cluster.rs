//! This node's part in a cluster, and its links to the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use rand::Rng;
use replication::{Credentials, Replica, ReplicaMetrics, Service, ServiceOptions, Tls};
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
    /// The links with nodes like this one, if there are any.
    options: Option<ServiceOptions>,
    repro: Option<PeerOptions>,
    start_wait: Duration,
    /// When the replica began to wait for its peers.
    began: Instant,
}

/// The links of a node that has joined its cluster. They end, in order, when this is dropped.
#[derive(Debug)]
pub(crate) struct Links {
    service: Option<Service>,
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
        let is_in_the_clear = peers.is_empty() && repro.is_some() && section.secret_file.is_none();
        let credentials = if is_in_the_clear { None } else { Some(section.credentials()?) };
        let secret = match &credentials {
            Some(Credentials::Secret(secret)) => {
                if secret.is_exposed() {
                    tracing::warn!("replication.secret_file can be read by every user of this machine");
                }
                Some(secret::of_cluster(secret))
            }
            Some(Credentials::Certificates { .. }) | None => None,
        };
        let names: Vec<String> = peers.iter().map(|peer| peer.node.clone()).collect();
        let metrics = ReplicaMetrics::register(registry)?;
        let incarnation = rand::rng().next_u64();
        let node = &config.server.node;
        let replica = Replica::new(node, &names, section.options(), metrics, incarnation, now, unix_ms());
        let options = match credentials.filter(|_| !peers.is_empty()) {
            Some(credentials) => {
                let listen = section.listen.ok_or_else(|| missing(section, node))?;
                let tls = Tls::new(&credentials).map_err(tls_error)?;
                Some(ServiceOptions { listen, peers, tls, unix_ms })
            }
            None => None,
        };
        Ok(Some(Self {
            replica,
            are_publications_replicated: section.publications,
            secret,
            options,
            repro,
            start_wait: section.start_wait(),
            began: now,
        }))
    }

    /// Connects, and waits until all is here that the peers have: what this node would tell of its own may be old, and a peer
    /// act for it. Those that do not come are waited for `start_wait_ms`.
    pub(crate) async fn join(self, ends: impl FnOnce(Arc<Replica>) -> Ends) -> Result<Links, StartError> {
        let Self { replica, options, repro, start_wait, began, .. } = self;
        let connecting = Instant::now();
        let service = match options {
            Some(options) => {
                let service = Service::start(Arc::clone(&replica), options)?;
                tracing::info!(address = %service.address(), "listening for other nodes");
                // As of its beginning nobody is late yet.
                while !replica.is_caught_up(began) {
                    if connecting.elapsed() >= start_wait {
                        tracing::warn!(
                            "a peer has not told all that it has: what is missing comes while this node serves"
                        );
                        break;
                    }
                    tokio::time::sleep(LOOK).await;
                }
                Some(service)
            }
            None => None,
        };
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
        Ok(Links { service, repro })
    }
}

impl Links {
    /// All is there that this node begins with.
    pub(crate) fn serve(&self) {
        self.service.iter().for_each(Service::serve);
    }

    /// Tells peers what was not told yet, and ends.
    pub(crate) fn stop(self) {
        let Self { service, repro } = self;
        // What repro says last is told to the others.
        drop(repro);
        drop(service);
    }
}

/// A configuration that was not validated.
fn missing(section: &ReplicationConfig, node: &str) -> ConfigError {
    section
        .validate(node)
        .err()
        .unwrap_or_else(|| ConfigError::at("replication.listen", "expected an address"))
}
