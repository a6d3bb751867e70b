//! Nodes that are killed, that lose their disk, and that lose each other.

use anyhow::{Context, Result, bail};
use peers::{
    Cable, Message, Rollcall, Signal, UserAgent, contacts, pidf, publish, register, subscribe, told,
    told_from,
};

use crate::nodes::{
    BINDINGS, NOTIFIED, PUBLICATIONS, Plan, SUBSCRIPTIONS, lose_disk, pair, pair_by_cables, settle,
    wait_until_up,
};

/// Bob watches at one node; returns what he is told when another node has all of it.
fn watch(bob: &mut UserAgent, at: &mut Rollcall, other: &mut Rollcall) -> Result<Message> {
    subscribe(bob, 1, None, 600)?;
    let first = told(bob)?;
    at.wait_for_metric(NOTIFIED, 1.0)?;
    other.wait_for_metric(SUBSCRIPTIONS, 1.0)?;
    settle(at, other)?;
    Ok(first)
}

/// The watcher of a node that was killed is told by the other, in the same dialog (RFC 3261 §12.2.1.1).
#[test]
fn a_survivor_notifies_the_watchers_of_the_dead() -> Result<()> {
    let (_plan, mut a, mut b) = pair("")?;
    let (mut alice, mut bob) = (UserAgent::udp(b.sip())?, UserAgent::udp(a.sip())?);
    let first = watch(&mut bob, &mut a, &mut b)?;

    a.kill()?;
    publish(&mut alice, "", &pidf("desk", "open"))?;
    let second = told(&mut bob)?;
    assert_eq!(second.sender_port()?, b.sip_port());
    assert!(second.cseq()? > first.cseq()?, "{first:?} {second:?}");
    assert_eq!(second.header("From"), first.header("From"));
    assert!(second.body().contains("<basic>open</basic>"), "{second:?}");

    // What comes now is told at once, and the dialog is refreshed at the node that said so in its Contact.
    publish(&mut alice, "", &pidf("mobile", "closed"))?;
    let third = told(&mut bob)?;
    assert_eq!(third.cseq()?, second.cseq()? + 1);
    bob.turn_to(b.sip())?;
    subscribe(&mut bob, 2, Some(&third), 300)?;
    assert_eq!(told(&mut bob)?.cseq()?, third.cseq()? + 1);

    // Who comes back is told that it is no longer its subscription.
    a.start_again()?;
    wait_until_up(&mut b, 1)?;
    publish(&mut alice, "", &pidf("car", "open"))?;
    let last = told(&mut bob)?;
    assert_eq!((last.cseq()?, last.sender_port()?), (third.cseq()? + 2, b.sip_port()));
    a.wait_for_metric(PUBLICATIONS, 3.0)?;
    assert_eq!(a.metric(NOTIFIED)?, 0.0, "nobody is told twice");
    Ok(())
}

/// A node that comes back and finds nobody says what it has to say; the watcher knows that it is old, as another has said more
/// (RFC 3261 §12.2.2), and it learns so itself when the two meet.
#[test]
fn an_old_owner_is_below_the_new_one() -> Result<()> {
    let (_plan, mut a, mut b, cables) = pair_by_cables("start_wait_ms = 100")?;
    let (mut alice, mut bob) = (UserAgent::udp(b.sip())?, UserAgent::udp(a.sip())?);
    watch(&mut bob, &mut a, &mut b)?;
    a.kill()?;
    publish(&mut alice, "", &pidf("desk", "open"))?;
    let newer = told(&mut bob)?;
    assert_eq!(newer.sender_port()?, b.sip_port());

    cables.iter().for_each(Cable::cut);
    a.start_again()?;
    publish(&mut UserAgent::udp(a.sip())?, "", &pidf("mobile", "open"))?;
    let older = bob.receive("NOTIFY ")?;
    assert_eq!(older.sender_port()?, a.sip_port());
    assert!(older.cseq()? < newer.cseq()?, "{older:?} {newer:?}");
    bob.answer(&older, "500 Server Internal Error", "", "")?;

    cables.iter().for_each(Cable::mend);
    let mut last = bob.receive("NOTIFY ")?;
    while last.cseq()? < newer.cseq()? {
        bob.answer(&last, "500 Server Internal Error", "", "")?;
        last = bob.receive("NOTIFY ")?;
    }
    assert_eq!((last.cseq()?, last.sender_port()?), (newer.cseq()? + 1, b.sip_port()));
    bob.answer(&last, "200 OK", "", "")
}

