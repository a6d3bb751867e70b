//! Nodes that talk through pipes, under virtual time: what one has, all have.

mod nodes;
mod table;

use std::time::Duration;

use nodes::{Cluster, Setting};
use replication::Ack;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn changes_reach_the_other_nodes_in_milliseconds() {
    let mut cluster = Cluster::new(&["a", "b", "c"], Setting::default());
    cluster.connect_all();
    cluster.run(seconds(1));
    cluster.put(0, "alice", "1", seconds(60));
    cluster.put(1, "bob", "2", seconds(60));
    cluster.run(Duration::from_millis(10));
    for node in 0..3 {
        assert_eq!(cluster.state(node), [("alice", "1"), ("bob", "2")].map(owned));
    }
    cluster.remove(2, "alice");
    cluster.run(Duration::from_millis(10));
    assert!((0..3).all(|node| cluster.state(node) == [owned(("bob", "2"))]));
}

#[test]
fn a_node_that_was_away_goes_on_where_it_was() {
    let mut cluster = Cluster::new(&["a", "b"], Setting::default());
    cluster.connect_all();
    cluster.put(0, "alice", "1", seconds(600));
    cluster.run(seconds(1));
    let before = cluster.compared(1);
    cluster.cut(0, 1);
    cluster.put(0, "bob", "2", seconds(600));
    cluster.remove(0, "alice");
    cluster.run(seconds(1));
    assert_eq!(cluster.state(1), [owned(("alice", "1"))]);
    cluster.connect_all();
    cluster.run(seconds(1));
    assert_eq!(cluster.state(1), [owned(("bob", "2"))]);
    assert_eq!(cluster.compared(1), before, "without comparing all");
}

// The groups before those that it is told of are what it compared.
#[test]
fn a_node_that_compared_all_misses_nothing() {
    let mut cluster = Cluster::new(&["a", "b"], Setting::default());
    for text in ["1", "2", "3"] {
        cluster.put(0, "alice", text, seconds(600));
        cluster.run(seconds(1));
    }
    cluster.connect_all();
    cluster.run(seconds(1));
    assert!(cluster.is_caught_up(1));
    cluster.put(0, "bob", "4", seconds(600));
    cluster.run(seconds(1));
    assert!(cluster.is_caught_up(1), "nothing was missed");
    assert_eq!(cluster.state(1), [("alice", "3"), ("bob", "4")].map(owned));
}

#[test]
fn a_node_that_missed_too_much_compares_all() {
    let mut cluster = Cluster::new(&["a", "b"], Setting { outlog_bytes_max: 4000, ..Setting::default() });
    cluster.connect_all();
    cluster.run(seconds(1));
    cluster.cut(0, 1);
    for number in 0..500 {
        cluster.put(0, &format!("user{number}"), "1", seconds(600));
        cluster.run(Duration::from_millis(1));
    }
    cluster.remove(0, "user7");
    cluster.connect_all();
    cluster.run(seconds(2));
    assert_eq!((cluster.state(1).len(), cluster.state(1)), (499, cluster.state(0)));
}

#[test]
fn a_blank_node_gets_all_that_the_others_have() {
    let mut cluster = Cluster::new(&["a", "b"], Setting::default());
    for number in 0..5000 {
        cluster.put(0, &format!("user{number}"), "1", seconds(600));
    }
    cluster.connect_all();
    cluster.run(seconds(2));
    assert_eq!((cluster.state(1).len(), cluster.is_caught_up(1)), (5000, true));
    cluster.restart(1);
    assert!(cluster.state(1).is_empty());
    cluster.connect_all();
    cluster.run(seconds(2));
    assert_eq!(cluster.state(1).len(), 5000);
}

// spec/repro §6.8: a contact that was removed on one side of a broken link does not come back from the other.
#[test]
fn both_sides_of_a_split_agree_when_it_heals() {
    let mut cluster = Cluster::new(&["a", "b"], Setting::default());
    cluster.connect_all();
    for key in ["kept", "removed", "changed on both"] {
        cluster.put(0, key, "0", seconds(600));
    }
    cluster.run(seconds(1));
    cluster.cut(0, 1);
    cluster.cut(1, 0);
    cluster.remove(0, "removed");
    cluster.put(0, "changed on both", "a", seconds(600));
    cluster.put(1, "only b", "b", seconds(600));
    cluster.run(seconds(2));
    cluster.put(1, "changed on both", "b, later", seconds(600));
    cluster.connect_all();
    cluster.run(seconds(1));
    let expected = [("changed on both", "b, later"), ("kept", "0"), ("only b", "b")].map(owned);
    assert_eq!((cluster.state(0), cluster.state(1)), (expected.to_vec(), expected.to_vec()));
}

/// A client asks the first node for less time, for 30 s, which the last one cannot hear.
fn made_shorter() -> Cluster {
    let mut cluster = Cluster::new(&["a", "b", "c"], Setting::default());
    cluster.connect_all();
    cluster.put(0, "alice", "1", seconds(600));
    cluster.run(seconds(1));
    for (from, to) in [(0, 2), (2, 0), (1, 2), (2, 1)] {
        cluster.cut(from, to);
    }
    cluster.put(0, "alice", "2", seconds(30));
    cluster
}

