//! This node's part in a cluster, and its links to the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use rand::Rng;
use replication::{Credentials, Replica, ReplicaMetrics, Service, ServiceOptions, Tls};
use sip_auth::NodeSecret;

use crate::config::{Config, ConfigError, ReplicationConfig, tls_error};
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
    options: ServiceOptions,
    start_wait: Duration,
}

impl Cluster {
    /// Reads the credentials and makes the replica; `None` if this node is alone.
    pub(crate) fn new(
        config: &Config,
        registry: &Registry,
        now: Instant,
    ) -> Result<Option<Self>, StartError> {
        let Some(section) = &config.replication else { return Ok(None) };
        let listen = section.listen.ok_or_else(|| missing(section, &config.server.node))?;
        let credentials = section.credentials()?;
        let tls = Tls::new(&credentials).map_err(tls_error)?;
        let secret = match &credentials {
            Credentials::Secret(secret) => {
                if secret.is_exposed() {
                    tracing::warn!("replication.secret_file can be read by every user of this machine");
                }
                Some(secret::of_cluster(secret))
            }
            Credentials::Certificates { .. } => None,
        };
        let peers = section.peers();
        let names: Vec<String> = peers.iter().map(|peer| peer.node.clone()).collect();
        let metrics = ReplicaMetrics::register(registry)?;
        let incarnation = rand::rng().next_u64();
        let node = &config.server.node;
        let replica = Replica::new(node, &names, section.options(), metrics, incarnation, now, unix_ms());
        Ok(Some(Self {
            replica,
            are_publications_replicated: section.publications,
            secret,
            options: ServiceOptions { listen, peers, tls, unix_ms },
            start_wait: section.start_wait(),
        }))
    }

    /// Connects, and waits until all is here that the peers have, as long as that is worth it.
    pub(crate) async fn join(self) -> Result<Service, StartError> {
        let (began, replica) = (Instant::now(), Arc::clone(&self.replica));
        let service = Service::start(self.replica, self.options)?;
        tracing::info!(address = %service.address(), "listening for other nodes");
        while !replica.is_caught_up(Instant::now()) {
            if began.elapsed() >= self.start_wait {
                tracing::warn!(
                    "a peer has not told all that it has: what is missing comes while this node serves"
                );
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(service)
    }
}

/// A configuration that was not validated.
fn missing(section: &ReplicationConfig, node: &str) -> ConfigError {
    section
        .validate(node)
        .err()
        .unwrap_or_else(|| ConfigError::at("replication.listen", "expected an address"))
}
