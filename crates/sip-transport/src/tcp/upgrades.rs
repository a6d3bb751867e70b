//! Requests that go by TCP only because they are large, to peers that turn out not to speak it (RFC 3261 §18.1.1): "the
//! element SHOULD retry the request, using UDP".
//!
//! The retry is done here, since only the transport knows why the connection failed. What was written for TCP goes in a
//! datagram with its top Via changed to say UDP, as the section demands of any change of transport; otherwise the peer
//! would answer by a connection it cannot open. The client transaction still takes its transport for reliable and does
//! not retransmit, so a lost datagram ends in its Timer B or F; but the peer is remembered, and the next request to it
//! goes by UDP from the start.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use parking_lot::RwLock;

/// Peers remembered; when it is full it begins anew.
const UPGRADES_MAX: usize = 16_384;

/// Peers to which a large request went by TCP; `true` once they refused it.
#[derive(Debug, Default)]
pub(crate) struct Upgrades {
    refused: RwLock<HashMap<SocketAddr, bool>>,
}

impl Upgrades {
    /// Notes that a request goes to a peer by TCP for its size alone. False if it refused that before: then by UDP.
    pub(crate) fn begin(&self, peer: SocketAddr) -> bool {
        if let Some(refused) = self.refused.read().get(&peer) {
            return !refused;
        }
        let mut peers = self.refused.write();
        if peers.len() >= UPGRADES_MAX {
            peers.clear();
        }
        !*peers.entry(peer).or_default()
    }

    /// Notes that a peer refused a connection. False if none was opened to it for a request's size.
    pub(crate) fn refuse(&self, peer: SocketAddr) -> bool {
        let mut peers = self.refused.write();
        peers.get_mut(&peer).map(|refused| *refused = true).is_some()
    }

    /// Tries again from now on.
    pub(crate) fn forget(&self) {
        self.refused.write().clear();
    }
}

/// The message with `SIP/2.0/UDP` and `udp` in its first Via, where it said `SIP/2.0/TCP` and `tcp` (a sent-by). `None` if
/// it did not: then it is not ours to change.
pub(crate) fn downgraded(message: &Bytes, tcp: &str, udp: &str) -> Option<Bytes> {
    const TCP: &[u8] = b"SIP/2.0/TCP ";
    let begin = message.windows(TCP.len()).position(|window| window == TCP)?;
    let rest = message.get(begin + TCP.len()..)?.strip_prefix(tcp.as_bytes())?;
    let mut out = BytesMut::with_capacity(message.len() + udp.len());
    out.extend_from_slice(message.get(..begin)?);
    out.extend_from_slice(b"SIP/2.0/UDP ");
    out.extend_from_slice(udp.as_bytes());
    out.extend_from_slice(rest);
    Some(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 3261 §18.1.1.
    #[test]
    fn a_peer_that_refused_gets_datagrams() {
        let upgrades = Upgrades::default();
        let peer = "192.0.2.1:5060".parse().expect("an address");
        assert!(!upgrades.refuse(peer), "no request was upgraded");
        assert!(upgrades.begin(peer));
        assert!(upgrades.begin(peer));
        assert!(upgrades.refuse(peer));
        assert!(!upgrades.begin(peer));
        upgrades.forget();
        assert!(upgrades.begin(peer));
    }

    // RFC 3261 §18.1.1: "the value in the top Via MUST be changed".
    #[test]
    fn the_top_via_says_udp() {
        let message = Bytes::from_static(
            b"OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/TCP h:5060;branch=1\r\nVia: SIP/2.0/TCP h:5060;branch=2\r\n\r\n",
        );
        let expected = "OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h:15060;branch=1\r\n\
            Via: SIP/2.0/TCP h:5060;branch=2\r\n\r\n";
        let changed = downgraded(&message, "h:5060", "h:15060").expect("changed");
        assert_eq!(String::from_utf8_lossy(&changed), expected);
        assert_eq!(downgraded(&message, "other:5060", "h:15060"), None);
        assert_eq!(downgraded(&changed.slice(..60), "h:5060", "h:15060"), None);
    }
}
