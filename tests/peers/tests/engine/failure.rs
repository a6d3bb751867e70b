//! Engines that die, and come back with what they had or without it; nodes that are killed, frozen and cut off.

use anyhow::Result;
use peers::{
    Cable, Redis, RedisCluster, Rollcall, Sentinel, Signal, UserAgent, contacts, pidf, publish, register,
    subscribe, told, told_from,
};

use crate::nodes::{BINDINGS, FENCED, NOTIFIED, PUBLICATIONS, Plan, SUBSCRIPTIONS, wait_until_up};

/// Registers some users, each at an address that tells which it is.
fn register_users(at: &Rollcall, users: std::ops::Range<u32>) -> Result<()> {
    // A node that the machine stops for a moment drops datagrams from before.
    let mut agent = UserAgent::tcp(at.sip())?;
    for user in users {
        register(
            &mut agent,
            &format!("u{user}"),
            1,
            &format!("Contact: <sip:u{user}@192.0.2.1>;expires=600"),
        )?;
    }
    Ok(())
}

/// Users lie in all shards: what holds for these holds for any.
fn assert_all_are_there(at: &mut Rollcall, users: u32) -> Result<()> {
    at.wait_for_metric(BINDINGS, users.into())?;
    for user in (0..users).step_by(7) {
        assert_eq!(contacts(at, &format!("u{user}"))?, [format!("<sip:u{user}@192.0.2.1")]);
    }
    Ok(())
}

/// What was acknowledged is said again to an engine that has lost it: it is there when all who knew it are gone.
#[test]
fn an_engine_that_lost_all_is_told_again() -> Result<()> {
    let mut redis = Redis::start()?;
    let plan = Plan::new("alone", &[redis.address()], "ack = \"peer\"")?.in_memory();
    let [mut a, mut b] = plan.start_all(["a", "b"])?;
    register_users(&a, 0..60)?;
    publish(&mut UserAgent::udp(a.sip())?, "", &pidf("desk", "open"))?;
    b.wait_for_metric(BINDINGS, 60.0)?;
    redis.kill()?;
    register_users(&b, 60..80)?;
    redis.start_again(false)?;
    assert_all_are_there(&mut a, 80)?;
    for node in [&mut a, &mut b] {
        node.wait_for_metric("rollcall_replication_lag_seconds", 0.0)?;
    }
    let count = ["EVAL", "return #redis.call('KEYS', '*:r*')", "0"];
    redis.wait_until("all", &count, |count| count.parse().is_ok_and(|count: u32| count >= 81))?;
    for mut node in [a, b] {
        node.kill()?;
    }
    let mut c = plan.start("c")?;
    assert_all_are_there(&mut c, 80)?;
    c.wait_for_metric(PUBLICATIONS, 1.0)
}

/// Any number of nodes may join, and each has all.
#[test]
fn who_joins_later_has_all() -> Result<()> {
    let redis = Redis::start()?;
    let plan = Plan::new("alone", &[redis.address()], "ack = \"peer\"")?.in_memory();
    let mut nodes = Vec::from(plan.start_all(["a", "b", "c"])?);
    register_users(&nodes[0], 0..50)?;
    for name in ["d", "e", "f"] {
        let mut node = plan.start(name)?;
        assert_all_are_there(&mut node, 50)?;
        nodes.push(node);
    }
    register_users(&nodes[5], 50..60)?;
    nodes.iter_mut().try_for_each(|node| assert_all_are_there(node, 60))
}

