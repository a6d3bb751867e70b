//! TCP: each worker has a listener of its own for each address (SO_REUSEPORT) and serves the connections that it accepted
//! or opened; any thread may send on any of them.

mod accept;
mod connection;
mod serve;
mod table;
mod upgrades;

use std::sync::Arc;

use tokio::net::TcpStream;

pub(crate) use accept::accept;
pub(crate) use connection::Connection;
pub(crate) use serve::{open, serve};
pub(crate) use table::Connections;
pub(crate) use upgrades::Upgrades;

/// What a worker is asked to do, by itself or by another thread.
pub(crate) enum Command {
    /// Serve a connection that was accepted.
    Serve(Arc<Connection>, Arc<TcpStream>),
    /// Open a connection, then serve it.
    Open(Arc<Connection>),
}
