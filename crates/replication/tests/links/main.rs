//! Nodes that talk over sockets: what they prove, and what they carry.

mod node;
#[path = "../table/mod.rs"]
mod table;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use node::{Authority, LIMIT, Network, until};

const REFUSED: &str = "rollcall_replication_refused_total";

#[test]
fn nodes_of_one_secret_have_the_same() {
    let network = Network::of_secret();
    let (a, b) = (network.start("a", &["b"]), network.start("b", &["a"]));
    a.put("x", "of a");
    b.put("y", "of b");
    for node in [&a, &b] {
        until(|| node.names() == ["x", "y"]);
        until(|| node.is_caught_up());
    }
    // Whoever ends has told all.
    a.put("z", "last");
    drop(a);
    assert_eq!(b.names(), ["x", "y", "z"]);
}

#[test]
fn nodes_with_certificates_have_the_same() {
    let network = Network::of_authority(&Authority::new());
    let (a, b) = (network.start("a", &["b"]), network.start("b", &["a"]));
    a.put("x", "of a");
    b.put("y", "of b");
    for node in [&a, &b] {
        until(|| node.names() == ["x", "y"]);
    }
}

#[test]
fn another_authority_is_another_cluster() {
    let network = Network::of_authority(&Authority::new());
    let a = network.start("a", &["b"]);
    let b = network.with(&Authority::new()).start("b", &["a"]);
    a.put("x", "of a");
    b.put("y", "of b");
    for node in [&a, &b] {
        until(|| node.metric(REFUSED) > 2.0);
    }
    assert_eq!((a.names(), b.names()), (vec!["x".into()], vec!["y".into()]));
}

/// Connections that prove nothing take nobody's place: the oldest gives way.
#[test]
fn those_who_only_connect_keep_nobody_out() {
    let network = Network::of_secret();
    let a = network.start("a", &["b"]);
    let mut idle: Vec<_> =
        (0..200).map(|_| TcpStream::connect(network.address("a")).expect("a connection")).collect();
    until(|| a.metric(REFUSED) >= 100.0);
    let b = network.start("b", &["a"]);
    b.put("y", "of b");
    until(|| a.names() == ["y"]);
    let mut octet = [0];
    let first = idle.first_mut().expect("the oldest");
    first.set_read_timeout(Some(LIMIT)).expect("set");
    assert!(matches!(first.read(&mut octet), Ok(0) | Err(_)), "it is closed");
}

#[test]
fn whoever_speaks_no_tls_is_told_nothing() {
    let network = Network::of_secret();
    let a = network.start("a", &["b"]);
    a.put("x", "of a");
    let mut stranger = TcpStream::connect(network.address("a")).expect("a connection");
    stranger.set_read_timeout(Some(LIMIT)).expect("set");
    stranger.write_all(b"ROLLCALL, please, and all that you have\r\n\r\n").expect("written");
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = stranger.read_to_end(&mut answer);
    assert!(answer.len() <= 7, "at most an alert: {answer:?}");
    until(|| a.metric(REFUSED) == 1.0);
}

/// Far more than buffers hold, to a node that begins with nothing, while changes go on.
#[test]
fn a_large_state_is_carried_in_pieces() {
    let network = Network::of_secret();
    let a = network.start("a", &["b"]);
    let text = "x".repeat(4_000);
    for number in 0..12_000 {
        a.put(&format!("name {number}"), &text);
    }
    let b = network.start("b", &["a"]);
    for number in 0..500 {
        a.put(&format!("late {number}"), &text);
        b.put(&format!("other {number}"), &text);
    }
    until(|| a.names().len() == 13_000 && b.names().len() == 13_000);
    until(|| b.is_caught_up());
    assert_eq!(a.names(), b.names());
}

/// A name that was changed on both at once is the same on both, whichever it is.
#[test]
fn changes_that_cross_come_to_one() {
    let network = Network::of_secret();
    let (a, b) = (network.start("a", &["b"]), network.start("b", &["a"]));
    for round in 0..50 {
        a.put("x", &format!("a {round}"));
        b.put("x", &format!("b {round}"));
        std::thread::yield_now();
    }
    until(|| a.get("x") == b.get("x"));
    until(|| a.is_caught_up());
    until(|| b.is_caught_up());
}

/// A node that stops does not wait for long for one that takes nothing.
#[test]
fn a_node_ends_though_others_are_silent() {
    let network = Network::of_secret();
    let a = network.start("a", &["b"]);
    a.put("x", "of a");
    let began = std::time::Instant::now();
    drop(a);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