/// While the engine is away each node serves from what it has, and the others hear of it later.
#[test]
fn nodes_go_on_without_their_engine() -> Result<()> {
    let mut redis = Redis::start()?;
    let plan = Plan::new("alone", &[redis.address()], "ack = \"peer\"\nack_wait_ms = 50")?;
    let [a, mut b] = plan.start_all(["a", "b"])?;
    let (mut alice, mut bob) = (UserAgent::udp(a.sip())?, UserAgent::udp(a.sip())?);
    subscribe(&mut bob, 1, None, 600)?;
    let first = told(&mut bob)?;
    b.wait_for_metric(SUBSCRIPTIONS, 1.0)?;
    redis.kill()?;
    let desk = publish(&mut alice, "", &pidf("desk", "open"))?;
    let second = told(&mut bob)?;
    assert_eq!((second.cseq()?, second.sender_port()?), (first.cseq()? + 1, a.sip_port()));
    register_users(&a, 0..30)?;
    assert!(a.metric("rollcall_replication_unacked_total")? > 0.0, "that it was not there is counted");
    redis.start_again(true)?;
    assert_all_are_there(&mut b, 30)?;
    b.wait_for_metric(PUBLICATIONS, 1.0)?;
    // Nobody took the watcher from a node that was only without its engine.
    alice.turn_to(b.sip())?;
    publish(&mut alice, &format!("SIP-If-Match: {desk}"), &pidf("desk", "closed"))?;
    let third = told(&mut bob)?;
    assert_eq!((third.cseq()?, third.sender_port()?), (second.cseq()? + 1, a.sip_port()));
    Ok(())
}

/// A node that was frozen is none when it goes on: it reads what was done for it before it does anything.
#[test]
fn a_node_that_was_frozen_gives_way() -> Result<()> {
    let redis = Redis::start()?;
    let plan = Plan::new("alone", &[redis.address()], "ack = \"peer\"")?.with_timeout(2_000);
    let [mut a, mut b] = plan.start_all(["a", "b"])?;
    let (mut alice, mut bob) = (UserAgent::udp(b.sip())?, UserAgent::udp(a.sip())?);
    subscribe(&mut bob, 1, None, 600)?;
    let first = told(&mut bob)?;
    a.wait_for_metric(NOTIFIED, 1.0)?;
    b.wait_for_metric(SUBSCRIPTIONS, 1.0)?;

    a.signal(Signal::STOP)?;
    publish(&mut alice, "", &pidf("desk", "open"))?;
    let second = told(&mut bob)?;
    assert_eq!(second.sender_port()?, b.sip_port());
    assert!(second.cseq()? > first.cseq()?);

    a.signal(Signal::CONT)?;
    a.wait_for("requests are taken again")?;
    a.wait_for_metric(PUBLICATIONS, 1.0)?;
    alice.turn_to(a.sip())?;
    publish(&mut alice, "", &pidf("mobile", "open"))?;
    // What it says before it knows is below what the watcher had, and refused (RFC 3261 §12.2.2).
    let third = told_from(&mut bob, second.cseq()?)?;
    assert_eq!((third.cseq()?, third.sender_port()?), (second.cseq()? + 1, b.sip_port()));
    assert!(third.body().contains("mobile"), "{third:?}");
    Ok(())
}

/// What a node still sends when another acts for it is refused, until it has read what that one did; then it is told.
#[test]
fn a_node_that_others_act_for_is_fenced() -> Result<()> {
    let redis = Redis::start()?;
    let plan = Plan::new("alone", &[redis.address()], "ack = \"peer\"")?;
    let [mut a, mut b] = plan.start_all(["a", "b"])?;
    let fence = "for _, key in ipairs(redis.call('KEYS', '*:fences')) do
                   for _, node in ipairs(redis.call('HKEYS', key)) do redis.call('HSET', key, node, '99 deadbeef') end
                 end
                 return 0";
    redis.ask(&["EVAL", fence, "0"])?;
    register_users(&a, 0..30)?;
    assert_all_are_there(&mut b, 30)?;
    assert!(a.metric(FENCED)? > 0.0);
    assert_eq!((a.metric("rollcall_replication_unacked_total")?, b.metric(FENCED)?), (0.0, 0.0));
    register_users(&b, 30..40)?;
    assert_all_are_there(&mut a, 40)
}

