//! Our listeners: which one a flow means, which one reaches a peer, and what our Via says there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;
use sip_message::Transport;
use sip_service::Flow;

use crate::routes::{Routes, host_port, interface_addresses, uri_host};
use crate::{Error, ListenConfig};

/// Peers for which the sent-by of a wildcard listener is remembered.
const SENT_BY_MAX: usize = 65_536;

/// One listener, bound.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Its place in the configuration.
    pub(crate) index: usize,
    pub(crate) transport: Transport,
    /// As bound: with the port that the system gave for 0.
    pub(crate) address: SocketAddr,
    /// Host and port of `advertise`.
    advertised: Option<(String, u16)>,
    /// What our Via says, unless it depends on the peer.
    sent_by: Option<Arc<str>>,
}

impl Listener {
    pub(crate) fn new(index: usize, config: &ListenConfig, address: SocketAddr) -> Result<Self, Error> {
        let advertised = config.advertised()?.map(|(host, port)| (host, port.unwrap_or(address.port())));
        let sent_by = match &advertised {
            Some((host, port)) => Some(format!("{host}:{port}").into()),
            None if address.ip().is_unspecified() => None,
            None => Some(host_port(address.ip(), address.port()).into()),
        };
        Ok(Self { index, transport: config.transport, address, advertised, sent_by })
    }

    fn reaches(&self, transport: Transport, peer: IpAddr) -> bool {
        self.transport == transport && self.address.is_ipv4() == peer.is_ipv4()
    }
}

/// All listeners, in the order of the configuration.
#[derive(Debug)]
pub(crate) struct Listeners {
    all: Vec<Listener>,
    routes: Routes,
    /// For wildcard listeners without `advertise`: by listener and peer.
    sent_by: RwLock<HashMap<(usize, IpAddr), Arc<str>>>,
    /// What a sent-by is of a flow that none of our listeners has.
    nobody: Arc<str>,
}

impl Listeners {
    pub(crate) fn new(all: Vec<Listener>) -> Self {
        Self { all, routes: Routes::default(), sent_by: RwLock::default(), nobody: "invalid".into() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.all.iter()
    }

    /// The listener whose address a flow has; for a flow from before a restart, one that reaches the peer.
    pub(crate) fn of(&self, flow: &Flow) -> Option<&Listener> {
        let peer = flow.remote.ip();
        self.all
            .iter()
            .find(|l| l.address == flow.local && l.reaches(flow.transport, peer))
            .or_else(|| self.towards(flow.transport, peer))
    }

    /// The listener to send to a peer from: of several, the one with the address that the system would send from, then
    /// a wildcard, then one that is as much (or as little) loopback as the peer.
    pub(crate) fn towards(&self, transport: Transport, peer: IpAddr) -> Option<&Listener> {
        let mut candidates = self.all.iter().filter(|l| l.reaches(transport, peer));
        let first = candidates.next()?;
        let Some(second) = candidates.next() else { return Some(first) };
        let source = self.routes.source(peer);
        [first, second].into_iter().chain(candidates).min_by_key(|listener| {
            let ip = listener.address.ip();
            match source {
                Some(source) if source == ip => 0,
                _ if ip.is_unspecified() => 1,
                _ if ip.is_loopback() == peer.is_loopback() => 2,
                _ => 3,
            }
        })
    }

    /// `host:port` under which the peer of a flow reaches us (RFC 3261 §18.1.1).
    pub(crate) fn sent_by(&self, flow: &Flow) -> Arc<str> {
        match self.of(flow) {
            Some(listener) => self.sent_by_to(listener, flow.remote.ip()),
            None => Arc::clone(&self.nobody),
        }
    }

    pub(crate) fn sent_by_to(&self, listener: &Listener, peer: IpAddr) -> Arc<str> {
        if let Some(sent_by) = &listener.sent_by {
            return Arc::clone(sent_by);
        }
        if let Some(sent_by) = self.sent_by.read().get(&(listener.index, peer)) {
            return Arc::clone(sent_by);
        }
        let ip = self.routes.source(peer).unwrap_or(listener.address.ip());
        let text: Arc<str> = host_port(ip, listener.address.port()).into();
        let mut known = self.sent_by.write();
        if known.len() >= SENT_BY_MAX {
            known.clear();
        }
        known.insert((listener.index, peer), Arc::clone(&text));
        text
    }

    /// Every host and port that is ours: bound, advertised, and for a wildcard every address of the interfaces; hosts as
    /// in URIs, in lower case, IPv6 in brackets. `localhost` too where loopback reaches us.
    pub(crate) fn names(&self) -> Result<Vec<(String, u16)>, Error> {
        let mut names: Vec<(String, u16)> = Vec::new();
        let mut add = |host: String, port: u16| {
            if !names.iter().any(|(h, p)| *h == host && *p == port) {
                names.push((host, port));
            }
        };
        for Listener { address, advertised, .. } in &self.all {
            let (ip, port) = (address.ip(), address.port());
            if ip.is_unspecified() {
                for ip in interface_addresses(ip.is_ipv4()).map_err(Error::Interfaces)? {
                    add(uri_host(ip), port);
                }
            } else {
                add(uri_host(ip), port);
            }
            if ip.is_unspecified() || ip.is_loopback() {
                add("localhost".to_owned(), port);
            }
            if let Some((host, port)) = advertised {
                add(host.clone(), *port);
            }
        }
        Ok(names)
    }

    /// Forgets what was learnt about routes.
    pub(crate) fn forget_routes(&self) {
        self.routes.forget();
        self.sent_by.write().clear();
    }
}

#[cfg(test)]
mod tests {
    use sip_service::Connection;