/// A node that was frozen is none when it goes on: its watchers are another's, and it takes nobody else's.
#[test]
fn a_node_that_was_frozen_gives_way() -> Result<()> {
    let (_plan, mut a, mut b) = pair("")?;
    let (mut alice, mut bob) = (UserAgent::udp(b.sip())?, UserAgent::udp(a.sip())?);
    let first = watch(&mut bob, &mut a, &mut b)?;

    a.signal(Signal::STOP)?;
    publish(&mut alice, "", &pidf("desk", "open"))?;
    let second = told(&mut bob)?;
    assert_eq!(second.sender_port()?, b.sip_port());
    assert!(second.cseq()? > first.cseq()?);

    a.signal(Signal::CONT)?;
    a.wait_for("requests are taken again")?;
    for node in [&mut a, &mut b] {
        wait_until_up(node, 1)?;
        node.wait_for_metric(PUBLICATIONS, 1.0)?;
    }
    alice.turn_to(a.sip())?;
    publish(&mut alice, "", &pidf("mobile", "open"))?;
    // What it says before it knows is below what the watcher had, and refused (RFC 3261 §12.2.2).
    let third = told_from(&mut bob, second.cseq()?)?;
    assert_eq!((third.cseq()?, third.sender_port()?), (second.cseq()? + 1, b.sip_port()));
    b.wait_for_metric(NOTIFIED, 2.0)?;
    assert_eq!(a.metric(NOTIFIED)?, 1.0, "nothing but the first was taken from it");
    Ok(())
}

/// A node that begins with an empty disk has all before it serves.
#[test]
fn a_node_that_lost_its_disk_has_all_again() -> Result<()> {
    let (_plan, mut a, mut b) = pair("")?;
    let (mut alice, mut bob) = (UserAgent::udp(a.sip())?, UserAgent::udp(a.sip())?);
    for number in 0..300 {
        register(&mut alice, &format!("user-{number}"), 1, "Contact: <sip:u@192.0.2.1>")?;
    }
    let desk = publish(&mut alice, "", &pidf("desk", "open"))?;
    let accepted = subscribe(&mut bob, 1, None, 600)?;
    let first = told(&mut bob)?;
    a.wait_for_metric(NOTIFIED, 1.0)?;
    for (metric, value) in [(BINDINGS, 300.0), (PUBLICATIONS, 1.0), (SUBSCRIPTIONS, 1.0)] {
        b.wait_for_metric(metric, value)?;
    }
    settle(&a, &mut b)?;

    a.kill()?;
    lose_disk(&a)?;
    a.start_again()?;

    for (metric, value) in [(BINDINGS, 300.0), (PUBLICATIONS, 1.0), (SUBSCRIPTIONS, 1.0)] {
        assert_eq!(a.metric(metric)?, value, "{metric}");
    }
    publish(&mut alice, &format!("SIP-If-Match: {desk}"), &pidf("desk", "closed"))?;
    let second = told(&mut bob)?;
    assert!(second.cseq()? > first.cseq()?, "{first:?} {second:?}");
    assert!(second.body().contains("<basic>closed</basic>"), "{second:?}");
    subscribe(&mut bob, 2, Some(&accepted), 300)?;
    assert!(told(&mut bob)?.cseq()? > second.cseq()?);
    Ok(())
}

/// What is removed while two nodes cannot talk is removed on both when they can.
#[test]
fn what_was_removed_during_a_cut_stays_removed() -> Result<()> {
    let (_plan, mut a, mut b, cables) = pair_by_cables("")?;
    let mut agent = UserAgent::udp(a.sip())?;
    register(&mut agent, "alice", 1, "Contact: <sip:alice@192.0.2.1>, <sip:alice@192.0.2.2>")?;
    let desk = publish(&mut agent, "", &pidf("desk", "open"))?;
    b.wait_for_metric(BINDINGS, 2.0)?;
    b.wait_for_metric(PUBLICATIONS, 1.0)?;

    cables.iter().for_each(Cable::cut);
    for node in [&mut a, &mut b] {
        wait_until_up(node, 0)?;
    }
    agent.turn_to(b.sip())?;
    register(&mut agent, "alice", 2, "Contact: <sip:alice@192.0.2.1>;expires=0")?;
    publish(&mut agent, &format!("SIP-If-Match: {desk}\nExpires: 0"), "")?;
    agent.turn_to(a.sip())?;
    register(&mut agent, "carol", 1, "Contact: <sip:carol@192.0.2.3>")?;
    assert_eq!((a.metric(BINDINGS)?, b.metric(BINDINGS)?), (3.0, 1.0));

    cables.iter().for_each(Cable::mend);
    for node in [&mut a, &mut b] {
        wait_until_up(node, 1)?;
        node.wait_for_metric(BINDINGS, 2.0)?;
        node.wait_for_metric(PUBLICATIONS, 0.0)?;
        assert_eq!(contacts(node, "alice")?, ["<sip:alice@192.0.2.2"]);
        assert_eq!(contacts(node, "carol")?, ["<sip:carol@192.0.2.3"]);
    }
    Ok(())
}

