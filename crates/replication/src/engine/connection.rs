//! A connection with a server of an engine.

use std::io;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisFuture, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::{AbortHandle, JoinSet};

use super::{EngineError, EngineTls};
use crate::Peer;

/// It is closed when this is dropped, also if an answer has not come.
pub(super) struct Connection {
    commands: MultiplexedConnection,
    /// What carries commands and answers to and fro.
    driver: AbortHandle,
}

impl Connection {
    /// Connects with a server. It takes as long as the server lets it.
    pub(super) async fn open(
        server: &Peer,
        tls: Option<&EngineTls>,
        credentials: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<Self, EngineError> {
        let stream = reach(server).await?;
        match tls {
            None => Self::over(stream, credentials, config).await,
            Some(tls) => Self::over(tls.shake(&server.host, stream).await?, credentials, config).await,
        }
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        credentials: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<Self, EngineError> {
        let (commands, driver) = MultiplexedConnection::new_with_config(credentials, stream, config).await?;
        Ok(Self { commands, driver: tokio::spawn(driver).abort_handle() })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.commands.req_packed_command(command)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.commands.req_packed_commands(commands, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.commands.get_db()
    }
}

/// Reaches a server at whichever of its addresses answers first.
async fn reach(server: &Peer) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    for address in lookup_host((server.host.as_str(), server.port)).await? {
        attempts.spawn(TcpStream::connect(address));
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    while let Some(attempt) = attempts.join_next().await {
        match attempt.map_err(io::Error::other).flatten() {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
