//! What outlives the process: publications, subscriptions and what watchers have (RFC 3903 §4.2, RFC 6665 §4.2.2).

mod bench;

use std::time::Duration;

use bench::{Answer, Bench, pidf};
use presence::DomainConfig;

const AT_ONCE: Duration = Duration::from_secs(1);

fn kept(domain: DomainConfig) -> Bench {
    let mut bench = Bench::new(domain);
    bench.keep();
    bench
}

#[test]
fn who_has_the_state_is_told_nothing() {
    let mut b = kept(DomainConfig::default());
    let key = b.watch("bob", "alice");
    let tag = b.publish("alice", 600, &pidf("alice", "desk", "open"));
    b.publish("alice", 600, &pidf("alice", "mobile", "closed"));
    b.take(&key);
    for _ in 0..3 {
        b.restart(AT_ONCE, &[]);
        b.advance_ms(5_000);
        assert_eq!(b.take(&key), [""; 0]);
    }
    b.republish("alice", &tag, 600, &pidf("alice", "desk", "closed"));
    assert_eq!(b.take(&key), ["active desk=closed mobile=closed"]);
}

// RFC 3903 §6 step 3: a tag that was replaced or removed before matches nothing after.
#[test]
fn entity_tags_are_what_they_were() {
    let mut b = kept(DomainConfig::default());
    let old = b.publish("alice", 600, &pidf("alice", "desk", "open"));
    let tag = b.republish("alice", &old, 600, "");
    let removed = b.publish("alice", 600, &pidf("alice", "mobile", "open"));
    b.republish("alice", &removed, 0, "");
    b.restart(AT_ONCE, &[]);
    for tag in [&old, &removed] {
        assert_eq!(b.publish_with("alice", &format!("SIP-If-Match: {tag}"), "").status().as_u16(), 412);
    }
    b.republish("alice", &tag, 600, "");
    assert_eq!(b.presence.publications(), 1);
}

#[test]
fn what_expired_meanwhile_is_told() {
    let mut b = kept(DomainConfig::default());
    let key = b.watch("bob", "alice");
    b.publish("alice", 60, &pidf("alice", "desk", "open"));
    b.publish("alice", 300, &pidf("alice", "mobile", "open"));
    b.take(&key);
    b.restart(Duration::from_secs(100), &[]);
    assert_eq!(b.take(&key), ["active mobile=open"]);
    // And what is left ends at its time.
    b.advance(Duration::from_secs(199));
    assert_eq!(b.take(&key), [""; 0]);
    b.advance(Duration::from_secs(2));
    assert_eq!(b.take(&key), ["active -=closed"]);
}

#[test]
fn what_was_not_answered_is_told_again() {
    let mut b = kept(DomainConfig::default());
    let key = b.watch("bob", "alice");
    b.watcher(&key).answer = Answer::Never;
    b.publish("alice", 600, &pidf("alice", "desk", "open"));
    b.watcher(&key).answer = Answer::Code(200);
    b.take(&key);
    b.restart(AT_ONCE, &[]);
    assert_eq!(b.take(&key), ["active desk=open"]);
}

// The watcher may have the state whose NOTIFY it did not answer: when the state is again the one that it had before, it is
// told that.
#[test]
fn a_state_that_came_and_went_is_not_left_standing() {
    let mut b = kept(DomainConfig::default());
    let key = b.watch("bob", "alice");
    b.publish("alice", 600, &pidf("alice", "desk", "open"));
    b.watcher(&key).answer = Answer::Never;
    b.publish("alice", 60, &pidf("alice", "mobile", "open"));
    b.watcher(&key).answer = Answer::Code(200);
    b.take(&key);
    b.restart(Duration::from_secs(100), &[]);
    assert_eq!(b.take(&key), ["active desk=open"]);
}

// uses_registration_state: what changed meanwhile is told, what did not is not.
#[test]
fn registration_speaks_as_it_is_now() {
    let by_registration = DomainConfig { uses_registration_state: true, ..DomainConfig::default() };
    let mut b = kept(by_registration);
    b.register("alice", true);
    let key = b.watch("bob", "alice");
    b.take(&key);
    b.restart(AT_ONCE, &[]);
    assert_eq!(b.take(&key), [""; 0]);
    b.restart(AT_ONCE, &[("alice", false)]);
    assert_eq!(b.take(&key), ["active -=closed"]);
    b.restart(AT_ONCE, &[]);
    assert_eq!(b.take(&key), [""; 0]);
}

// notify_closed_for_non_published_users = false: with the last publication the subscription ends.
#[test]
fn a_subscription_ends_that_has_nothing_to_show() {
    let domain = DomainConfig { notify_closed_for_non_published_users: false, ..DomainConfig::default() };
    let mut b = kept(domain);
    b.publish("alice", 60, &pidf("alice", "desk", "open"));
    let key = b.watch("bob", "alice");
    b.take(&key);
    b.restart(Duration::from_secs(100), &[]);
    assert_eq!(b.take(&key), ["terminated noresource"]);
    assert_eq!(b.presence.subscription_dialogs(), 0);
    b.restart(AT_ONCE, &[]);
    assert_eq!(b.take(&key), [""; 0]);
}

// RFC 6665 §4.4.1: a subscription whose time ran out meanwhile is gone; one that was ended before stays ended.
#[test]
fn what_is_over_is_over() {
    let mut b = kept(DomainConfig::default());
    let (brief, _) = b.subscribe("bob", "sip:alice@example.test", "Expires: 60");
    let ended = b.watch("carol", "alice");
    assert_eq!(b.resubscribe(&ended, "Expires: 0").status().as_u16(), 200);
    let long = b.watch("dave", "alice");
    b.restart(Duration::from_secs(100), &[]);
    assert_eq!(b.presence.subscription_dialogs(), 1);
    assert_eq!(b.resubscribe(&brief, "Expires: 60").status().as_u16(), 481);
    assert_eq!(b.resubscribe(&ended, "Expires: 60").status().as_u16(), 481);
    assert_eq!(b.resubscribe(&long, "Expires: 600").status().as_u16(), 200);
    b.restart(Duration::from_secs(300), &[]);
    assert_eq!(b.resubscribe(&long, "Expires: 600").status().as_u16(), 200);
}

// RFC 3261 §12.2.1.1: CSeq rises through any number of restarts and NOTIFYs; the bench checks each.
#[test]
fn cseq_never_goes_back() {
    let mut b = kept(DomainConfig::default());
    let key = b.watch("bob", "alice");
    let mut tag = b.publish("alice", 600, &pidf("alice", "desk", "open"));
    for round in 0..40 {
        for step in 0..60 {
            let basic = if step % 2 == 0 { "closed" } else { "open" };
            tag = b.republish("alice", &tag, 600, &pidf("alice", "desk", basic));
        }
        if round % 4 == 0 {
            b.restart(AT_ONCE, &[]);
        }
    }
    assert!(b.watcher(&key).notifies.len() > 2_400);
}
