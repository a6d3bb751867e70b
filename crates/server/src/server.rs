//! Start, reload and drain.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use admin::Admin;
use parking_lot::Mutex;
use prometheus::Registry;
use replication::Journal;
use sip_message::Transport;
use sip_service::Domains;
use sip_transport::{Transports, WorkerSockets};
use tokio::sync::watch;

use crate::cluster::{Cluster, Links};
use crate::config::{Config, ConfigError};
use crate::metrics::{probes, register_build_info};
use crate::repro::Ends;
use crate::secret;
use crate::stack::{Stack, WorkerStack};
use crate::state::{State, unix_ms};
use crate::storage;
use crate::worker::Worker;

/// A server that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be had.
    #[error(transparent)]
    Transport(#[from] sip_transport::Error),
    /// The admin socket could not be had.
    #[error("admin.address {address}: {source}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The data directory or the secret in it could not be had.
    #[error("server.data_dir {path}: {source}")]
    DataDir {
        /// The directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The journal could not be had.
    #[error("journal: {0}")]
    Journal(#[from] replication::Error),
    /// What `[replication]` names changed since it was validated.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The links to other nodes could not be had.
    #[error("replication: {0}")]
    Replication(#[from] replication::ServiceError),
    /// The socket for a repro, or its thread, could not be had.
    #[error("replication.peer.listen {address:?}: {source}")]
    Repro {
        /// The address, if one is listened on.
        address: Option<SocketAddr>,
        /// Why.
        source: io::Error,
    },
    /// A thread could not be had.
    #[error("a worker could not be started: {0}")]
    Thread(io::Error),
    /// A metric was registered twice: a fault of ours.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A running server.
pub struct Server {
    state: Arc<State>,
    transports: Arc<Transports>,
    stacks: Vec<Arc<WorkerStack>>,
    workers: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    draining: Arc<AtomicBool>,
    admin: Admin,
    admin_address: SocketAddr,
    config: Mutex<Config>,
    links: Option<Links>,
    journal: Option<Arc<Journal>>,
}

impl Server {
    /// Binds every socket, starts the admin interface (on the runtime that calls), takes what is on the disk and what other
    /// nodes have, starts the workers, and is ready.
    ///
    /// # Errors
    /// If a socket, the data directory or a thread cannot be had. Nothing is left running.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let now = Instant::now();
        let own_secret = secret::load_or_make(&config.server.data_dir).map_err(|source| {
            StartError::DataDir { path: config.server.data_dir.display().to_string(), source }
        })?;
        let count = match config.server.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let registry = Registry::new();
        let cluster = Cluster::new(&config, &registry, now)?;
        let secret = cluster.as_ref().and_then(|cluster| cluster.secret.clone()).unwrap_or(own_secret);
        register_build_info(&registry, &config.server.node)?;
        let metrics = sip_service::Metrics::register(&registry)?;
        let transport_metrics = sip_transport::Metrics::register(&registry, metrics.clone())?;
        let (transports, sockets) =
            Transports::bind(&config.listen, &config.transport, count, transport_metrics)?;
        let domains = Arc::new(domains(&config, &transports));
        let network = Arc::clone(&transports) as Arc<dyn sip_service::Network>;
        let state = Arc::new(State::new(&config, &domains, network, metrics, secret, &registry, now)?);
        let journal = storage::open(
            &config.storage,
            &config.server.data_dir,
            &registry,
            &state.bindings,
            &state.presence,
            cluster.as_ref().map(|cluster| &cluster.replica),
            cluster.as_ref().is_some_and(|cluster| cluster.are_publications_replicated),
            unix_ms,
        )?;

        let admin_error = |source| StartError::Admin { address: config.admin.address, source };
        let listener = tokio::net::TcpListener::bind(config.admin.address).await.map_err(admin_error)?;
        let admin_address = listener.local_addr().map_err(admin_error)?;
        let admin = Admin::new(registry.clone(), probes(&registry, &state)?);

        let draining = Arc::new(AtomicBool::new(false));
        let stack = Stack::build(&config, &domains, &state, &draining);
        let (stop, stopped) = watch::channel(false);
        let serving = admin.clone();
        let mut admin_stop = stopped.clone();
        tokio::spawn(async move {
            let stopped = async move {
                // An error means that the sender is gone, which is a stop too.
                let _ = admin_stop.wait_for(|stop| *stop).await;
            };
            if let Err(error) = serving.serve(listener, stopped).await {
                tracing::error!(%error, "the admin interface ended");
            }
        });
        let replica = cluster.as_ref().map(|cluster| Arc::clone(&cluster.replica));
        let links = match cluster {
            None => None,
            Some(cluster) => {
                let ends = |replica| Ends {
                    replica,
                    bindings: Arc::clone(&state.bindings),
                    presence: Arc::clone(&state.presence),
                    registrar: config.registrar.clone(),
                    domains: Arc::clone(&domains),
                };
                Some(cluster.join(ends).await?)
            }
        };
        // All is there that can be had: watchers are told what they do not have.
        state.presence.resume(Instant::now());
        links.iter().for_each(Links::serve);
        let stacks: Vec<_> = (0..count).map(|_| Arc::new(WorkerStack::new(stack.clone()))).collect();
        sockets.iter().try_for_each(WorkerSockets::open)?;
        let mut workers = Vec::new();
        for (share, sockets) in sockets.into_iter().enumerate() {
            let worker = Worker {
                state: Arc::clone(&state),
                stack: Arc::clone(&stacks[share]),
                share,
                of: count,
                replica: replica.clone(),
            };
            workers.push(
                spawn(share, worker, sockets, &transports, stopped.clone()).map_err(StartError::Thread)?,
            );
        }
        admin.set_ready(true);
        if !config.auth.enabled && config.listen.iter().any(|l| !l.address.ip().is_loopback()) {
            tracing::warn!("auth.enabled is false: anyone who reaches these sockets can be anyone");
        }
        Ok(Self {
            state,
            transports,
            stacks,
            workers,
            stop,
            draining,
            admin,
            admin_address,
            config: Mutex::new(config),
            links,
            journal,
        })
    }

    /// Every socket that serves SIP, with the port that it got.
    pub fn addresses(&self) -> Vec<(Transport, SocketAddr)> {
        self.transports.local_addresses()
    }

    /// Where the admin interface is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Puts another configuration in force, whole or not at all. Sockets, the data directory, workers and the admin
    /// address cannot change while the server runs.
    ///
    /// # Errors
    /// The key that cannot change; the old configuration stays in force.
    pub fn reload(&self, config: Config) -> Result<(), ConfigError> {
        let mut current = self.config.lock();
        config.only_reloadable_changes(&current)?;
        let now = Instant::now();
        let domains = Arc::new(domains(&config, &self.transports));
        self.state.reconfigure(&config, &domains, now);
        let stack = Stack::build(&config, &domains, &self.state, &self.draining);
        for worker in &self.stacks {
            worker.replace(stack.clone());
        }
        *current = config;
        Ok(())
    }

    /// Stops in order: not ready, no new work, requests under way finish (for `drain_seconds` at most), then the workers
    /// end.
    pub async fn drain(self) {
        self.admin.set_ready(false);
        self.draining.store(true, Ordering::Relaxed);
        self.transports.close_listeners();
        tracing::info!("draining");
        let deadline = Instant::now() + Duration::from_secs(self.config.lock().server.drain_seconds.into());
        while self.state.endpoint.unanswered() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // An error means that nobody listens any more.
        let _ = self.stop.send(true);
        for worker in self.workers {
            if worker.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
        // Nobody changes anything any more: what was changed is told, and then closed.
        if let Some(links) = self.links {
            links.stop();
        }
        if let Some(journal) = self.journal {
            journal.close();
        }
    }
}

fn spawn(
    share: usize,
    worker: Worker,
    sockets: WorkerSockets,
    transports: &Arc<Transports>,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let transports = Arc::clone(transports);
    std::thread::Builder::new().name(format!("sip-{share}")).spawn(move || {
        let shutdown = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let ran =
            runtime.block_on(sip_transport::run_worker(sockets, transports, Arc::new(worker), shutdown));
        if let Err(error) = ran {
            tracing::error!(%error, "a worker ended");
        }
    })
}

fn domains(config: &Config, transports: &Transports) -> Domains {
    let domains = config.domain.iter().map(|d| (d.name.as_str(), d.presence.enabled));
    Domains::new(domains, transports.listeners())
}
