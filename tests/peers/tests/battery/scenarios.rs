//! What users see, of whom each may turn to either node.

use anyhow::Result;
use peers::{Message, UserAgent, contacts, page, pidf, publish, register, subscribe, told};

use crate::world::{BINDINGS, NOTIFIED, PUBLICATIONS, SUBSCRIPTIONS, World};

pub(crate) fn who_registers_is_reached(world: &mut World) -> Result<()> {
    let mut alice = UserAgent::udp(world.first().sip())?;
    let contact = format!("<sip:alice@{}", alice.address());
    register(&mut alice, "alice", 1, "Contact: <sip:alice@{here}>;expires=600")?;
    world.wait_for(BINDINGS, 1.0)?;
    assert_eq!(contacts(world.second(), "alice")?, [contact]);
    let mut carol = UserAgent::udp(world.second().sip())?;
    let message = page(&mut carol, &mut alice)?;
    assert_eq!(message.sender_port()?, world.second().sip_port());

    // And who leaves the other is left everywhere.
    alice.turn_to(world.second().sip())?;
    register(&mut alice, "alice", 2, "Contact: <sip:alice@{here}>;expires=0")?;
    world.wait_for(BINDINGS, 0.0)?;
    assert_eq!(contacts(world.first(), "alice")?, [""; 0]);
    Ok(())
}

/// A publication is one on all nodes, by its entity-tag (RFC 3903 §6), and each watcher is told by one node, once.
pub(crate) fn a_publication_is_one(world: &mut World) -> Result<()> {
    let (mut alice, mut bob) = (UserAgent::udp(world.first().sip())?, UserAgent::udp(world.second().sip())?);
    subscribe(&mut bob, 1, None, 600)?;
    let first = told(&mut bob)?;
    world.wait_for(SUBSCRIPTIONS, 1.0)?;
    let desk = publish(&mut alice, "", &pidf("desk", "open"))?;
    let second = told(&mut bob)?;
    assert_eq!((second.cseq()?, second.sender_port()?), (first.cseq()? + 1, world.second().sip_port()));
    assert!(second.body().contains("<basic>open</basic>"), "{second:?}");

    // Modified, refreshed and removed on the other node: every tag is known there.
    world.settle()?;
    alice.turn_to(world.second().sip())?;
    let desk = publish(&mut alice, &format!("SIP-If-Match: {desk}"), &pidf("desk", "closed"))?;
    let third = told(&mut bob)?;
    assert!(third.body().contains("<basic>closed</basic>"), "{third:?}");
    let desk = publish(&mut alice, &format!("SIP-If-Match: {desk}\nExpires: 300"), "")?;
    world.settle()?;
    alice.turn_to(world.first().sip())?;
    publish(&mut alice, &format!("SIP-If-Match: {desk}\nExpires: 0"), "")?;
    let last = told(&mut bob)?;
    assert_eq!(last.cseq()?, third.cseq()? + 1, "a refresh changes nothing");
    assert!(!last.body().contains("desk"), "{last:?}");
    world.wait_for(PUBLICATIONS, 0.0)?;
    world.second().wait_for_metric(NOTIFIED, 4.0)?;
    assert_eq!(world.sum(NOTIFIED)?, 4.0, "nobody is told twice");
    Ok(())
}

/// A watcher that turns to another node is notified by that one (RFC 6665 §4.1.2.2).
pub(crate) fn a_subscription_moves_with_its_refresh(world: &mut World) -> Result<()> {
    let (mut alice, mut bob) = (UserAgent::udp(world.first().sip())?, UserAgent::udp(world.first().sip())?);
    let accepted = subscribe(&mut bob, 1, None, 600)?;
    let first = told(&mut bob)?;
    assert_eq!(first.sender_port()?, world.first().sip_port());
    world.wait_for(SUBSCRIPTIONS, 1.0)?;
    world.settle()?;
    // As through one name that both nodes have.
    let (at_first, at_second) = (world.first().sip().to_string(), world.second().sip().to_string());
    let moved = Message::new(accepted.text().replace(&at_first, &at_second));
    bob.turn_to(world.second().sip())?;
    subscribe(&mut bob, 2, Some(&moved), 600)?;
    let second = told(&mut bob)?;
    assert_eq!(second.sender_port()?, world.second().sip_port());
    assert!(second.cseq()? > first.cseq()?);
    world.settle()?;

    publish(&mut alice, "", &pidf("desk", "open"))?;
    let third = told(&mut bob)?;
    assert_eq!((third.cseq()?, third.sender_port()?), (second.cseq()? + 1, world.second().sip_port()));
    assert!(third.body().contains("desk"), "told once when it moves: {third:?}");
    subscribe(&mut bob, 3, Some(&third), 0)?;
    let last = told(&mut bob)?;
    assert!(last.header("Subscription-State").starts_with("terminated"), "{last:?}");
    world.wait_for(SUBSCRIPTIONS, 0.0)
}

