//! By which way a contact is reached when its own URI does not lead there.
//!
//! A binding is called at its Contact URI. Two kinds are not: the client's own contact on a connection, which is used again
//! because a client behind NAT or a firewall cannot be connected to (RFC 5626 §1 has the reasoning, RFC 7118 appendix B.1 the case
//! of browsers); and a UDP client behind NAT, whose Contact names an address that only its own network knows. A contact
//! that belongs to another device (§10.2: third-party registration) is always called at its URI.

use std::net::IpAddr;

use sip_message::{HeaderName, Request, Transport, Uri, Via};
use sip_service::Flow;

/// What the request says about where its sender is.
pub(crate) struct Reach<'a> {
    source: &'a Flow,
    via: Via<'a>,
    source_ip: IpAddr,
    via_ip: Option<IpAddr>,
}

impl<'a> Reach<'a> {
    /// `None` if the request came through a proxy: then the source is not the client.
    pub(crate) fn of(message: &'a Request, source: &'a Flow) -> Option<Self> {
        let is_direct = message.values(HeaderName::Via).nth(1).is_none();
        is_direct.then(|| {
            let via = message.via();
            Self { source, via, source_ip: source.remote.ip().to_canonical(), via_ip: host_ip(via.host) }
        })
    }

    /// The flow for a contact; `None` if its URI leads there.
    pub(crate) fn flow(&self, contact: &Uri<'_>) -> Option<&'a Flow> {
        if !contact.is_sip() {
            return None;
        }
        let contact_ip = contact.ip().map(|ip| ip.to_canonical());
        let is_own = match (self.source.transport, contact_ip) {
            (Transport::Udp, Some(ip)) => self.is_behind_nat(ip),
            (Transport::Udp, None) => false,
            (transport, ip) => {
                // A client may register by TCP a contact where it listens by UDP, if it says so: without a parameter a URI
                // means UDP by RFC 3263 §4.1, but clients that came by TCP leave it out and mean their connection.
                let same_transport =
                    contact.transport().is_none_or(|t| t == transport || is_secured(t, transport));
                same_transport
                    && match ip {
                        Some(ip) if ip == self.source_ip => self.is_own_port(contact),
                        Some(ip) => self.is_behind_nat(ip),
                        None => self.is_own_name(contact.host()),
                    }
            }
        };
        is_own.then_some(self.source)
    }

    /// The Contact's address is not the source, and the sender does not know of the source address either: its Via has
    /// another too. A sender that knows its address and names another means another device.
    fn is_behind_nat(&self, contact_ip: IpAddr) -> bool {
        contact_ip != self.source_ip && self.via_ip.is_some_and(|ip| ip != self.source_ip)
    }

    fn is_own_port(&self, contact: &Uri<'_>) -> bool {
        let default = self.source.transport.default_port();
        let port = contact.port().unwrap_or(default);
        port == self.source.remote.port() || port == self.via.port.unwrap_or(default)
    }

    /// RFC 7118 appendix B.1: a browser does not know its address and writes a made-up name, in Contact as in Via.
    fn is_own_name(&self, host: &str) -> bool {
        let is_invalid = host.rsplit('.').next().is_some_and(|label| label.eq_ignore_ascii_case("invalid"));
        is_invalid || host.eq_ignore_ascii_case(self.via.host)
    }
}

/// `transport=tcp` and `transport=ws` are also what a SIPS URI says of TLS and WSS (RFC 3261 §26.2.2); browsers on WSS write
/// `transport=ws` in plain SIP URIs too (RFC 7118 §5.2, §8.1).
fn is_secured(parameter: Transport, transport: Transport) -> bool {
    matches!((parameter, transport), (Transport::Tcp, Transport::Tls) | (Transport::Ws, Transport::Wss))
}

fn host_ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}
