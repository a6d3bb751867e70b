//! The next hop of a URI (RFC 3263 §4, RFC 3261 §18.1.1).

mod common;

use common::bind;
use sip_message::Transport::{self, Tcp, Udp};
use sip_message::Uri;
use sip_service::{LocateError, Network};
use sip_transport::Config;

const BOTH: [(Transport, &str); 2] = [(Udp, "127.0.0.1:0"), (Tcp, "127.0.0.1:0")];
const DUAL: [(Transport, &str); 3] = [(Udp, "127.0.0.1:0"), (Udp, "[::1]:0"), (Tcp, "[::1]:0")];

/// `transport address` of the hop, or the error.
fn locate(listeners: &[(Transport, &str)], uri: &str, octets: usize) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _entered = runtime.enter();
    let (_registry, transports, _sockets) = bind(listeners, &Config::default(), 1);
    match transports.locate(&Uri::parse(uri.as_bytes()).expect("a URI"), octets) {
        Ok(hop) => {
            let local = transports.local_addresses();
            assert!(local.contains(&(hop.flow.transport, hop.flow.local)), "{uri}: one of our sockets");
            assert_eq!(&*hop.sent_by, hop.flow.local.to_string(), "{uri}");
            format!("{} {}", hop.flow.transport.token(), hop.flow.remote)
        }
        Err(error) => error.to_string(),
    }
}

// RFC 3263 §4.1, §4.2; RFC 3261 §19.1.2.
#[test]
fn numeric_targets() {
    for (uri, octets, expected) in [
        ("sip:bob@127.0.0.1", 500, "udp 127.0.0.1:5060"),
        ("sip:127.0.0.1:5070", 500, "udp 127.0.0.1:5070"),
        ("sip:bob@127.0.0.1;transport=tcp", 500, "tcp 127.0.0.1:5060"),
        ("sip:bob@127.0.0.1;transport=UDP", 500, "udp 127.0.0.1:5060"),
        ("sip:bob@localhost:5070", 500, "udp 127.0.0.1:5070"),
        // §18.1.1: by size, unless a transport was asked for.
        ("sip:bob@127.0.0.1", 1_300, "udp 127.0.0.1:5060"),
        ("sip:bob@127.0.0.1", 1_301, "tcp 127.0.0.1:5060"),
        ("sip:bob@127.0.0.1;transport=udp", 1_301, "udp 127.0.0.1:5060"),
        // RFC 3263 §4: maddr is the target.
        ("sip:bob@example.test:5070;maddr=127.0.0.1", 500, "udp 127.0.0.1:5070"),
        // RFC 5118 §4.10 and IPv4 in IPv6.
        ("sip:bob@[::ffff:127.0.0.1]", 500, "udp 127.0.0.1:5060"),
    ] {
        assert_eq!(locate(&BOTH, uri, octets), expected, "{uri}");
    }
}

#[test]
fn both_families() {
    for (uri, octets, expected) in [
        ("sip:bob@127.0.0.1", 500, "udp 127.0.0.1:5060"),
        ("sip:bob@[::1]", 500, "udp [::1]:5060"),
        ("sip:bob@[::1]", 1_301, "tcp [::1]:5060"),
        // No TCP of that family: a large datagram must do.
        ("sip:bob@127.0.0.1", 1_301, "udp 127.0.0.1:5060"),
        ("sip:bob@localhost;transport=tcp", 500, "tcp [::1]:5060"),
        ("sip:bob@example.test;maddr=[::1]", 500, "udp [::1]:5060"),
    ] {
        assert_eq!(locate(&DUAL, uri, octets), expected, "{uri}");
    }
}

#[test]
fn without_udp_it_is_tcp() {
    assert_eq!(locate(&[(Tcp, "127.0.0.1:0")], "sip:127.0.0.1", 500), "tcp 127.0.0.1:5060");
}

#[test]
fn uris_that_lead_nowhere() {
    let unresolved = |host: &str| LocateError::Unresolved { host: host.to_owned() }.to_string();
    for (uri, expected) in [
        ("tel:+1-201-555-0123", LocateError::Scheme.to_string()),
        ("pres:bob@127.0.0.1", LocateError::Scheme.to_string()),
        // RFC 3261 §26.2.2: TLS or nothing.
        ("sips:bob@127.0.0.1", LocateError::Transport.to_string()),
        ("sip:bob@127.0.0.1;transport=tls", LocateError::Transport.to_string()),
        ("sip:bob@127.0.0.1;transport=ws", LocateError::Transport.to_string()),
        ("sip:bob@127.0.0.1;transport=sctp", LocateError::Transport.to_string()),
        ("sip:bob@[::1]", LocateError::Transport.to_string()),
        ("sip:bob@example.test", unresolved("example.test")),
        ("sip:bob@127.0.0.1;maddr=example.test", unresolved("example.test")),
    ] {
        assert_eq!(locate(&BOTH, uri, 500), expected, "{uri}");
    }
}
