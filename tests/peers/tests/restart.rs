//! What a crash leaves: the server is killed (SIGKILL) and started again over the same data.

use std::fs;

use anyhow::{Context, Result};
use peers::{OPEN as CONFIG, Rollcall, UserAgent, contacts, pidf, publish, register, subscribe, told};

/// Returns when all that has happened so far is on the disk: changes get there in order, in groups.
fn settle(agent: &mut UserAgent) -> Result<()> {
    register(agent, "settled", 1, "Contact: <sip:settled@{here}>")?;
    register(agent, "settled", 2, "Contact: <sip:settled@{here}>;expires=0").map(drop)
}

/// Bindings, publications and subscriptions go on; the watcher is told nothing that it knows, and the next change in the
/// same dialog, with a higher CSeq (RFC 3261 §12.2.1.1, RFC 6665 §4.2.2).
#[test]
fn a_watcher_notices_nothing() -> Result<()> {
    let mut server = Rollcall::start(CONFIG)?;
    let (mut alice, mut bob) = (UserAgent::udp(server.sip())?, UserAgent::udp(server.sip())?);
    register(&mut alice, "alice", 1, "Contact: <sip:alice@{here}>;expires=600")?;
    let desk = publish(&mut alice, "", &pidf("desk", "open"))?;
    publish(&mut alice, "", &pidf("mobile", "closed"))?;
    let accepted = subscribe(&mut bob, 1, None, 600)?;
    let first = told(&mut bob)?;
    server.wait_for_metric("rollcall_notifies_total{event=\"presence\",outcome=\"2xx\"}", 1.0)?;
    settle(&mut alice)?;

    server.crash(|_| Ok(()))?;

    assert_eq!(server.metric("rollcall_registrar_bindings{domain=\"example.test\"}")?, 1.0);
    assert_eq!(server.metric("rollcall_presence_publications{domain=\"example.test\"}")?, 2.0);
    assert_eq!(server.metric("rollcall_subscriptions{domain=\"example.test\",event=\"presence\"}")?, 1.0);
    let listed = register(&mut alice, "alice", 2, "")?;
    let contact = listed.header("Contact");
    assert!(contact.starts_with(&format!("<sip:alice@{}>", alice.address())), "{contact}");
    let expires: u32 = contact.rsplit_once("expires=").context("expires")?.1.parse()?;
    assert!((1..=600).contains(&expires), "{contact}");

    // The first that Bob hears is what Alice changes now, by the entity-tag from before.
    let modified = publish(&mut alice, &format!("SIP-If-Match: {desk}"), &pidf("desk", "closed"))?;
    assert_ne!(modified, desk);
    let second = told(&mut bob)?;
    assert!(second.cseq()? > first.cseq()?, "{first:?} {second:?}");
    assert_eq!(second.header("From"), first.header("From"));
    assert!(second.body().contains("desk") && second.body().contains("mobile"), "{second:?}");
    assert!(!second.body().contains("<basic>open</basic>"), "{second:?}");

    // The dialog is refreshed and ended by the tag from before.
    assert_eq!(subscribe(&mut bob, 2, Some(&accepted), 300)?.header("Expires"), "300");
    let third = told(&mut bob)?;
    assert_eq!(third.body(), second.body());
    subscribe(&mut bob, 3, Some(&accepted), 0)?;
    let last = told(&mut bob)?;
    assert!(last.header("Subscription-State").starts_with("terminated"), "{last:?}");
    Ok(())
}

/// A NOTIFY that was sent and not answered is owed: it comes again.
#[test]
fn what_was_not_answered_is_told_again() -> Result<()> {
    let mut server = Rollcall::start(CONFIG)?;
    let (mut alice, mut bob) = (UserAgent::udp(server.sip())?, UserAgent::udp(server.sip())?);
    subscribe(&mut bob, 1, None, 600)?;
    told(&mut bob)?;
    server.wait_for_metric("rollcall_notifies_total{event=\"presence\",outcome=\"2xx\"}", 1.0)?;
    publish(&mut alice, "", &pidf("desk", "open"))?;
    let lost = bob.receive("NOTIFY ")?;

    server.crash(|_| Ok(()))?;

    // A retransmission from before may come first.
    let mut again = bob.receive("NOTIFY ")?;
    while again.cseq()? == lost.cseq()? {
        again = bob.receive("NOTIFY ")?;
    }
    bob.answer(&again, "200 OK", "", "")?;
    assert!(again.cseq()? > lost.cseq()?);
    assert_eq!(again.body(), lost.body());
    Ok(())
}

