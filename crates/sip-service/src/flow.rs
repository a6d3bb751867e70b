//! Flows: the way a message came, and the way one can go.

use std::net::SocketAddr;
use std::sync::Arc;

use replication::{Malformed, Reader, put_text};
use sip_message::Transport;

/// One connection of a stream transport, unique in the life of the process; `NONE` for datagrams and for flows that
/// name a peer to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection(pub u64);

impl Connection {
    /// No particular connection.
    pub const NONE: Self = Self(0);
    /// A connection of a process that has ended: no connection is ever it.
    pub const GONE: Self = Self(u64::MAX);
}

/// Transport, our address, the peer's address, and the connection if there is one (RFC 5626 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The transport.
    pub transport: Transport,
    /// Our address: of the socket that received, or that shall send.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection.
    pub connection: Connection,
}

impl Flow {
    /// Writes one that may be absent into a record.
    pub fn write(flow: Option<&Self>, out: &mut Vec<u8>) {
        out.push(u8::from(flow.is_some()));
        if let Some(flow) = flow {
            flow.write_parts(out);
        }
    }

    /// Reads one that may be absent from a record. A connection does not outlive its process: what was one is
    /// [`Connection::GONE`].
    ///
    /// # Errors
    /// If it is not there.
    pub fn read(record: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        match record.u8()? {
            0 => Ok(None),
            1 => Self::read_parts(record).map(Some),
            _ => Err(Malformed),
        }
    }

    fn write_parts(&self, out: &mut Vec<u8>) {
        put_text(out, self.transport.token());
        put_text(out, &self.local.to_string());
        put_text(out, &self.remote.to_string());
        out.push(u8::from(self.connection != Connection::NONE));
    }

    fn read_parts(record: &mut Reader<'_>) -> Result<Self, Malformed> {
        let transport = Transport::from_token(record.text()?).ok_or(Malformed)?;
        let mut address = || record.text()?.parse().map_err(|_| Malformed);
        let (local, remote) = (address()?, address()?);
        let connection = if record.u8()? == 0 { Connection::NONE } else { Connection::GONE };
        Ok(Self { transport, local, remote, connection })
    }
}

/// A next hop: the flow to it and what our Via says there.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Where the request goes.
    pub flow: Flow,
    /// `host:port` for the sent-by of our Via and for our Record-Route, Path and Contact on that flow.
    pub sent_by: Arc<str>,
}
