//! What a crash leaves: the server is killed (SIGKILL) and started again over the same data.

use std::fs;

use anyhow::{Context, Result};
use peers::{Message, OPEN as CONFIG, Rollcall, UserAgent};

fn pidf(user: &str, tuple: &str, basic: &str) -> String {
    format!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:{user}@example.test\">\
         <tuple id=\"{tuple}\"><status><basic>{basic}</basic></status></tuple></presence>"
    )
}

/// Sends a REGISTER; without `contact` it asks for the bindings.
fn register(agent: &mut UserAgent, user: &str, cseq: u32, contact: &str) -> Result<Message> {
    agent.request(&format!(
        "REGISTER sip:example.test SIP/2.0
         From: <sip:{user}@example.test>;tag=r
         To: <sip:{user}@example.test>
         Call-ID: register-{user}
         CSeq: {cseq} REGISTER
         {contact}"
    ))?;
    agent.receive("SIP/2.0 200")
}

/// Publishes; `condition` is empty or a SIP-If-Match line. Returns the entity-tag.
fn publish(agent: &mut UserAgent, user: &str, condition: &str, body: &str) -> Result<String> {
    let content_type = if body.is_empty() { "" } else { "Content-Type: application/pidf+xml" };
    agent.request(&format!(
        "PUBLISH sip:{user}@example.test SIP/2.0
         From: <sip:{user}@example.test>;tag=p
         To: <sip:{user}@example.test>
         Call-ID: publish
         CSeq: 1 PUBLISH
         Event: presence
         {condition}
         {content_type}

{body}"
    ))?;
    Ok(agent.receive("SIP/2.0 200")?.header("SIP-ETag").to_owned())
}

/// Subscribes; within the dialog that `accepted` began, if there is one (RFC 3261 §12.2.1.1).
fn subscribe(bob: &mut UserAgent, cseq: u32, accepted: Option<&Message>, expires: u32) -> Result<Message> {
    let (uri, to) = match accepted {
        None => ("sip:alice@example.test", "<sip:alice@example.test>"),
        Some(accepted) => (accepted.header("Contact").trim_matches(['<', '>']), accepted.header("To")),
    };
    bob.request(&format!(
        "SUBSCRIBE {uri} SIP/2.0
         From: <sip:bob@example.test>;tag=s
         To: {to}
         Call-ID: watch
         CSeq: {cseq} SUBSCRIBE
         Contact: <sip:bob@{{here}}>
         Event: presence
         Expires: {expires}"
    ))?;
    bob.receive("SIP/2.0 200")
}

/// Returns when all that has happened so far is on the disk: changes get there in order, in groups.
fn settle(agent: &mut UserAgent) -> Result<()> {
    register(agent, "settled", 1, "Contact: <sip:settled@{here}>")?;
    register(agent, "settled", 2, "Contact: <sip:settled@{here}>;expires=0").map(drop)
}

fn cseq(message: &Message) -> Result<u32> {
    message.header("CSeq").split(' ').next().context("a CSeq")?.parse().context("a number")
}

/// Bindings, publications and subscriptions go on; the watcher is told nothing that it knows, and the next change in the
/// same dialog, with a higher CSeq (RFC 3261 §12.2.1.1, RFC 6665 §4.2.2).
#[test]
fn a_watcher_notices_nothing() -> Result<()> {
    let mut server = Rollcall::start(CONFIG)?;
    let (mut alice, mut bob) = (UserAgent::udp(server.sip())?, UserAgent::udp(server.sip())?);
    register(&mut alice, "alice", 1, "Contact: <sip:alice@{here}>;expires=600")?;
    let desk = publish(&mut alice, "alice", "", &pidf("alice", "desk", "open"))?;
    publish(&mut alice, "alice", "", &pidf("alice", "mobile", "closed"))?;
    let accepted = subscribe(&mut bob, 1, None, 600)?;
    let first = bob.receive("NOTIFY ")?;
    bob.answer(&first, "200 OK", "", "")?;
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
    let modified =
        publish(&mut alice, "alice", &format!("SIP-If-Match: {desk}"), &pidf("alice", "desk", "closed"))?;
    assert_ne!(modified, desk);
    let second = bob.receive("NOTIFY ")?;
    bob.answer(&second, "200 OK", "", "")?;
    assert!(cseq(&second)? > cseq(&first)?, "{first:?} {second:?}");
    assert_eq!(second.header("From"), first.header("From"));
    assert!(second.body().contains("desk") && second.body().contains("mobile"), "{second:?}");
    assert!(!second.body().contains("<basic>open</basic>"), "{second:?}");

    // The dialog is refreshed and ended by the tag from before.
    assert_eq!(subscribe(&mut bob, 2, Some(&accepted), 300)?.header("Expires"), "300");
    let third = bob.receive("NOTIFY ")?;
    bob.answer(&third, "200 OK", "", "")?;
    assert_eq!(third.body(), second.body());
    subscribe(&mut bob, 3, Some(&accepted), 0)?;
    let last = bob.receive("NOTIFY ")?;
    bob.answer(&last, "200 OK", "", "")?;
    assert!(last.header("Subscription-State").starts_with("terminated"), "{last:?}");
    Ok(())
}

/// A NOTIFY that was sent and not answered is owed: it comes again.
#[test]
fn what_was_not_answered_is_told_again() -> Result<()> {
    let mut server = Rollcall::start(CONFIG)?;
    let (mut alice, mut bob) = (UserAgent::udp(server.sip())?, UserAgent::udp(server.sip())?);
    subscribe(&mut bob, 1, None, 600)?;
    let first = bob.receive("NOTIFY ")?;
    bob.answer(&first, "200 OK", "", "")?;
    server.wait_for_metric("rollcall_notifies_total{event=\"presence\",outcome=\"2xx\"}", 1.0)?;
    publish(&mut alice, "alice", "", &pidf("alice", "desk", "open"))?;
    let lost = bob.receive("NOTIFY ")?;

    server.crash(|_| Ok(()))?;

    // A retransmission from before may come first.
    let mut again = bob.receive("NOTIFY ")?;
    while cseq(&again)? == cseq(&lost)? {
        again = bob.receive("NOTIFY ")?;
    }
    bob.answer(&again, "200 OK", "", "")?;
    assert!(cseq(&again)? > cseq(&lost)?);
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
    let desk = publish(&mut alice, "alice", "", &pidf("alice", "desk", "open"))?;
    publish(&mut alice, "alice", &format!("SIP-If-Match: {desk}\nExpires: 0"), "")?;
    let accepted = subscribe(&mut bob, 1, None, 600)?;
    let notify = bob.receive("NOTIFY ")?;
    bob.answer(&notify, "200 OK", "", "")?;
    subscribe(&mut bob, 2, Some(&accepted), 0)?;
    let last = bob.receive("NOTIFY ")?;
    bob.answer(&last, "200 OK", "", "")?;
    server.wait_for_metric("rollcall_subscriptions{domain=\"example.test\",event=\"presence\"}", 0.0)?;
    settle(&mut alice)?;

    server.crash(|_| Ok(()))?;

    let listed = register(&mut alice, "alice", 3, "")?;
    let contacts: Vec<_> = listed.headers("Contact").collect();
    assert!(
        matches!(contacts[..], [contact] if contact.starts_with("<sip:alice@192.0.2.7>")),
        "{contacts:?}"
    );
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