/// A node that stops in order says so, and its watchers are another's at once.
#[test]
fn a_node_that_leaves_is_followed() -> Result<()> {
    let redis = Redis::start()?;
    // Longer than the test waits for a NOTIFY.
    let plan = Plan::new("alone", &[redis.address()], "")?.with_timeout(600_000);
    let [mut a, mut b] = plan.start_all(["a", "b"])?;
    let (mut alice, mut bob) = (UserAgent::udp(b.sip())?, UserAgent::udp(a.sip())?);
    subscribe(&mut bob, 1, None, 600)?;
    let first = told(&mut bob)?;
    b.wait_for_metric(SUBSCRIPTIONS, 1.0)?;
    a.signal(Signal::TERM)?;
    a.wait()?;
    publish(&mut alice, "", &pidf("desk", "open"))?;
    let second = told(&mut bob)?;
    assert_eq!(second.sender_port()?, b.sip_port());
    assert!(second.cseq()? > first.cseq()?);
    Ok(())
}

/// Who was away for longer than the log reaches back has all the same, and what was removed meanwhile is gone.
#[test]
fn who_missed_the_log_compares_all() -> Result<()> {
    let redis = Redis::start()?;
    let cable = Cable::new(redis.address())?;
    let plan = Plan::new("alone", &[redis.address()], "")?.with_log(256);
    let other = Plan::new("alone", &[cable.address()], "")?.with_log(256);
    let (a, mut b) = (plan.start("a")?, other.start("b")?);
    let mut agent = UserAgent::tcp(a.sip())?;
    let five = |expires| {
        let contacts = (1..=5).map(|host| format!("<sip:gone@192.0.2.{host}>;expires={expires}"));
        format!("Contact: {}", contacts.collect::<Vec<_>>().join(", "))
    };
    register(&mut agent, "gone", 1, &five(600))?;
    b.wait_for_metric(BINDINGS, 5.0)?;
    cable.cut();
    register(&mut agent, "gone", 2, &five(0))?;
    for cseq in 1..600 {
        register(&mut agent, "busy", cseq, "Contact: <sip:busy@192.0.2.1>")?;
    }
    register(&mut agent, "busy", 600, "Contact: <sip:busy@192.0.2.2>")?;
    // What it said of its start is passed.
    b.wait_for("the engine is away")?;
    cable.mend();
    b.wait_for("all that the engine has is here")?;
    b.wait_for_metric(BINDINGS, 2.0)?;
    assert_eq!((contacts(&b, "gone")?.len(), contacts(&b, "busy")?.len()), (0, 2));
    Ok(())
}

/// One of the servers of a cluster dies: its replica takes its place, and nothing that was acknowledged is lost.
#[test]
fn a_cluster_loses_a_primary() -> Result<()> {
    let mut cluster = RedisCluster::start()?;
    let plan = Plan::new("cluster", &cluster.addresses(), "ack = \"peer\"")?.in_memory();
    let [a, mut b] = plan.start_all(["a", "b"])?;
    register_users(&a, 0..64)?;
    assert_all_are_there(&mut b, 64)?;
    cluster.primary(1).kill()?;
    register_users(&a, 64..128)?;
    cluster.wait_for_failover(1)?;
    assert_all_are_there(&mut b, 128)?;
    for mut node in [a, b] {
        node.wait_for_metric("rollcall_replication_lag_seconds", 0.0)?;
        node.kill()?;
    }
    let mut c = plan.start("c")?;
    assert_all_are_there(&mut c, 128)
}

/// A Sentinel says which server is the primary, after another has taken its place, too.
#[test]
fn sentinels_name_another_primary() -> Result<()> {
    let mut redis = Redis::start()?;
    let port = redis.address().port().to_string();
    let mut replica = Redis::start_with(&["--replicaof", "127.0.0.1", &port])?;
    redis.wait_until("its replica", &["INFO", "replication"], |info| info.contains("state=online"))?;
    let sentinel = Sentinel::start("calls", redis.address())?;
    let plan =
        Plan::new("sentinel", &[sentinel.address()], "ack = \"peer\"")?.with_engine("primary = \"calls\"");
    let [a, mut b] = plan.start_all(["a", "b"])?;
    register_users(&a, 0..30)?;
    assert_all_are_there(&mut b, 30)?;
    redis.kill()?;
    register_users(&a, 30..60)?;
    replica.wait_until("its turn", &["ROLE"], |role| role.starts_with("master"))?;
    assert_all_are_there(&mut b, 60)?;
    let mut c = plan.start("c")?;
    wait_until_up(&mut c)?;
    assert_all_are_there(&mut c, 60)
}
