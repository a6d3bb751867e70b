//! The configuration: sections owned by the crates they configure, nested here.

mod engine;
mod error;
mod load;
mod replication;
mod validate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ::replication::Options;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sip_message::Transport;
use sip_transport::ListenConfig;

pub use engine::{EngineConfig, LayoutConfig, RedisConfig};
pub use error::ConfigError;
pub use load::{Sources, load};
pub(crate) use replication::tls_error;
pub use replication::{AckConfig, Compat, PeerConfig, ReplicationConfig};

/// The whole configuration, as `rollcall check` prints it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node itself.
    pub server: ServerConfig,
    /// One block per socket. Default: UDP and TCP on 127.0.0.1:5060.
    pub listen: Vec<ListenConfig>,
    /// Who has to prove who they are, and how.
    pub auth: sip_auth::Config,
    /// The domains that we are responsible for. Default: `localhost`.
    pub domain: Vec<DomainConfig>,
    /// Users that stand in the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<provisioning::UserConfig>,
    /// Bindings.
    pub registrar: registrar::Config,
    /// Forwarding.
    pub proxy: proxy::Config,
    /// Publications and subscriptions.
    pub presence: presence::Config,
    /// Sockets and connections.
    pub transport: sip_transport::Config,
    /// What a source of requests may do.
    pub limits: LimitsConfig,
    /// Where state is kept.
    pub storage: StorageConfig,
    /// The other nodes; absent: there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<ReplicationConfig>,
    /// HTTP: metrics and health.
    pub admin: AdminConfig,
    /// Logs.
    pub log: LogConfig,
}

/// `[server]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where the node keeps what outlives it: `node.key`. Default `./rollcall-data`.
    pub data_dir: PathBuf,
    /// The name of this node, also in metrics and logs. Default `a`.
    pub node: String,
    /// Threads that serve; 0 (the default) is one per core.
    pub workers: usize,
    /// Seconds that SIGTERM waits for requests under way. Default 2.
    pub drain_seconds: u32,
}

/// One `[[domain]]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DomainConfig {
    /// Its name.
    pub name: String,
    /// Digest algorithms for this domain; absent: those of `[auth]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<Vec<sip_auth::Algorithm>>,
    /// Its presence.
    #[serde(default)]
    pub presence: presence::DomainConfig,
}

/// `[limits]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests a second from one source address, with a burst of twice as many; beyond it 503 with Retry-After. 0: no
    /// limit. Addresses of this machine and trusted peers are never limited. Default 500.
    pub requests_per_source_per_second: u32,
    /// Source addresses whose rate is remembered. Default 100,000.
    pub sources_tracked_max: usize,
    /// Networks whose requests are dropped without an answer.
    pub blocked_sources: Vec<IpNet>,
    /// Server and client transactions, each, alive at once; beyond it 503. Default 1,000,000.
    pub transactions_max: usize,
}

/// `[storage]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// How long acknowledged state lasts. `commit`: it is on the disk before it is acknowledged; `relaxed`: soon after;
    /// `memory`: as long as the process. Default `commit`.
    pub durability: Durability,
    /// The same for bindings alone.
    pub bindings: Option<Durability>,
    /// The same for publications alone.
    pub publications: Option<Durability>,
    /// The same for subscriptions alone.
    pub subscriptions: Option<Durability>,
    /// The journal, in `journal` of `server.data_dir`: octets of a segment, 65,536 to 1,073,741,824. Two are reserved on
    /// the disk. Default 16,777,216.
    pub segment_bytes: u64,
    /// Octets of all segments below which they are not written anew. Default 67,108,864.
    pub compact_bytes_min: u64,
    /// Milliseconds, 0 to 100, from one write to the next while they come one upon another: after a pause a change is
    /// written at once. Default 2.
    pub commit_interval_ms: u32,
    /// Milliseconds that a change which nobody waits for may stay unwritten, 1 to 10,000. Default 10.
    pub relaxed_delay_ms: u32,
}

impl Default for StorageConfig {
    fn default() -> Self {
        let Options { segment_bytes, commit_interval, relaxed_delay, compact_bytes_min } = Options::default();
        let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Self {
            durability: Durability::default(),
            bindings: None,
            publications: None,
            subscriptions: None,
            segment_bytes,
            compact_bytes_min,
            commit_interval_ms: milliseconds(commit_interval),
            relaxed_delay_ms: milliseconds(relaxed_delay),
        }
    }
}

impl StorageConfig {
    /// Bindings, publications, subscriptions.
    pub(crate) fn kinds(&self) -> [Durability; 3] {
        [self.bindings, self.publications, self.subscriptions].map(|kind| kind.unwrap_or(self.durability))
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            segment_bytes: self.segment_bytes,
            compact_bytes_min: self.compact_bytes_min,
            commit_interval: Duration::from_millis(self.commit_interval_ms.into()),
            relaxed_delay: Duration::from_millis(self.relaxed_delay_ms.into()),
        }
    }
}

/// How long acknowledged state lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// As long as the process.
    Memory,
    /// Written soon after the answer: a crash may lose what was acknowledged within `relaxed_delay_ms`.
    Relaxed,
    /// On the disk before the answer.
    #[default]
    Commit,
}

/// `[admin]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Where `/metrics`, `/healthz` and `/readyz` are. Default 127.0.0.1:8080.
    pub address: SocketAddr,
}

/// `[log]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged, in the syntax of `RUST_LOG` (which wins). Default `info`.
    pub filter: Option<String>,
    /// How.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        let listen = |transport| ListenConfig::new(transport, SocketAddr::from(([127, 0, 0, 1], 5060)));
        Self {
            server: ServerConfig::default(),
            listen: vec![listen(Transport::Udp), listen(Transport::Tcp)],
            auth: sip_auth::Config::default(),
            domain: vec![DomainConfig {
                name: "localhost".into(),
                algorithms: None,
                presence: presence::DomainConfig::default(),
            }],
            user: Vec::new(),
            registrar: registrar::Config::default(),
            proxy: proxy::Config::default(),
            presence: presence::Config::default(),
            transport: sip_transport::Config::default(),
            limits: LimitsConfig::default(),
            storage: StorageConfig::default(),
            replication: None,
            admin: AdminConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { data_dir: "./rollcall-data".into(), node: "a".into(), workers: 0, drain_seconds: 2 }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            requests_per_source_per_second: 500,
            sources_tracked_max: 100_000,
            blocked_sources: Vec::new(),
            transactions_max: 1_000_000,
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 8080)) }
    }
}
