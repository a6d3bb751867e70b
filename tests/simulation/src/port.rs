//! A node's way to the SIP network: what it sends is taken out after each of its steps.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use sip_message::{Transport, Uri};
use sip_service::{Connection, Flow, Hop, LocateError, Network, Unreachable};
use sip_transaction::ClientId;

/// One socket of datagrams.
pub(crate) struct Port {
    address: SocketAddr,
    sent: Mutex<Vec<(SocketAddr, Bytes)>>,
}

impl Port {
    pub(crate) fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self { address, sent: Mutex::default() })
    }

    /// How a datagram from somewhere came.
    pub(crate) fn flow(&self, remote: SocketAddr) -> Flow {
        Flow { transport: Transport::Udp, local: self.address, remote, connection: Connection::NONE }
    }

    /// Takes out what was sent.
    pub(crate) fn take(&self) -> Vec<(SocketAddr, Bytes)> {
        std::mem::take(&mut *self.sent.lock())
    }
}

/// Where a node listens.
pub(crate) fn of_node(node: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1 + node as u8)), 5060)
}

/// Where a user agent listens.
pub(crate) fn of_client(client: usize) -> SocketAddr {
    let [_, _, high, low] = (client as u32).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, high, low)), 5060)
}

/// Which user agent listens at an address.
pub(crate) fn client_at(address: SocketAddr) -> Option<usize> {
    match address.ip() {
        IpAddr::V4(ip) => match ip.octets() {
            [198, 18, high, low] => Some(usize::from(high) << 8 | usize::from(low)),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

impl Network for Port {
    fn send(&self, flow: &Flow, bytes: Bytes, _: Option<ClientId>) -> Result<(), Unreachable> {
        self.sent.lock().push((flow.remote, bytes));
        Ok(())
    }

    fn locate(&self, uri: &Uri<'_>, _: usize) -> Result<Hop, LocateError> {
        let ip = uri.ip().ok_or_else(|| LocateError::Unresolved { host: uri.host().to_owned() })?;
        let flow = self.flow(SocketAddr::new(ip, uri.port().unwrap_or(5060)));
        Ok(Hop { sent_by: self.sent_by(&flow), flow })
    }

    fn sent_by(&self, _: &Flow) -> Arc<str> {
        self.address.to_string().into()
    }

    fn is_alive(&self, _: &Flow) -> bool {
        true
    }
}
