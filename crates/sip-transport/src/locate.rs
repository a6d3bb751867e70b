//! The next hop of a URI (RFC 3263), as far as no name has to be resolved: numeric hosts and `localhost`.
//!
//! Names come in at [`Transports::address`]: there NAPTR, SRV and A/AAAA lookups (RFC 3263 §4) shall have their place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sip_message::{Scheme, Transport, Uri};
use sip_service::{Connection, Flow, Hop, LocateError};

use crate::Transports;

/// Octets above which a request goes by a congestion-controlled transport, the path's MTU being unknown (RFC 3261
/// §18.1.1).
const DATAGRAM_BYTES_MAX: usize = 1_300;

impl Transports {
    pub(crate) fn hop(&self, uri: &Uri<'_>, octets: usize) -> Result<Hop, LocateError> {
        let wanted = match uri.scheme() {
            Scheme::Sip => wanted_transport(uri)?,
            // §26.2.2: only TLS will do, which no listener of ours speaks.
            Scheme::Sips => return Err(LocateError::Transport),
            Scheme::Tel | Scheme::Pres | Scheme::Im | Scheme::Urn | Scheme::Other => {
                return Err(LocateError::Scheme);
            }
        };
        let ip = self.address(uri, wanted)?;
        let remote =
            |transport: Transport| SocketAddr::new(ip, uri.port().unwrap_or(transport.default_port()));
        let transport = match wanted {
            Some(transport) => transport,
            None => self.numeric_transport(ip, remote(Transport::Udp), octets),
        };
        let listener = self.listeners.towards(transport, ip).ok_or(LocateError::Transport)?;
        let flow = Flow {
            transport,
            local: listener.address,
            remote: remote(transport),
            connection: Connection::NONE,
        };
        Ok(Hop { flow, sent_by: self.listeners.sent_by_to(listener, ip) })
    }

    /// RFC 3263 §4.1: UDP for a numeric target of a `sip` URI that names no transport; RFC 3261 §18.1.1: TCP for a large
    /// request, unless the target turned out not to take it. Without a UDP listener of that family it is TCP, too.
    fn numeric_transport(&self, ip: IpAddr, remote: SocketAddr, octets: usize) -> Transport {
        let speaks = |transport| self.listeners.towards(transport, ip).is_some();
        if octets > DATAGRAM_BYTES_MAX && speaks(Transport::Tcp) {
            return if self.upgrades.begin(remote) { Transport::Tcp } else { Transport::Udp };
        }
        if speaks(Transport::Udp) { Transport::Udp } else { Transport::Tcp }
    }

    /// The address of the target (RFC 3263 §4): `maddr` if it is an address, else the host.
    fn address(&self, uri: &Uri<'_>, wanted: Option<Transport>) -> Result<IpAddr, LocateError> {
        let (host, ip) = match uri.param("maddr") {
            Some(maddr) if !maddr.is_empty() => (maddr, literal(maddr)),
            _ => (uri.host(), uri.ip()),
        };
        if let Some(ip) = ip {
            // An IPv4 address written as IPv6 is IPv4: our IPv6 sockets carry IPv6 only.
            return Ok(ip.to_canonical());
        }
        if host.eq_ignore_ascii_case("localhost") {
            // RFC 6761 §6.3: loopback, without asking; in the family that a listener of ours has.
            let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let has_v4 = match wanted {
                Some(transport) => self.listeners.towards(transport, v4).is_some(),
                None => self.listeners.iter().any(|l| l.address.is_ipv4()),
            };
            return Ok(if has_v4 { v4 } else { IpAddr::V6(Ipv6Addr::LOCALHOST) });
        }
        Err(LocateError::Unresolved { host: host.to_owned() })
    }
}

/// The transport that the URI asks for; one that we do not know cannot be had.
fn wanted_transport(uri: &Uri<'_>) -> Result<Option<Transport>, LocateError> {
    match (uri.transport(), uri.param("transport")) {
        (None, Some(_)) => Err(LocateError::Transport),
        (transport, _) => Ok(transport),
    }
}

/// An IPv4 address or an IPv6 reference (RFC 3261 §25.1).
fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}
