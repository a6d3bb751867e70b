//! Two servers that know each other only as repros.

use std::net::SocketAddr;

use anyhow::Result;
use peers::{
    Cable, Rollcall, UserAgent, contacts, free_port, page, pidf, publish, register, subscribe, told,
};

use crate::scripted::config;

const BINDINGS: &str = "rollcall_registrar_bindings{domain=\"example.test\"}";
const PUBLICATIONS: &str = "rollcall_presence_publications{domain=\"example.test\"}";
const UP: &str = "rollcall_replication_peer_up";

/// Bindings and publications may live for seconds.
const SHORT: &str = "\n[presence]\nmin_expires_seconds = 1\n[registrar]\nmin_expires_seconds = 1\n";

struct Pair {
    a: Rollcall,
    b: Rollcall,
    cables: [Cable; 2],
}

fn pair() -> Result<Pair> {
    pair_with("")
}

/// `tables` are further ones of the configuration.
fn pair_with(tables: &str) -> Result<Pair> {
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (to_a, to_b) = (local(free_port()?), local(free_port()?));
    let cables = [Cable::new(to_a)?, Cable::new(to_b)?];
    let mut a = Rollcall::start(&(config("a", "", "b", to_a, cables[1].address()) + tables))?;
    let mut b = Rollcall::start(&(config("b", "", "a", to_b, cables[0].address()) + tables))?;
    for node in [&mut a, &mut b] {
        node.wait_for_metric(UP, 1.0)?;
    }
    Ok(Pair { a, b, cables })
}

/// Returns after three seconds by the clock of a node: a binding lives so long. It is the least between two changes of one thing
/// on the two sides whose order the wire can tell, as it has ages in whole seconds (§6.8).
fn three_seconds(node: &mut Rollcall) -> Result<()> {
    let before = node.metric(BINDINGS)?;
    register(&mut UserAgent::udp(node.sip())?, "clock", 1, "Contact: <sip:clock@192.0.2.1>;expires=3")?;
    node.wait_for_metric(BINDINGS, before)
}

#[test]
fn who_registers_on_one_is_known_on_the_other_and_who_leaves_too() -> Result<()> {
    let Pair { mut a, mut b, .. } = pair()?;
    let mut alice = UserAgent::udp(a.sip())?;
    register(&mut alice, "alice", 1, "Contact: <sip:alice@{here}>;expires=600, <sip:alice@192.0.2.9>;q=0.1")?;
    b.wait_for_metric(BINDINGS, 2.0)?;
    let contact = format!("<sip:alice@{}", alice.address());
    assert!(contacts(&b, "alice")?.contains(&contact));
    let mut carol = UserAgent::udp(b.sip())?;
    page(&mut carol, &mut alice)?;

    // One leaves here, the other there.
    register(&mut alice, "alice", 2, "Contact: <sip:alice@192.0.2.9>;expires=0")?;
    b.wait_for_metric(BINDINGS, 1.0)?;
    alice.turn_to(b.sip())?;
    register(&mut alice, "alice", 3, "Contact: <sip:alice@{here}>;expires=0")?;
    a.wait_for_metric(BINDINGS, 0.0)?;
    assert_eq!(contacts(&a, "alice")?, [""; 0]);
    Ok(())
}

#[test]
fn what_is_published_on_one_is_told_by_the_other() -> Result<()> {
    let Pair { a, mut b, .. } = pair()?;
    let (mut alice, mut bob) = (UserAgent::udp(a.sip())?, UserAgent::udp(b.sip())?);
    subscribe(&mut bob, 1, None, 600)?;
    told(&mut bob)?;
    let desk = publish(&mut alice, "", &pidf("desk", "open"))?;
    assert!(told(&mut bob)?.body().contains("<basic>open</basic>"));
    publish(&mut alice, &format!("SIP-If-Match: {desk}\nExpires: 0"), "")?;
    assert!(!told(&mut bob)?.body().contains("desk"));
    b.wait_for_metric(PUBLICATIONS, 0.0)
}

#[test]
fn what_was_removed_during_a_cut_stays_removed() -> Result<()> {
    let Pair { mut a, mut b, cables } = pair_with(SHORT)?;
    let mut agent = UserAgent::udp(a.sip())?;
    register(&mut agent, "alice", 1, "Contact: <sip:alice@192.0.2.1>, <sip:alice@192.0.2.2>")?;
    let desk = publish(&mut agent, "", &pidf("desk", "open"))?;
    b.wait_for_metric(BINDINGS, 2.0)?;
    b.wait_for_metric(PUBLICATIONS, 1.0)?;

    cables.iter().for_each(Cable::cut);
    for node in [&mut a, &mut b] {
        node.wait_for_metric(UP, 0.0)?;
    }
    three_seconds(&mut a)?;
    agent.turn_to(b.sip())?;
    register(&mut agent, "alice", 2, "Contact: <sip:alice@192.0.2.1>;expires=0")?;
    let closed = publish(&mut agent, &format!("SIP-If-Match: {desk}"), &pidf("desk", "closed"))?;
    publish(&mut agent, &format!("SIP-If-Match: {closed}\nExpires: 0"), "")?;
    agent.turn_to(a.sip())?;
    register(&mut agent, "carol", 1, "Contact: <sip:carol@192.0.2.3>")?;
    assert_eq!((a.metric(BINDINGS)?, b.metric(BINDINGS)?), (3.0, 1.0));

    cables.iter().for_each(Cable::mend);
    for node in [&mut a, &mut b] {
        node.wait_for_metric(UP, 1.0)?;
        node.wait_for_metric(BINDINGS, 2.0)?;
        node.wait_for_metric(PUBLICATIONS, 0.0)?;
        assert_eq!(contacts(node, "alice")?, ["<sip:alice@192.0.2.2"]);
        assert_eq!(contacts(node, "carol")?, ["<sip:carol@192.0.2.3"]);
    }
    Ok(())
}