// When the less is over, nobody brings back the more.
#[test]
fn what_was_made_shorter_does_not_last_longer() {
    let mut cluster = made_shorter();
    cluster.run(seconds(60));
    assert_eq!((cluster.state(1), cluster.state(2)), (vec![], vec![owned(("alice", "1"))]));
    // The one that the client asked comes back with nothing; the other knows it too, and says so when all is compared.
    cluster.restart(0);
    cluster.connect_all();
    cluster.run(seconds(40));
    assert!((0..3).all(|node| cluster.state(node).is_empty()));
    cluster.run(seconds(700));
    assert!((0..3).all(|node| cluster.known(node) == 0), "nor is it remembered longer");
}

// From the moment at which the shorter ends, a node that starts is not told the longer.
#[test]
fn what_has_ended_is_known_without_a_gap() {
    let mut cluster = made_shorter();
    cluster.run(seconds(33));
    cluster.restart(0);
    cluster.connect_all();
    cluster.run(seconds(2));
    assert_eq!((cluster.state(0), cluster.state(1)), (vec![], vec![]), "who has not heard may still have it");
}

// A node that others ask for what it cannot say would be asked at every comparison.
#[test]
fn what_nobody_has_is_forgotten_when_it_is_asked_for() {
    let mut cluster = Cluster::new(&["a", "b"], Setting::default());
    cluster.put(0, "alice", "1", seconds(600));
    cluster.put(0, "bob", "2", seconds(600));
    cluster.run(seconds(1));
    cluster.lose(0, "alice");
    cluster.connect_all();
    cluster.run(seconds(2));
    assert_eq!((cluster.known(0), cluster.known(1)), (1, 1));
    assert_eq!(cluster.state(1), [owned(("bob", "2"))]);
}

// A client that registered at one node leaves at another that has not heard of it, and the first does not come back soon.
#[test]
fn what_was_removed_where_it_was_not_known_is_removed() {
    let mut cluster = Cluster::new(&["a", "b"], Setting::default());
    cluster.put(0, "alice", "1", seconds(600));
    cluster.run(seconds(1));
    cluster.remove(1, "alice");
    cluster.run(seconds(20));
    cluster.connect_all();
    cluster.run(seconds(2));
    assert_eq!((cluster.state(0), cluster.state(1)), (vec![], vec![]));
}

// The wall clock of one node is an hour ahead: what came later counts, whoever stamped it, once the two have met.
#[test]
fn clocks_that_differ_do_not_decide() {
    let mut cluster = Cluster::new(&["a", "b"], Setting::default());
    cluster.set_clock(0, seconds(3600));
    cluster.restart(0);
    cluster.connect_all();
    cluster.run(seconds(1));
    cluster.cut(0, 1);
    cluster.cut(1, 0);
    cluster.put(0, "alice", "first, on a", seconds(600));
    cluster.run(Duration::from_millis(50));
    cluster.put(1, "alice", "then on b", seconds(600));
    cluster.connect_all();
    cluster.run(seconds(1));
    let expected = [owned(("alice", "then on b"))];
    assert_eq!((cluster.state(0), cluster.state(1)), (expected.to_vec(), expected.to_vec()));
}

#[test]
fn what_one_of_three_missed_comes_from_another() {
    let mut cluster = Cluster::new(&["a", "b", "c"], Setting::default());
    cluster.connect_all();
    cluster.run(seconds(1));
    cluster.cut(0, 2);
    cluster.put(0, "alice", "1", seconds(600));
    cluster.run(seconds(1));
    cluster.stop(0);
    cluster.run(seconds(40));
    assert_eq!(cluster.state(2), [owned(("alice", "1"))], "by the regular comparison");
}

#[test]
fn state_ends_everywhere_and_leaves_nothing() {
    let mut cluster = Cluster::new(&["a", "b"], Setting::default());
    cluster.connect_all();
    cluster.put(0, "alice", "1", seconds(60));
    cluster.put(1, "bob", "1", seconds(60));
    cluster.run(seconds(1));
    cluster.remove(0, "bob");
    cluster.run(seconds(300));
    for node in 0..2 {
        assert!(cluster.state(node).is_empty());
        assert_eq!(cluster.known(node), 0);
    }
}

#[test]
fn with_ack_peer_a_change_waits_for_another_node() {
    let mut cluster = Cluster::new(&["a", "b"], Setting { ack: Ack::Peer, ..Setting::default() });
    cluster.put(0, "before", "1", seconds(600));
    assert_eq!(cluster.outcome(0), Some(false), "there is nobody");
    cluster.connect_all();
    cluster.run(seconds(1));
    cluster.put(0, "alice", "1", seconds(600));
    assert_eq!(cluster.outcome(0), None);
    cluster.run(Duration::from_millis(20));
    assert_eq!(cluster.outcome(0), Some(true));
    // It answers no more, but the link has not broken yet.
    cluster.freeze(1);
    cluster.put(0, "bob", "1", seconds(600));
    cluster.run(Duration::from_millis(400));
    assert_eq!(cluster.outcome(0), None);
    cluster.run(Duration::from_millis(300));
    assert_eq!(cluster.outcome(0), Some(false), "after a bounded wait");
}

#[test]
fn nodes_that_are_not_peers_are_refused() {
    let mut cluster = Cluster::new(&["a", "b"], Setting::default());
    cluster.introduce_stranger(0, "mallory");
    assert!(cluster.state(0).is_empty());
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.into(), value.into())
}
