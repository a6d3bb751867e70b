//! What one node is told, the others have.

use anyhow::Result;
use peers::{Message, UserAgent, contacts, page, pidf, publish, register, subscribe, told};

use crate::nodes::{BINDINGS, NOTIFIED, PUBLICATIONS, Plan, SUBSCRIPTIONS, pair, settle};

#[test]
fn who_registers_on_one_node_is_reached_through_the_other() -> Result<()> {
    let (_plan, a, mut b) = pair("")?;
    let mut alice = UserAgent::udp(a.sip())?;
    let contact = format!("<sip:alice@{}", alice.address());
    register(&mut alice, "alice", 1, "Contact: <sip:alice@{here}>;expires=600")?;
    b.wait_for_metric(BINDINGS, 1.0)?;
    assert_eq!(contacts(&b, "alice")?, [contact]);

    let mut carol = UserAgent::udp(b.sip())?;
    let message = page(&mut carol, &mut alice)?;
    assert_eq!(message.sender_port()?, b.sip_port());

    // And who leaves the other is left everywhere.
    alice.turn_to(b.sip())?;
    register(&mut alice, "alice", 2, "Contact: <sip:alice@{here}>;expires=0")?;
    assert_eq!(contacts(&b, "alice")?, [""; 0]);
    let mut a = a;
    a.wait_for_metric(BINDINGS, 0.0)?;
    assert_eq!(contacts(&a, "alice")?, [""; 0]);
    Ok(())
}

/// A publication is one on all nodes, by its entity-tag (RFC 3903 §6), and each watcher is told by one node, once.
#[test]
fn what_is_published_on_one_node_is_told_by_the_other() -> Result<()> {
    let (_plan, mut a, mut b) = pair("")?;
    let (mut alice, mut bob) = (UserAgent::udp(a.sip())?, UserAgent::udp(b.sip())?);
    subscribe(&mut bob, 1, None, 600)?;
    let first = told(&mut bob)?;
    a.wait_for_metric(SUBSCRIPTIONS, 1.0)?;

    let desk = publish(&mut alice, "", &pidf("desk", "open"))?;
    let second = told(&mut bob)?; // so it is on the other node
    assert_eq!((second.cseq()?, second.sender_port()?), (first.cseq()? + 1, b.sip_port()));
    assert!(second.body().contains("<basic>open</basic>"), "{second:?}");

    // Modified, refreshed and removed on the other node: every tag is known there.
    alice.turn_to(b.sip())?;
    let desk = publish(&mut alice, &format!("SIP-If-Match: {desk}"), &pidf("desk", "closed"))?;
    let third = told(&mut bob)?;
    assert!(third.body().contains("<basic>closed</basic>"), "{third:?}");
    let desk = publish(&mut alice, &format!("SIP-If-Match: {desk}\nExpires: 300"), "")?;
    settle(&b, &mut a)?;
    alice.turn_to(a.sip())?;
    publish(&mut alice, &format!("SIP-If-Match: {desk}\nExpires: 0"), "")?;
    let last = told(&mut bob)?;
    assert_eq!(last.cseq()?, third.cseq()? + 1, "a refresh changes nothing");
    assert!(!last.body().contains("desk"), "{last:?}");
    for node in [&mut a, &mut b] {
        node.wait_for_metric(PUBLICATIONS, 0.0)?;
    }
    b.wait_for_metric(NOTIFIED, 4.0)?;
    assert_eq!(a.metric(NOTIFIED)?, 0.0, "nobody is told twice");
    Ok(())
}

/// A watcher that turns to another node is notified by that one (RFC 6665 §4.1.2.2).
#[test]
fn a_subscription_moves_with_its_refresh() -> Result<()> {
    let (_plan, mut a, mut b) = pair("")?;
    let (mut alice, mut bob) = (UserAgent::udp(a.sip())?, UserAgent::udp(a.sip())?);
    let accepted = subscribe(&mut bob, 1, None, 600)?;
    let first = told(&mut bob)?;
    assert_eq!(first.sender_port()?, a.sip_port());
    b.wait_for_metric(SUBSCRIPTIONS, 1.0)?;
    // As through one name that both nodes have.
    let at_b = Message::new(accepted.text().replace(&a.sip().to_string(), &b.sip().to_string()));
    bob.turn_to(b.sip())?;
    subscribe(&mut bob, 2, Some(&at_b), 600)?;
    let second = told(&mut bob)?;
    assert_eq!(second.sender_port()?, b.sip_port());
    assert!(second.cseq()? > first.cseq()?);
    settle(&b, &mut a)?;

    publish(&mut alice, "", &pidf("desk", "open"))?;
    let third = told(&mut bob)?;
    assert_eq!((third.cseq()?, third.sender_port()?), (second.cseq()? + 1, b.sip_port()));
    assert!(third.body().contains("desk"), "told once when it moves: {third:?}");
    subscribe(&mut bob, 3, Some(&third), 0)?;
    let last = told(&mut bob)?;
    assert!(last.header("Subscription-State").starts_with("terminated"), "{last:?}");
    a.wait_for_metric(SUBSCRIPTIONS, 0.0)
}

#[test]
fn three_nodes_have_the_same() -> Result<()> {
    let plan = Plan::new(&["a", "b", "c"], "")?;
    let mut nodes = plan.start()?;
    for (at, node) in nodes.iter().enumerate() {
        let mut agent = UserAgent::udp(node.sip())?;
        register(&mut agent, &format!("user-{at}"), 1, "Contact: <sip:u@192.0.2.1>")?;
    }
    for node in &mut nodes {
        node.wait_for_metric(BINDINGS, 3.0)?;
        assert_eq!(node.metric("rollcall_replication_unreadable_total")?, 0.0);
    }
    for user in 0..3 {
        assert_eq!(contacts(&nodes[(user + 1) % 3], &format!("user-{user}"))?, ["<sip:u@192.0.2.1"]);
    }
    Ok(())
}

/// Publications stay where they were made if the configuration says so; bindings do not.
#[test]
fn publications_can_be_left_out() -> Result<()> {
    let (_plan, a, mut b) = pair("publications = false")?;
    let mut alice = UserAgent::udp(a.sip())?;
    publish(&mut alice, "", &pidf("desk", "open"))?;
    register(&mut alice, "alice", 1, "Contact: <sip:alice@{here}>")?;
    b.wait_for_metric(BINDINGS, 1.0)?;
    assert_eq!(a.metric(PUBLICATIONS)?, 1.0);
    assert_eq!(b.metric(PUBLICATIONS)?, 0.0);
    Ok(())
}