/// A publication ends by its time on all nodes, and whoever notifies says so once (RFC 3903 §6.6).
pub(crate) fn what_ends_by_itself_is_told_once(world: &mut World) -> Result<()> {
    let (mut alice, mut bob) = (UserAgent::udp(world.first().sip())?, UserAgent::udp(world.second().sip())?);
    subscribe(&mut bob, 1, None, 600)?;
    let first = told(&mut bob)?;
    world.wait_for(SUBSCRIPTIONS, 1.0)?;
    publish(&mut alice, "Expires: 1", &pidf("mobile", "open"))?;
    let second = told(&mut bob)?;
    assert!(second.body().contains("mobile"), "{second:?}");
    let third = told(&mut bob)?;
    assert!(!third.body().contains("mobile"), "{third:?}");
    assert_eq!((second.cseq()?, third.cseq()?), (first.cseq()? + 1, first.cseq()? + 2));
    world.wait_for(PUBLICATIONS, 0.0)?;
    publish(&mut alice, "", &pidf("desk", "open"))?;
    assert_eq!(told(&mut bob)?.cseq()?, third.cseq()? + 1, "that it ended is told once");
    Ok(())
}

/// A node dies: its bindings, publications and subscriptions live on, in the same dialogs (RFC 3261 §12.2.1.1).
pub(crate) fn what_was_acknowledged_survives_a_loss(world: &mut World) -> Result<()> {
    let (mut alice, mut bob) = (UserAgent::udp(world.first().sip())?, UserAgent::udp(world.first().sip())?);
    subscribe(&mut bob, 1, None, 600)?;
    let first = told(&mut bob)?;
    world.first().wait_for_metric(NOTIFIED, 1.0)?;
    for user in 0..40 {
        register(&mut alice, &format!("u{user}"), 1, &format!("Contact: <sip:u{user}@192.0.2.1>"))?;
    }
    let desk = publish(&mut alice, "", &pidf("desk", "open"))?;
    let second = told(&mut bob)?;
    assert_eq!(second.cseq()?, first.cseq()? + 1);
    world.first().wait_for_metric(NOTIFIED, 2.0)?;
    world.wait_for(SUBSCRIPTIONS, 1.0)?;
    world.settle()?;

    world.lose_first()?;
    alice.turn_to(world.second().sip())?;
    publish(&mut alice, &format!("SIP-If-Match: {desk}"), &pidf("desk", "closed"))?;
    let third = told(&mut bob)?;
    assert!(third.cseq()? > second.cseq()?, "{second:?} {third:?}");
    assert_eq!(
        (third.header("From"), third.sender_port()?),
        (first.header("From"), world.second().sip_port())
    );
    assert!(third.body().contains("<basic>closed</basic>"), "{third:?}");
    world.second().wait_for_metric(BINDINGS, 40.0)?;
    for user in 0..40 {
        let contact = format!("<sip:u{user}@192.0.2.1");
        assert_eq!(contacts(world.second(), &format!("u{user}"))?, [contact]);
    }

    // Who comes back has it all, and leaves the watcher to whom it is.
    world.bring_back_first()?;
    world.wait_for(BINDINGS, 40.0)?;
    world.wait_for(PUBLICATIONS, 1.0)?;
    publish(&mut alice, "", &pidf("car", "open"))?;
    let last = told(&mut bob)?;
    assert_eq!((last.cseq()?, last.sender_port()?), (third.cseq()? + 1, world.second().sip_port()));
    Ok(())
}

/// What was removed stays so when a node that had it comes back.
pub(crate) fn what_was_removed_does_not_come_back(world: &mut World) -> Result<()> {
    let mut alice = UserAgent::udp(world.first().sip())?;
    register(&mut alice, "alice", 1, "Contact: <sip:alice@192.0.2.1>")?;
    register(&mut alice, "dora", 1, "Contact: <sip:dora@192.0.2.1>")?;
    let desk = publish(&mut alice, "", &pidf("desk", "open"))?;
    world.wait_for(BINDINGS, 2.0)?;
    world.wait_for(PUBLICATIONS, 1.0)?;
    world.settle()?;
    world.lose_first()?;
    alice.turn_to(world.second().sip())?;
    register(&mut alice, "alice", 2, "Contact: <sip:alice@192.0.2.1>;expires=0")?;
    publish(&mut alice, &format!("SIP-If-Match: {desk}\nExpires: 0"), "")?;
    world.bring_back_first()?;
    world.wait_for(BINDINGS, 1.0)?;
    world.wait_for(PUBLICATIONS, 0.0)?;
    assert_eq!(contacts(world.first(), "alice")?, [""; 0]);
    assert_eq!(contacts(world.first(), "dora")?, ["<sip:dora@192.0.2.1"]);
    Ok(())
}