/// With `ack = "peer"`, what was acknowledged is on the other node.
#[test]
fn what_a_peer_acknowledged_survives_the_machine() -> Result<()> {
    let (_plan, mut a, mut b) = pair("ack = \"peer\"")?;
    let mut agent = UserAgent::udp(a.sip())?;
    for number in 0..40 {
        register(&mut agent, &format!("user-{number}"), 1, "Contact: <sip:u@192.0.2.1>")?;
    }
    a.kill()?;
    lose_disk(&a)?;
    assert_eq!(b.metric(BINDINGS)?, 40.0);
    // Alone, it goes on, and says so.
    agent.turn_to(b.sip())?;
    register(&mut agent, "user-40", 1, "Contact: <sip:u@192.0.2.1>")?;
    b.wait_for_metric("rollcall_replication_unacked_total", 1.0)?;
    a.start_again()?;
    assert_eq!(a.metric(BINDINGS)?, 41.0);
    assert_eq!(a.metric("rollcall_replication_unacked_total")?, 0.0);
    Ok(())
}

/// A node that is stopped in order tells the others what it changed last.
#[test]
fn a_node_that_stops_leaves_nothing_untold() -> Result<()> {
    let (_plan, mut a, mut b) = pair("")?;
    let mut agent = UserAgent::udp(a.sip())?;
    for number in 0..40 {
        register(&mut agent, &format!("user-{number}"), 1, "Contact: <sip:u@192.0.2.1>")?;
    }
    a.signal(Signal::TERM)?;
    assert!(a.wait()?.success());
    assert_eq!(b.metric(BINDINGS)?, 40.0);
    wait_until_up(&mut b, 0)
}

/// Of two survivors one notifies, each some.
#[test]
fn two_survivors_share_the_watchers_of_the_dead() -> Result<()> {
    const WATCHERS: usize = 12;
    let plan = Plan::new(&["a", "b", "c"], "")?;
    let mut nodes = plan.start()?;
    let mut bobs = Vec::new();
    for _ in 0..WATCHERS {
        let mut bob = UserAgent::udp(nodes[0].sip())?;
        subscribe(&mut bob, 1, None, 600)?;
        let first = told(&mut bob)?;
        bobs.push((bob, first));
    }
    nodes[0].wait_for_metric(NOTIFIED, WATCHERS as f64)?;
    let (a, others) = nodes.split_first_mut().context("nodes")?;
    for node in others {
        node.wait_for_metric(SUBSCRIPTIONS, WATCHERS as f64)?;
        settle(a, node)?;
    }

    nodes[0].kill()?;
    publish(&mut UserAgent::udp(nodes[1].sip())?, "", &pidf("desk", "open"))?;
    for (bob, first) in &mut bobs {
        let second = told(bob)?;
        assert!(second.cseq()? > first.cseq()? && second.body().contains("open"), "{second:?}");
    }
    let notified = |node: &Rollcall| node.metric(NOTIFIED).unwrap_or(0.0);
    // Each is told once, so the two make all of them.
    publish(&mut UserAgent::udp(nodes[2].sip())?, "", &pidf("mobile", "open"))?;
    for (bob, _) in &mut bobs {
        while !told(bob)?.body().contains("mobile") {}
    }
    let (b, c) = (notified(&nodes[1]), notified(&nodes[2]));
    assert!(b + c <= 2.0 * WATCHERS as f64, "{b} and {c}");
    Ok(())
}

/// Of three nodes one that is alone acts for nobody: it may be the one that was cut off.
#[test]
fn a_minority_notifies_nobody() -> Result<()> {
    let plan = Plan::new(&["a", "b", "c"], "")?;
    let mut nodes = plan.start()?;
    let [a, b, c] = &mut nodes[..] else { bail!("three nodes") };
    let mut bob = UserAgent::udp(a.sip())?;
    let first = watch(&mut bob, a, c)?;

    b.kill()?;
    wait_until_up(c, 1)?;
    a.kill()?;
    wait_until_up(c, 0)?;
    publish(&mut UserAgent::udp(c.sip())?, "", &pidf("desk", "open"))?;
    a.start_again()?;
    let second = told(&mut bob)?;
    assert_eq!(second.sender_port()?, a.sip_port());
    assert!(second.cseq()? > first.cseq()? && second.body().contains("desk"), "{second:?}");
    assert_eq!(c.metric(NOTIFIED)?, 0.0);
    Ok(())
}
