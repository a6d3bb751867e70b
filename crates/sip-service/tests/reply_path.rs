//! Where responses go (RFC 3261 §18.2.2, RFC 3581 §4).

mod common;

use std::sync::Arc;
use std::time::Instant;

use common::{Fate, User};
use prometheus::Registry;
use sip_message::{Framed, HeaderName, Limits, Transport};
use sip_service::{Endpoint, EndpointConfig, Flow, Metrics};
use testkit::{Packet, SimNetwork, message};

const SOURCE: &str = "198.51.100.7:40000";

struct Server {
    now: Instant,
    network: Arc<SimNetwork>,
    endpoint: Arc<Endpoint>,
    user: User,
    registry: Registry,
}

impl Server {
    fn new(fate: Fate) -> Self {
        let (now, registry) = (Instant::now(), Registry::new());
        let listeners = [(Transport::Udp, "192.0.2.1:5060"), (Transport::Tcp, "192.0.2.1:5060")];
        let network = SimNetwork::new(&listeners, now);
        let metrics = Metrics::register(&registry).expect("metrics");
        let endpoint =
            Endpoint::new(Arc::<SimNetwork>::clone(&network), EndpointConfig::default(), metrics, now);
        Self { now, network, endpoint, user: User::new(fate), registry }
    }

    /// A request with that Via arrives.
    fn receive(&self, via: &str, flow: &Flow) {
        let text = format!(
            "
            MESSAGE sip:bob@example.test SIP/2.0
            Via: {via}
            From: <sip:alice@example.test>;tag=1
            To: <sip:bob@example.test>
            Call-ID: 1
            CSeq: 1 MESSAGE"
        );
        let framed = Framed::datagram(message(&text), &Limits::default());
        self.endpoint.receive(self.now, framed, flow, &self.user);
    }

    fn sent(&self) -> Vec<Packet> {
        self.network.arrived(self.now)
    }

    fn unreachable(&self) -> u64 {
        let families = self.registry.gather();
        let dropped =
            families.iter().find(|family| family.name() == sip_service::DROPPED).expect("the counter");
        let of =
            |m: &&prometheus::proto::Metric| m.get_label().iter().any(|label| label.value() == "unreachable");
        dropped.get_metric().iter().find(of).map_or(0, |metric| metric.get_counter().get_value() as u64)
    }
}

/// The address that the response to a datagram goes to, and the Via that it has.
fn check(via: &str, remote: &str, reply_via: &str) {
    let server = Server::new(Fate::Answered(200));
    let flow = server.network.connect(Transport::Udp, SOURCE.parse().expect("an address"));
    server.receive(via, &flow);
    let [Packet { flow, bytes, .. }] = &server.sent()[..] else { panic!("one response") };
    assert_eq!(flow.remote.to_string(), remote, "{via}");
    let Framed::Response(response) = Framed::datagram(bytes.clone(), &Limits::default()) else {
        panic!("a response")
    };
    assert_eq!(response.text(HeaderName::Via), Some(reply_via));
}

// RFC 3261 §18.2.1, §18.2.2: to the source address, to the port of sent-by; `received` tells the address.
#[test]
fn without_rport() {
    check(
        "SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bK1",
        "198.51.100.7:5062",
        "SIP/2.0/UDP 10.0.0.1:5062;received=198.51.100.7;branch=z9hG4bK1",
    );
    check(
        "SIP/2.0/UDP phone.example.test;branch=z9hG4bK1",
        "198.51.100.7:5060",
        "SIP/2.0/UDP phone.example.test;received=198.51.100.7;branch=z9hG4bK1",
    );
    check(
        "SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bK1",
        "198.51.100.7:5062",
        "SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bK1",
    );
}

// RFC 3581 §4: to the source address and port, which `received` and `rport` tell, even where sent-by is right.
#[test]
fn with_rport() {
    check(
        "SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK1",
        "198.51.100.7:40000",
        "SIP/2.0/UDP 10.0.0.1:5062;received=198.51.100.7;rport=40000;branch=z9hG4bK1",
    );
    check(
        "SIP/2.0/UDP 198.51.100.7:40000;rport;branch=z9hG4bK1",
        "198.51.100.7:40000",
        "SIP/2.0/UDP 198.51.100.7:40000;received=198.51.100.7;rport=40000;branch=z9hG4bK1",
    );
}

// RFC 3261 §18.2.2 would have it honoured; that would aim our responses at anybody.
#[test]
fn a_maddr_is_not_honoured() {
    check(
        "SIP/2.0/UDP 198.51.100.7;maddr=203.0.113.9;branch=z9hG4bK1",
        "198.51.100.7:5060",
        "SIP/2.0/UDP 198.51.100.7;maddr=203.0.113.9;branch=z9hG4bK1",
    );
}

// RFC 3261 §18.2.2: on a stream, back on the connection of the request, wherever sent-by points.
#[test]
fn back_on_the_connection() {
    let server = Server::new(Fate::Answered(200));
    let flow = server.network.connect(Transport::Tcp, SOURCE.parse().expect("an address"));
    server.receive("SIP/2.0/TCP 10.0.0.1:5062;branch=z9hG4bK1", &flow);
    let [packet] = &server.sent()[..] else { panic!("one response") };
    assert_eq!(packet.flow, flow);
}

// RFC 3261 §18.2.2: if that connection is closed, on another one, to the source address and the port of sent-by.
#[test]
fn after_the_connection_was_closed() {
    for (via, remote) in [
        ("SIP/2.0/TCP 10.0.0.1:5062;branch=z9hG4bK1", "198.51.100.7:5062"),
        ("SIP/2.0/TCP phone.example.test;branch=z9hG4bK1", "198.51.100.7:5060"),
    ] {
        let server = Server::new(Fate::Kept);
        let flow = server.network.connect(Transport::Tcp, SOURCE.parse().expect("an address"));
        server.receive(via, &flow);
        server.network.close(flow.connection);
        server.user.answer(server.now, 200);
        let [packet] = &server.sent()[..] else { panic!("one response") };
        assert_eq!(packet.flow.remote.to_string(), remote);
        assert_eq!(packet.flow.transport, Transport::Tcp);
        assert_ne!(packet.flow.connection, flow.connection);
        assert_eq!(server.unreachable(), 0);
    }
}

// Once: a sender that cannot be connected to loses its response.
#[test]
fn after_the_connection_was_closed_for_good() {
    let server = Server::new(Fate::Kept);
    let flow = server.network.connect(Transport::Tcp, SOURCE.parse().expect("an address"));
    server.receive("SIP/2.0/TCP 10.0.0.1:5062;branch=z9hG4bK1", &flow);
    server.network.close(flow.connection);
    server.network.refuse("198.51.100.7:5062".parse().expect("an address"));
    server.user.answer(server.now, 200);
    assert!(server.sent().is_empty());
    assert_eq!(server.unreachable(), 1);
}
