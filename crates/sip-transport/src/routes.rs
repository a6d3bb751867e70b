//! Which of our addresses the system would send from, asked without sending anything.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use hashbrown::HashMap;
use parking_lot::RwLock;

/// Peers whose answer is remembered; when it is full it begins anew.
const ROUTES_MAX: usize = 65_536;

/// Source addresses by peer, remembered until [`Routes::forget`].
#[derive(Debug, Default)]
pub(crate) struct Routes {
    sources: RwLock<HashMap<IpAddr, Option<IpAddr>>>,
}

impl Routes {
    /// The address of ours from which datagrams to a peer leave; `None` if there is no route.
    pub(crate) fn source(&self, peer: IpAddr) -> Option<IpAddr> {
        if let Some(source) = self.sources.read().get(&peer) {
            return *source;
        }
        let source = probe(peer).ok();
        let mut sources = self.sources.write();
        if sources.len() >= ROUTES_MAX {
            sources.clear();
        }
        sources.insert(peer, source);
        source
    }

    /// Asks again from now on: routes and addresses may have changed.
    pub(crate) fn forget(&self) {
        self.sources.write().clear();
    }
}

/// Connects a UDP socket, which sends nothing but has the system choose a source address.
fn probe(peer: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // The port does not matter; 0 alone is refused.
    socket.connect((peer, 9))?;
    Ok(socket.local_addr()?.ip())
}

/// The addresses of all interfaces of one family.
pub(crate) fn interface_addresses(v4: bool) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(storage) = interface.address else { continue };
        let ip = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (_, Some(v6)) => IpAddr::V6(v6.ip()),
            _ => continue,
        };
        if ip.is_ipv4() == v4 && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    Ok(addresses)
}

/// An address as the host of a URI: IPv6 in brackets.
pub(crate) fn uri_host(ip: IpAddr) -> String {
    // `SocketAddr` would add the port.
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// `host:port` of an address.
pub(crate) fn host_port(ip: IpAddr, port: u16) -> String {
    // Without the scope that `SocketAddrV6` may have: it means nothing to a peer.
    SocketAddr::new(ip, port).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_reached_from_loopback() {
        let routes = Routes::default();
        for peer in ["127.0.0.1", "::1"] {
            let peer: IpAddr = peer.parse().expect("an address");
            assert_eq!(routes.source(peer), Some(peer));
            assert_eq!(routes.source(peer), Some(peer), "remembered");
        }
        assert_eq!(routes.sources.read().len(), 2);
        routes.forget();
        assert_eq!(routes.sources.read().len(), 0);
    }

    #[test]
    fn interfaces_have_loopback() {
        assert!(interface_addresses(true).expect("addresses").contains(&Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn addresses_in_uris() {
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert_eq!((uri_host(v6), host_port(v6, 5060)), ("[::1]".to_owned(), "[::1]:5060".to_owned()));
        assert_eq!(host_port(Ipv4Addr::LOCALHOST.into(), 5060), "127.0.0.1:5060");
    }
}
