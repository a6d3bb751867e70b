//! The engine's servers: which of them has a virtual shard, and connections with it.

use std::io;
use std::time::Duration;

use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, Value};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::EngineTls;
use super::connection::Connection;
use super::names::slot;
use crate::backoff::Backoff;
use crate::{Malformed, Peer};

/// Where an engine is, and how it is reached.
#[derive(Clone)]
pub struct ServerOptions {
    /// How its servers stand to each other.
    pub layout: Layout,
    /// Servers to ask, in this order: the one, or some of a cluster, or Sentinels.
    pub servers: Vec<Peer>,
    /// The user, if it is not the default one.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// Connections are TLS, and servers prove themselves by a certificate for their host. Sentinels, too.
    pub tls: Option<EngineTls>,
}

/// How the servers of an engine stand to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// There is one.
    Alone,
    /// Sentinels say which is the primary.
    Sentinel {
        /// What they call it.
        primary: String,
    },
    /// Redis Cluster: they share the slots.
    Cluster,
}

/// Why the engine is not of use for the moment.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It is not reached.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It says so, or does not answer.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The server found is a replica.
    #[error("{0} is no primary")]
    NotPrimary(String),
    /// No Sentinel knows the primary, or no server has the slot.
    #[error("no server is known to have this")]
    Nowhere,
    /// The log could not be read as far as was needed.
    #[error("what others changed could not be read in time")]
    Late,
    /// What it holds was not written by us.
    #[error("what it holds is not readable")]
    Malformed(#[from] Malformed),
}

impl EngineError {
    /// Others act for this node, or did: it has to read what they did first.
    pub(super) fn is_fenced(&self) -> bool {
        let Self::Redis(error) = self else { return false };
        let errors = error.clone().into_server_errors();
        errors.is_some_and(|errors| errors.iter().any(|(_, error)| error.code() == "FENCED"))
    }
}

#[derive(Debug)]
pub(super) struct Servers {
    options: ServerOptions,
    /// How long an answer is waited for.
    patience: Duration,
    /// Changes whenever one is reached.
    reached: watch::Sender<()>,
}

impl Servers {
    pub(super) fn new(options: ServerOptions, peer_timeout: Duration) -> Self {
        Self { options, patience: peer_timeout / 2, reached: watch::Sender::new(()) }
    }

    /// Waits before the next attempt; less if somebody reaches a server meanwhile, so that all are back at once.
    pub(super) async fn wait(&self, backoff: &mut Backoff) {
        let mut reached = self.reached.subscribe();
        tokio::select! {
            () = sleep(backoff.next(rand::random())) => {}
            // The sender is here.
            _ = reached.changed() => backoff.reset(),
        }
    }

    /// Connects with the server that has a virtual shard. Its answers may take `longer` than those to plain commands.
    pub(super) async fn connect(&self, lane: usize, longer: Duration) -> Result<Connection, EngineError> {
        let server = self.primary_of(lane).await?;
        self.connect_to(&server, longer).await
    }

    /// Connects with a server, which has to be a primary.
    pub(super) async fn connect_to(
        &self,
        server: &Peer,
        longer: Duration,
    ) -> Result<Connection, EngineError> {
        let mut connection = self.open(server, self.credentials(), longer).await?;
        let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
        let is_primary = matches!(role.first(), Some(Value::BulkString(role)) if role == b"master");
        if !is_primary {
            return Err(EngineError::NotPrimary(server.to_string()));
        }
        self.reached.send_replace(());
        Ok(connection)
    }

    /// The server that has a virtual shard.
    pub(super) async fn primary_of(&self, lane: usize) -> Result<Peer, EngineError> {
        let mut last = EngineError::Nowhere;
        for server in &self.options.servers {
            let found = match &self.options.layout {
                Layout::Alone => Ok(server.clone()),
                Layout::Sentinel { primary } => self.ask_sentinel(server, primary).await,
                Layout::Cluster => self.ask_cluster(server, slot(lane)).await,
            };
            match found {
                Ok(found) => return Ok(found),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_sentinel(&self, sentinel: &Peer, primary: &str) -> Result<Peer, EngineError> {
        // Sentinels have users of their own, and are asked what anybody may know.
        let mut connection = self.open(sentinel, nobody(), Duration::ZERO).await?;
        let mut ask = redis::cmd("SENTINEL");
        let found: Option<(String, u16)> =
            ask.arg("GET-MASTER-ADDR-BY-NAME").arg(primary).query_async(&mut connection).await?;
        let (host, port) = found.ok_or(EngineError::Nowhere)?;
        Ok(Peer { node: String::new(), host, port })
    }

    async fn ask_cluster(&self, server: &Peer, slot: u16) -> Result<Peer, EngineError> {
        let mut connection = self.open(server, self.credentials(), Duration::ZERO).await?;
        let ranges: Vec<Value> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
        let found = ranges.iter().find_map(|range| read_range(range, slot));
        let (host, port) = found.ok_or(EngineError::Nowhere)?;
        // A server that does not know its own address leaves it empty.
        let host = if host.is_empty() { server.host.clone() } else { host };
        Ok(Peer { node: String::new(), host, port })
    }

    fn credentials(&self) -> RedisConnectionInfo {
        let mut credentials = nobody();
        if let Some(username) = &self.options.username {
            credentials = credentials.set_username(username);
        }
        if let Some(password) = &self.options.password {
            credentials = credentials.set_password(password);
        }
        credentials
    }

    async fn open(
        &self,
        server: &Peer,
        credentials: RedisConnectionInfo,
        longer: Duration,
    ) -> Result<Connection, EngineError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.patience + longer));
        let opening = Connection::open(server, self.options.tls.as_ref(), &credentials, config);
        timeout(self.patience, opening).await.map_err(io::Error::from)?
    }
}

/// The server's own default user. Servers are not told which library this is: one that does not let its users say so would log a
/// refusal with every connection.
fn nobody() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_skip_set_lib_name()
}

/// The primary of a range of slots, `[first, last, [host, port, …], …]`, if the slot is one of them.
fn read_range(range: &Value, slot: u16) -> Option<(String, u16)> {
    let Value::Array(range) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = range.as_slice() else {
        return None;
    };
    if !(*first..=*last).contains(&i64::from(slot)) {
        return None;
    }
    let [host, Value::Int(port), ..] = primary.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        _ => String::new(),
    };
    Some((host, u16::try_from(*port).ok()?))
}

impl std::fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerOptions")
            .field("layout", &self.layout)
            .field("servers", &self.servers)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_of_a_range_comes_first() {
        let server = |host: &[u8], port| {
            Value::Array(vec![
                Value::BulkString(host.to_vec()),
                Value::Int(port),
                Value::BulkString(b"id".to_vec()),
            ])
        };
        let range = Value::Array(vec![
            Value::Int(5461),
            Value::Int(10922),
            server(b"192.0.2.2", 7001),
            server(b"192.0.2.5", 7004),
        ]);
        let expected = Some(("192.0.2.2".to_owned(), 7001));
        assert_eq!([5461, 10922].map(|slot| read_range(&range, slot)), [expected.clone(), expected]);
        assert_eq!([5460, 10923].map(|slot| read_range(&range, slot)), [None, None]);
        assert_eq!(read_range(&Value::Nil, 1), None);
    }
}
