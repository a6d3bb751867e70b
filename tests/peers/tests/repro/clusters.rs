//! A node of a cluster of our own that has a repro beside it.

use std::fs;
use std::net::SocketAddr;

use anyhow::Result;
use peers::{OPEN, Rollcall, UserAgent, contacts, free_port, pidf, publish, register, subscribe, told};

use crate::scripted::{Place, Wire, pubinfo, reginfo, value};

const BINDINGS: &str = "rollcall_registrar_bindings{domain=\"example.test\"}";
const UP: &str = "rollcall_replication_peer_up";

/// What the repro says, all nodes have; what any of them changes, the repro is told, by the one that speaks with it.
#[test]
fn a_repro_beside_a_pair() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("cluster.key");
    fs::write(&secret, "the secret of a cluster that only tests have\n")?;
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (at_a, at_b, link) = (local(free_port()?), local(free_port()?), local(free_port()?));
    let place = Place::new()?;
    let node = |name: &str, listen: SocketAddr, peer: &str, at: SocketAddr| {
        format!(
            "{OPEN}\n[server]\nnode = \"{name}\"\ndrain_seconds = 0\n[replication]\nlisten = \"{listen}\"\n\
             secret_file = \"{}\"\nstart_wait_ms = 0\n[[replication.peer]]\nnode = \"{peer}\"\naddress = \"{at}\"\n",
            secret.display()
        )
    };
    let repro = format!(
        "[[replication.peer]]\nnode = \"repro\"\ncompat = \"repro\"\nlisten = \"{link}\"\naddress = \"{}\"\n",
        place.address()?
    );
    let mut a = Rollcall::start(&(node("a", at_a, "b", at_b) + &repro))?;
    let mut b = Rollcall::start(&node("b", at_b, "a", at_a))?;
    let mut wire = place.dump(&reginfo("dumped", "<sip:u@192.0.2.1>", 120, 9))?;
    let (mut reader, _) = Wire::read(link)?;
    a.wait_for_metric(UP, 2.0)?;
    b.wait_for_metric(UP, 1.0)?;

    // From the repro to both.
    b.wait_for_metric(BINDINGS, 1.0)?;
    wire.say(reginfo("heard", "<sip:u@192.0.2.2>", 120, 0))?;
    b.wait_for_metric(BINDINGS, 2.0)?;
    assert_eq!(contacts(&b, "heard")?, ["<sip:u@192.0.2.2"]);
    let (mut alice, mut bob) = (UserAgent::udp(b.sip())?, UserAgent::udp(b.sip())?);
    subscribe(&mut bob, 1, None, 600)?;
    told(&mut bob)?;
    wire.say(pubinfo("614f5da98eb89b30", 120, 0, &pidf("desk", "open")))?;
    assert!(told(&mut bob)?.body().contains("<basic>open</basic>"));

    // From the other node to the repro; what the repro said itself it is not told.
    register(&mut alice, "alice", 1, "Contact: <sip:alice@192.0.2.3>")?;
    assert!(reader.event("reginfo")?.contains("sip:alice@192.0.2.3"));
    let tag = publish(&mut alice, "SIP-If-Match: 614f5da98eb89b30\nExpires: 120", "")?;
    assert_eq!(value(&reader.event("pubinfo")?, "etag")?, tag);
    let ended = reader.event("pubinfo")?;
    assert_eq!((value(&ended, "etag")?, value(&ended, "expires")?), ("614f5da98eb89b30", "0"));
    wire.say(reginfo("heard", "<sip:u@192.0.2.2>", 0, 0))?;
    b.wait_for_metric(BINDINGS, 2.0)?;
    assert_eq!(reader.rest(), "");
    Ok(())
}
