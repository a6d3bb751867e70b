//! Which contacts are reached by the flow that they were registered on, and which by their URI.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // what fails here fails the test; a start is any instant

mod common;

use common::{alice, flow, request};
use registrar::{Config, Contacts, Register};
use sip_message::Transport::{self, Tcp, Tls, Udp, Ws, Wss};

/// Whether a contact, registered with that Via from that source, is called on the flow.
fn by_flow(transport: Transport, source: &str, via: &str, contact: &str) -> bool {
    let request = request(&format!(
        "REGISTER sip:example.test SIP/2.0
         Via: SIP/2.0/{transport} {via};branch=z9hG4bK1
         From: <sip:alice@example.test>;tag=1
         To: <sip:alice@example.test>
         Call-ID: 1
         CSeq: 1 REGISTER
         Contact: <{contact}>"
    ));
    let source = flow(transport, source);
    let register = Register::read(&request, &source, &alice(), &Config::default()).unwrap();
    let Contacts::Listed(contacts) = register.contacts else { panic!("no contact") };
    let [contact] = &contacts[..] else { panic!("not one contact") };
    assert!(contact.flow.is_none_or(|flow| flow == source));
    contact.flow.is_some()
}

// RFC 3261 §18, RFC 3581 §1: over UDP only a client behind NAT is called at its source.
#[test]
fn udp() {
    for (source, via, contact, expected, why) in [
        ("192.0.2.1:5060", "192.0.2.1:5060", "sip:a@192.0.2.1:5060", false, "no NAT"),
        (
            "192.0.2.1:5060",
            "192.0.2.1:5060",
            "sip:a@192.0.2.1:9999",
            false,
            "another socket of the same host",
        ),
        ("192.0.2.1:5060", "192.0.2.1:5060", "sip:b@192.0.2.9:5060", false, "another device"),
        ("192.0.2.1:31000", "10.0.0.5:5060", "sip:a@10.0.0.5:5060", true, "NAT"),
        ("192.0.2.1:31000", "10.0.0.5:5060", "sip:a@172.16.0.5:5060", true, "NAT, two interfaces"),
        ("192.0.2.1:31000", "10.0.0.5:5060", "sip:a@192.0.2.1:31000", false, "NAT, but it knows its address"),
        ("192.0.2.1:5060", "10.0.0.5:5060", "sip:a@phone.example.test", false, "a name is looked up"),
        ("192.0.2.1:5060", "provisioning.example.test", "sip:b@192.0.2.9", false, "who knows whose"),
        (
            "[2001:db8::5]:5060",
            "[2001:db8::5]:5060",
            "sip:a@[2001:DB8:0::5]",
            false,
            "one address, two spellings",
        ),
        ("[::ffff:192.0.2.1]:5060", "192.0.2.1", "sip:a@192.0.2.1", false, "IPv4 on an IPv6 socket"),
        ("[2001:db8::5]:5060", "[fd00::5]:5060", "sip:a@[fd00::5]", true, "NAT66"),
    ] {
        assert_eq!(by_flow(Udp, source, via, contact), expected, "{why}");
    }
}

// RFC 5626 §1, RFC 7118 appendix B.1: a client's connection is used again for its own contact.
#[test]
fn connections() {
    for (transport, source, via, contact, expected, why) in [
        (
            Tcp,
            "192.0.2.1:40000",
            "192.0.2.1:5060",
            "sip:a@192.0.2.1:5060;transport=tcp",
            true,
            "its listener",
        ),
        (Tcp, "192.0.2.1:40000", "192.0.2.1:40000", "sip:a@192.0.2.1:40000", true, "its connection"),
        (Tcp, "192.0.2.1:40000", "192.0.2.1", "sip:a@192.0.2.1", true, "its default port"),
        (Tcp, "192.0.2.1:40000", "192.0.2.1:5060", "sip:b@192.0.2.1:5070", false, "another socket there"),
        (Tcp, "192.0.2.1:40000", "192.0.2.1:5060", "sip:b@192.0.2.9:5060", false, "another device"),
        (Tcp, "192.0.2.1:40000", "192.0.2.1:5060", "sip:a@192.0.2.1:5060;transport=udp", false, "wants UDP"),
        (Tcp, "192.0.2.1:40000", "10.0.0.5:5060", "sip:a@10.0.0.5:5060;transport=tcp", true, "NAT"),
        (Tcp, "192.0.2.1:40000", "pc.example.test", "sip:a@PC.example.test", true, "the name in its Via"),
        (Tcp, "192.0.2.1:40000", "pc.example.test", "sip:a@other.example.test", false, "another name"),
        (Tls, "192.0.2.1:40000", "192.0.2.1:40000", "sip:a@192.0.2.1:40000;transport=tls", true, "TLS"),
        (
            Tls,
            "192.0.2.1:40000",
            "192.0.2.1:40000",
            "sip:a@192.0.2.1:40000;transport=tcp",
            true,
            "TLS as TCP",
        ),
        (Wss, "192.0.2.1:40000", "df7jal.invalid", "sip:a@df7jal.invalid;transport=ws", true, "a browser"),
        (Ws, "192.0.2.1:40000", "x.invalid", "sip:a@y.invalid;transport=ws", true, "a browser"),
        (Ws, "192.0.2.1:40000", "x.invalid", "tel:+1", false, "not SIP"),
    ] {
        assert_eq!(by_flow(transport, source, via, contact), expected, "{why}");
    }
}

// RFC 3327 §5.4, RFC 5626 §6: what came through a proxy does not go to the proxy's socket for that reason.
#[test]
fn through_a_proxy() {
    for extra in ["Via: SIP/2.0/UDP 10.0.0.5;branch=z9hG4bK2", "Path: <sip:p.example.test;lr>"] {
        let request = request(&format!(
            "REGISTER sip:example.test SIP/2.0
             Via: SIP/2.0/UDP 10.0.0.4;branch=z9hG4bK1
             {extra}
             From: <sip:alice@example.test>;tag=1
             To: <sip:alice@example.test>
             Call-ID: 1
             CSeq: 1 REGISTER
             Contact: <sip:a@10.0.0.5>"
        ));
        let source = flow(Udp, "192.0.2.7:5060");
        let register = Register::read(&request, &source, &alice(), &Config::default()).unwrap();
        let Contacts::Listed(contacts) = register.contacts else { panic!("no contact") };
        assert!(contacts.iter().all(|contact| contact.flow.is_none()), "{extra}");
    }
}
