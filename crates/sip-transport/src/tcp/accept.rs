//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::Command;
use crate::{Config, Transports};

/// How long accepting pauses when the system has no descriptors or memory left: without it the loop would spin.
const PAUSE: Duration = Duration::from_millis(100);
/// After this much silence the system asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// Accepts until the listeners are closed.
pub(crate) async fn accept(
    transports: Arc<Transports>,
    worker: usize,
    local: SocketAddr,
    listener: TcpListener,
    commands: mpsc::UnboundedSender<Command>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                if let Err(limit) = admit(&transports, worker, local, remote, stream, &commands) {
                    // Dropped, and so reset or closed.
                    transports.metrics.dropped(limit);
                    tracing::debug!(peer = %remote, limit, "connection refused");
                }
            }
            Err(_) if transports.is_closing() => return,
            // The peer gave up before we took it (accept(2)): the next one is waiting.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(address = %local, %error, "cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn admit(
    transports: &Transports,
    worker: usize,
    local: SocketAddr,
    remote: SocketAddr,
    stream: TcpStream,
    commands: &mpsc::UnboundedSender<Command>,
) -> Result<(), &'static str> {
    if let Err(error) = configure(&stream, &transports.config) {
        // The peer is gone already: reading will find that out.
        tracing::debug!(peer = %remote, %error, "socket options");
    }
    let stream = Arc::new(stream);
    let connection = transports.tcp.accepted(worker, local, remote, &stream)?;
    if let Err(mpsc::error::SendError(_)) = commands.send(Command::Serve(Arc::clone(&connection), stream)) {
        connection.close();
        transports.tcp.remove(&connection);
    }
    Ok(())
}

/// Messages leave at once (no Nagle), and a peer that vanished is noticed.
pub(super) fn configure(stream: &TcpStream, config: &Config) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.set_tcp_user_timeout(Some(config.stall()))
}