    use super::*;

    fn listeners(blocks: &[(&str, &str, Option<&str>)]) -> Listeners {
        let all = blocks.iter().enumerate().map(|(index, (transport, address, advertise))| {
            let transport = Transport::from_token(transport).expect("a transport");
            let address = address.parse().expect("an address");
            let mut config = ListenConfig::new(transport, address);
            config.advertise = advertise.map(str::to_owned);
            Listener::new(index, &config, address).expect("valid")
        });
        Listeners::new(all.collect())
    }

    fn flow(local: &str, remote: &str) -> Flow {
        Flow {
            transport: Transport::Udp,
            local: local.parse().expect("an address"),
            remote: remote.parse().expect("an address"),
            connection: Connection::NONE,
        }
    }

    // RFC 3261 §18.1.1: the sent-by is where we listen, always with the port.
    #[test]
    fn sent_by_is_bound_advertised_or_the_interface() {
        let listeners = listeners(&[
            ("udp", "127.0.0.1:5060", None),
            ("udp", "[::1]:5060", None),
            ("udp", "0.0.0.0:5070", None),
            ("udp", "127.0.0.1:5080", Some("sip.Example.test")),
            ("udp", "127.0.0.1:5090", Some("sip.example.test:5099")),
        ]);
        for (local, remote, expected) in [
            ("127.0.0.1:5060", "127.0.0.1:40000", "127.0.0.1:5060"),
            ("[::1]:5060", "[::1]:40000", "[::1]:5060"),
            ("0.0.0.0:5070", "127.0.0.1:40000", "127.0.0.1:5070"),
            ("127.0.0.1:5080", "127.0.0.1:40000", "sip.example.test:5080"),
            ("127.0.0.1:5090", "127.0.0.1:40000", "sip.example.test:5099"),
        ] {
            let flow = flow(local, remote);
            assert_eq!(&*listeners.sent_by(&flow), expected, "{local}");
            assert!(Arc::ptr_eq(&listeners.sent_by(&flow), &listeners.sent_by(&flow)), "cached: {local}");
        }
    }

    #[test]
    fn of_several_listeners_the_nearest_is_taken() {
        let listeners = listeners(&[
            ("udp", "192.0.2.77:5060", None),
            ("udp", "127.0.0.1:5060", None),
            ("udp", "[::1]:5060", None),
            ("tcp", "127.0.0.1:5060", None),
        ]);
        let to = |transport, peer: &str| {
            listeners.towards(transport, peer.parse().expect("an address")).map(|l| l.index)
        };
        assert_eq!(to(Transport::Udp, "127.0.0.1"), Some(1));
        assert_eq!(to(Transport::Udp, "198.51.100.1"), Some(0));
        assert_eq!(to(Transport::Udp, "::1"), Some(2));
        assert_eq!(to(Transport::Tcp, "127.0.0.1"), Some(3));
        assert_eq!(to(Transport::Tcp, "::1"), None);
        // A flow that a former process had.
        assert_eq!(listeners.of(&flow("127.0.0.1:9", "127.0.0.1:1")).map(|l| l.index), Some(1));
    }

    #[test]
    fn names_that_are_ours() {
        let listeners =
            listeners(&[("udp", "0.0.0.0:5060", Some("sip.example.test")), ("tcp", "[::1]:5062", None)]);
        let names = listeners.names().expect("names");
        for expected in
            [("127.0.0.1", 5060), ("localhost", 5060), ("sip.example.test", 5060), ("[::1]", 5062)]
        {
            assert!(names.contains(&(expected.0.to_owned(), expected.1)), "{expected:?} of {names:?}");
        }
        assert!(!names.iter().any(|(host, _)| host == "0.0.0.0"));
    }
}