/// What was removed stays removed.
#[test]
fn nothing_comes_back() -> Result<()> {
    let mut server = Rollcall::start(CONFIG)?;
    let (mut alice, mut bob) = (UserAgent::udp(server.sip())?, UserAgent::udp(server.sip())?);
    register(&mut alice, "alice", 1, "Contact: <sip:alice@{here}>, <sip:alice@192.0.2.7>")?;
    register(&mut alice, "alice", 2, "Contact: <sip:alice@{here}>;expires=0")?;
    let desk = publish(&mut alice, "", &pidf("desk", "open"))?;
    publish(&mut alice, &format!("SIP-If-Match: {desk}\nExpires: 0"), "")?;
    let accepted = subscribe(&mut bob, 1, None, 600)?;
    told(&mut bob)?;
    subscribe(&mut bob, 2, Some(&accepted), 0)?;
    told(&mut bob)?;
    server.wait_for_metric("rollcall_subscriptions{domain=\"example.test\",event=\"presence\"}", 0.0)?;
    settle(&mut alice)?;

    server.crash(|_| Ok(()))?;

    assert_eq!(contacts(&server, "alice")?, ["<sip:alice@192.0.2.7"]);
    for metric in [
        "rollcall_presence_publications{domain=\"example.test\"}",
        "rollcall_subscriptions{domain=\"example.test\",event=\"presence\"}",
    ] {
        assert_eq!(server.metric(metric)?, 0.0, "{metric}");
    }
    Ok(())
}

/// Every REGISTER that got its 200 is there, whenever the server was killed.
#[test]
fn what_was_acknowledged_is_there() -> Result<()> {
    let mut server = Rollcall::start(CONFIG)?;
    let mut agent = UserAgent::udp(server.sip())?;
    let mut acknowledged = 0;
    for round in 0..3 {
        for number in acknowledged..acknowledged + 40 {
            register(&mut agent, &format!("user-{number}"), 1, "Contact: <sip:u@192.0.2.1>")?;
        }
        acknowledged += 40;
        server.crash(|_| Ok(()))?;
        let there = server.metric("rollcall_registrar_bindings{domain=\"example.test\"}")?;
        assert_eq!(there, f64::from(acknowledged), "round {round}");
    }
    Ok(())
}

/// A damaged journal does not keep the server from starting: what is readable is there, the rest is set aside.
#[test]
fn a_damaged_journal_costs_what_is_damaged() -> Result<()> {
    let mut server = Rollcall::start(CONFIG)?;
    let mut agent = UserAgent::udp(server.sip())?;
    for number in 0..40 {
        register(&mut agent, &format!("user-{number}"), 1, "Contact: <sip:u@192.0.2.1>")?;
    }
    let journal = |folder: &std::path::Path| folder.join("rollcall-data").join("journal");
    server.crash(|folder| {
        for entry in fs::read_dir(journal(folder))? {
            let path = entry?.path();
            let mut octets = fs::read(&path)?;
            let user = octets.windows(8).position(|w| w == b"user-20@");
            if let Some(at) = user {
                octets[at + 5] = b'x';
                fs::write(&path, octets)?;
            }
        }
        Ok(())
    })?;
    assert_eq!(server.metric("rollcall_registrar_bindings{domain=\"example.test\"}")?, 39.0);
    assert!(server.metric("rollcall_journal_damaged_bytes")? > 0.0);
    server.wait_for("was damaged")?;
    server.wait_for_metric("rollcall_journal_compactions_total", 1.0)?;
    // And once it was written anew nothing is damaged any more.
    server.crash(|folder| {
        let names: Vec<_> = fs::read_dir(journal(folder))?.flatten().map(|e| e.path()).collect();
        assert!(names.iter().any(|path| path.extension().is_some_and(|e| e == "damaged")), "{names:?}");
        Ok(())
    })?;
    assert_eq!(server.metric("rollcall_registrar_bindings{domain=\"example.test\"}")?, 39.0);
    assert_eq!(server.metric("rollcall_journal_damaged_bytes")?, 0.0);
    Ok(())
}
