//! Who may connect, and what of a configuration is refused.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use peers::{Rollcall, UserAgent, binary, free_port, register};

use crate::nodes::{BINDINGS, Plan, local, pair, wait_until_up};

const REFUSED: &str = "rollcall_replication_refused_total{reason=\"handshake\"}";

/// Whoever speaks no TLS is turned away, and disturbs nobody.
#[test]
fn a_stranger_is_turned_away() -> Result<()> {
    let (plan, mut a, mut b) = pair("")?;
    for octets in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &[0; 70_000], b"\x16\x03\x01\xff\xff", b""] {
        let mut stream = TcpStream::connect(plan.places[0].link)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // It may be closed before all is written.
        let _ = stream.write_all(octets);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 100, "at most an alert: {answer:?}");
    }
    a.wait_for_metric(REFUSED, 4.0)?;
    a.wait_for("it did not prove that it is a node")?;
    let mut agent = UserAgent::udp(a.sip())?;
    register(&mut agent, "alice", 1, "Contact: <sip:alice@192.0.2.1>")?;
    b.wait_for_metric(BINDINGS, 1.0)?;
    assert_eq!(a.metric("rollcall_replication_peer_up{peer=\"b\"}")?, 1.0);
    Ok(())
}

/// A node with another secret is none of the cluster, whatever its name.
#[test]
fn another_secret_is_another_cluster() -> Result<()> {
    let plan = Plan::new(&["a", "b"], "start_wait_ms = 100")?;
    let ours = plan.config(0, |to| plan.places[to].link);
    let other = plan.secret().with_file_name("other.key");
    fs::write(&other, "the secret of quite another cluster, as long as that\n")?;
    let theirs = plan.config(1, |to| plan.places[to].link);
    let theirs = theirs.replace(&plan.secret().display().to_string(), &other.display().to_string());
    let (mut a, mut b) = (Rollcall::start(&ours)?, Rollcall::start(&theirs)?);
    for node in [&mut a, &mut b] {
        node.wait_for("a peer is not connected")?;
        wait_until_up(node, 0)?;
        node.wait_for("did not prove that it is a node")?;
        assert!(node.metric(REFUSED)? > 0.0);
    }
    let mut agent = UserAgent::udp(a.sip())?;
    register(&mut agent, "alice", 1, "Contact: <sip:alice@192.0.2.1>")?;
    assert_eq!(b.metric(BINDINGS)?, 0.0, "nothing was told");
    Ok(())
}

#[test]
fn an_address_in_use_ends_with_69() -> Result<()> {
    let plan = Plan::new(&["a", "b"], "")?;
    let _taken = TcpListener::bind(plan.places[0].link)?;
    let folder = tempfile::tempdir()?;
    let listen = format!("[[listen]]\ntransport = \"udp\"\naddress = \"{}\"\n", local(free_port()?));
    let config = plan.config(0, |to| plan.places[to].link);
    fs::write(folder.path().join("taken.toml"), listen + &config)?;
    let output = Command::new(binary()?)
        .current_dir(folder.path())
        .args(["run", "--config", "taken.toml", "--override", "admin.address=127.0.0.1:0"])
        .output()?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{error}");
    assert!(error.contains(&format!("replication: {}: ", plan.places[0].link)), "{error}");
    Ok(())
}

#[test]
fn faults_of_the_configuration_are_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("good.key"), [7; 32])?;
    fs::write(folder.path().join("short.key"), "guess me")?;
    let listen = "[replication]\nlisten = \"127.0.0.1:5070\"\n";
    let good = format!("{listen}secret_file = \"good.key\"\n");
    let b = "[[replication.peer]]\nnode = \"b\"\naddress = \"192.0.2.2:5070\"\n";
    for (text, place, says) in [
        (
            format!("[replication]\nsecret_file = \"good.key\"\n{b}"),
            "1: replication.listen",
            "address and port",
        ),
        (good.clone(), "1: replication.peer", "at least one"),
        (format!("{listen}{b}"), "1: replication", "nodes prove themselves"),
        (format!("{listen}secret_file = \"none.key\"\n{b}"), "3: replication.secret_file", "No such file"),
        (format!("{listen}secret_file = \"short.key\"\n{b}"), "3: replication.secret_file", "found 8"),
        (format!("{good}ca = \"ca.pem\"\n{b}"), "3: replication.secret_file", "not both"),
        (
            format!("{listen}key = \"x.key\"\nca = \"ca.pem\"\n{b}"),
            "1: replication.certificate",
            "go together",
        ),
        (
            format!("{listen}key = \"good.key\"\ncertificate = \"good.key\"\nca = \"ca.pem\"\n{b}"),
            "4: replication.certificate",
            "certificate",
        ),
        (format!("{good}ack = \"all\"\n{b}"), "4: replication.ack", "expected `local` or `peer`"),
        (format!("{good}ack_wait_ms = 1\n{b}"), "4: replication.ack_wait_ms", "10 to 10000"),
        (format!("{good}peer_timeout_ms = 10\n{b}"), "4: replication.peer_timeout_ms", "500 to 600000"),
        (format!("{good}{b}{}", b.replace('2', "3")), "8: replication.peer[1].node", "there already"),
        (format!("{good}{}", b.replace("\"b\"", "\"a\"")), "5: replication.peer[0].node", "another node"),
        (format!("{good}{}", b.replace(":5070", "")), "6: replication.peer[0].address", "host:port"),
        (format!("{good}{b}compat = \"repro\"\n"), "6: replication.peer[0].address", "private"),
        (format!("{good}{b}compat = \"other\"\n"), "7: replication.peer[0].compat", "unknown variant"),
        (
            format!("{good}{}", (0..5).map(|n| b.replace("\"b\"", &format!("\"{n}\""))).collect::<String>()),
            "4: replication.peer",
            "at most 4",
        ),
        // Two names of one CRC-32.
        (
            format!("{good}{}{}", b.replace("\"b\"", "\"plumless\""), b.replace("\"b\"", "\"buckeroo\"")),
            "8: replication.peer[1].node",
            "checksum",
        ),
    ] {
        fs::write(folder.path().join("bad.toml"), &text)?;
        let output = Command::new(binary()?)
            .current_dir(folder.path())
            .args(["check", "--config", "bad.toml"])
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{text}: {error}");
        assert!(error.contains(&format!("bad.toml:{place}: ")) && error.contains(says), "{text}: {error}");
    }
    let text = format!("{good}{b}");
    fs::write(folder.path().join("good.toml"), text)?;
    let output = Command::new(binary()?)
        .current_dir(folder.path())
        .args(["check", "--config", "good.toml"])
        .output()?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && shown.contains("peer_timeout_ms = 5000"), "{shown}");
    Ok(())
}