/// A publisher turns to the other server with the latest tag; when its first publication would have ended, nobody is told
/// `closed`.
#[test]
fn a_publisher_turns_to_the_other() -> Result<()> {
    let Pair { mut a, mut b, .. } = pair_with(SHORT)?;
    let mut alice = UserAgent::udp(a.sip())?;
    let (mut bob, mut dan) = (UserAgent::udp(a.sip())?, UserAgent::udp(b.sip())?);
    let desk = publish(&mut alice, "Expires: 3", &pidf("desk", "open"))?;
    b.wait_for_metric(PUBLICATIONS, 1.0)?;
    for watcher in [&mut bob, &mut dan] {
        subscribe(watcher, 1, None, 600)?;
        assert!(told(watcher)?.body().contains("<basic>open</basic>"));
    }
    alice.turn_to(b.sip())?;
    let refreshed = publish(&mut alice, &format!("SIP-If-Match: {desk}\nExpires: 600"), "")?;
    // The first one is over on both: told, or by its time.
    a.wait_for_metric(PUBLICATIONS, 1.0)?;
    let began = std::time::Instant::now();
    register(&mut alice, "timer", 1, "Contact: <sip:t@192.0.2.1>;expires=4")?;
    b.wait_for_metric(BINDINGS, 0.0)?;
    a.wait_for_metric(BINDINGS, 0.0)?;
    assert!(began.elapsed().as_secs() >= 3, "beyond the end of the first");
    for node in [&mut a, &mut b] {
        assert_eq!(node.metric(PUBLICATIONS)?, 1.0);
    }
    publish(&mut alice, &format!("SIP-If-Match: {refreshed}"), &pidf("desk", "closed"))?;
    for watcher in [&mut bob, &mut dan] {
        let next = told(watcher)?;
        assert!(
            next.body().contains("<basic>closed</basic>"),
            "the next that is told is what is published: {next:?}"
        );
    }
    Ok(())
}

/// Whatever happens on either side while they cannot talk, each contact and publication on one of them: when they can, both
/// have what was said last. On one side changes may follow each other at once; from one side to the other three seconds pass.
#[test]
fn both_have_the_same_after_every_cut() -> Result<()> {
    const USERS: usize = 6;
    let Pair { mut a, mut b, cables } = pair_with(SHORT)?;
    let nodes = [a.sip(), b.sip()];
    let mut agent = UserAgent::udp(nodes[0])?;
    let mut registered = [[false; 3]; USERS];
    let mut tags: Vec<Option<String>> = vec![None; USERS];
    let mut random = 20_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap_or(0) % below
    };
    let mut cseq = 0;
    for round in 0..4 {
        // Each thing changes on one side alone until they have talked.
        let side: Vec<usize> = (0..4 * USERS).map(|_| next(2)).collect();
        cables.iter().for_each(Cable::cut);
        for node in [&mut a, &mut b] {
            node.wait_for_metric(UP, 0.0)?;
        }
        for _ in 0..60 {
            cseq += 1;
            let (user, thing) = (next(USERS), next(4));
            agent.turn_to(nodes[side[user * 4 + thing]])?;
            if let Some(is_there) = registered[user].get_mut(thing) {
                *is_there = next(3) > 0;
                let expires = if *is_there { 600 } else { 0 };
                let contact = format!("Contact: <sip:u@192.0.2.{thing}>;expires={expires}");
                register(&mut agent, &format!("user-{user}"), cseq, &contact)?;
                continue;
            }
            let condition = tags[user].as_ref().map(|tag| format!("SIP-If-Match: {tag}")).unwrap_or_default();
            let is_removal = tags[user].is_some() && next(3) == 0;
            let tag = if is_removal {
                publish(&mut agent, &format!("{condition}\nExpires: 0"), "")?
            } else {
                publish(&mut agent, &condition, &pidf(&format!("tuple-{user}"), "open"))?
            };
            tags[user] = (!is_removal).then_some(tag);
        }
        three_seconds(&mut a)?;
        let count = registered.iter().flatten().filter(|is_there| **is_there).count() as f64;
        let published = tags.iter().flatten().count() as f64;
        cables.iter().for_each(Cable::mend);
        for node in [&mut a, &mut b] {
            node.wait_for_metric(UP, 1.0)?;
            node.wait_for_metric(BINDINGS, count)?;
            node.wait_for_metric(PUBLICATIONS, published)?;
            for (user, is_there) in registered.iter().enumerate() {
                let mut found = contacts(node, &format!("user-{user}"))?;
                found.sort_unstable();
                let there = is_there.iter().enumerate().filter(|(_, is_there)| **is_there);
                let expected: Vec<_> = there.map(|(at, _)| format!("<sip:u@192.0.2.{at}")).collect();
                assert_eq!(found, expected, "user {user}, round {round}");
            }
        }
    }
    Ok(())
}
