//! repro's three behaviours per domain, and presence switched off and on again.

mod bench;

use bench::{Bench, pidf, settings};
use presence::{Composition, DomainConfig};
use sip_message::Response;

const ALICE: &str = "sip:alice@example.test";

fn code(response: &Response) -> u16 {
    response.status().as_u16()
}

fn by_registration() -> DomainConfig {
    DomainConfig { uses_registration_state: true, ..DomainConfig::default() }
}

fn without_closed() -> DomainConfig {
    DomainConfig { notify_closed_for_non_published_users: false, ..DomainConfig::default() }
}

// uses_registration_state: open and closed follow the registration; a refresh of it is no change.
#[test]
fn registration_is_shown() {
    let mut b = Bench::new(by_registration());
    let key = b.watch("bob", "alice");
    for _ in 0..2 {
        b.register("alice", true);
        b.register("alice", true);
        b.register("alice", false);
        b.register("alice", false);
    }
    let flips = ["active -=closed", "active -=open", "active -=closed", "active -=open", "active -=closed"];
    assert_eq!(b.take(&key), flips);
}

// repro's rule: not registered is closed, whatever is published; registered shows what is published.
#[test]
fn unregistered_is_closed() {
    let mut b = Bench::new(by_registration());
    let key = b.watch("bob", "alice");
    let tag = b.publish("alice", 600, &pidf("alice", "desk", "open"));
    assert_eq!(b.take(&key), ["active -=closed"]);
    b.register("alice", true);
    b.register("alice", false);
    b.register("alice", true);
    b.republish("alice", &tag, 0, "");
    assert_eq!(b.take(&key), ["active desk=open", "active -=closed", "active desk=open", "active -=open"]);
}

// unregistered_is_closed = false: registration speaks only for those who do not publish.
#[test]
fn publication_speaks_before_registration() {
    let mut b = Bench::new(DomainConfig { unregistered_is_closed: false, ..by_registration() });
    let key = b.watch("bob", "alice");
    b.publish("alice", 60, &pidf("alice", "desk", "open"));
    b.register("alice", true);
    b.advance_ms(60_020);
    b.register("alice", false);
    assert_eq!(b.take(&key), ["active -=closed", "active desk=open", "active -=open", "active -=closed"]);
}

// Without uses_registration_state a registration changes nothing.
#[test]
fn registrations_that_do_not_count() {
    let mut b = Bench::new(DomainConfig::default());
    let key = b.watch("bob", "alice");
    b.register("alice", true);
    b.register("alice", false);
    assert_eq!(b.take(&key), ["active -=closed"]);
}

// notify_closed_for_non_published_users = false: 480, and what loses its last publication ends with `noresource`, for every
// watcher; later publications reach no ended subscription (repro dies of this: spec/repro §7 fault 1).
#[test]
fn nothing_published_is_nothing() {
    let mut b = Bench::new(without_closed());
    b.register("alice", true);
    assert_eq!(code(&b.subscribe("bob", ALICE, "").1), 480);
    assert_eq!(code(&b.subscribe("bob", ALICE, "Expires: 0").1), 480);
    assert_eq!(code(&b.subscribe("bob", "sip:nobody@example.test", "").1), 404);
    for round in 0..3 {
        let one = b.publish("alice", 600, &pidf("alice", "one", "open"));
        let two = b.publish("alice", 60, &pidf("alice", "two", "open"));
        let keys: Vec<String> = (0..15).map(|i| b.watch(&format!("w{i}"), "alice")).collect();
        b.republish("alice", &one, 0, "");
        if round == 1 {
            b.advance_ms(60_020);
        } else {
            b.republish("alice", &two, 0, "");
        }
        for key in &keys {
            assert_eq!(b.take(key), ["active one=open two=open", "active two=open", "terminated noresource"]);
        }
        assert_eq!(b.presence.subscription_dialogs(), 0);
        assert_eq!(code(&b.subscribe("bob", ALICE, "").1), 480);
        let tag = b.publish("alice", 600, &pidf("alice", "three", "open"));
        for key in &keys {
            assert_eq!(b.take(key), [""; 0]);
            assert_eq!(code(&b.resubscribe(key, "Expires: 600")), 481);
        }
        b.republish("alice", &tag, 0, "");
    }
}

// RFC 3863 §4.1.7: a synthetic document's timestamp moves when its state does, and only then.
#[test]
fn synthetic_documents_are_stable() {
    let mut b = Bench::new(DomainConfig::default());
    let key = b.watch("bob", "alice");
    let first = b.last(&key).body.clone();
    b.advance_ms(2_000);
    b.resubscribe(&key, "Expires: 600");
    assert_eq!(b.last(&key).body, first);
    let tag = b.publish("alice", 600, &pidf("alice", "desk", "open"));
    b.republish("alice", &tag, 0, "");
    assert_eq!(b.last(&key).summary(), "-=closed");
    assert_ne!(b.last(&key).body, first);
}

// A reload that turns presence off ends subscriptions so that watchers come back at once (RFC 6665 §4.1.3, §4.4.2), and
// forgets publications; turned on again, everything begins anew.
#[test]
fn presence_can_be_switched() {
    let mut b = Bench::new(DomainConfig::default());
    let key = b.watch("bob", "alice");
    let tag = b.publish("alice", 600, &pidf("alice", "desk", "open"));
    b.publish("carol", 600, &pidf("carol", "desk", "open"));
    let off = DomainConfig { enabled: false, ..DomainConfig::default() };
    b.presence.reconfigure(b.now, settings(b.config, off));
    b.advance_ms(10);
    assert_eq!(b.take(&key), ["active -=closed", "active desk=open", "terminated deactivated"]);
    assert_eq!((b.presence.publications(), b.presence.subscription_dialogs()), (0, 0));
    assert_eq!(b.metric("rollcall_presence_publications", "example.test"), 0.0);
    assert_eq!(b.metric("rollcall_subscriptions", "example.test"), 0.0);
    assert_eq!(code(&b.resubscribe(&key, "Expires: 600")), 481);
    assert_eq!(code(&b.publish_with("alice", "", &pidf("alice", "desk", "open"))), 404);

    b.presence.reconfigure(b.now, settings(b.config, DomainConfig::default()));
    let key = b.watch("bob", "alice");
    assert_eq!(b.take(&key), ["active -=closed"]);
    assert_eq!(code(&b.publish_with("alice", &format!("SIP-If-Match: {tag}"), "")), 412);
}

// A reload of what is shown reaches the watchers; a reload of nothing does not.
#[test]
fn new_settings_are_shown() {
    let mut b = Bench::new(DomainConfig::default());
    let key = b.watch("bob", "alice");
    b.presence.reconfigure(b.now, settings(b.config, DomainConfig::default()));
    b.advance_ms(10);
    assert_eq!(b.take(&key), ["active -=closed"]);
    b.register("alice", true);
    b.presence.reconfigure(b.now, settings(b.config, by_registration()));
    b.advance_ms(10);
    b.presence.reconfigure(b.now, settings(b.config, without_closed()));
    b.advance_ms(10);
    assert_eq!(b.take(&key), ["active -=open", "terminated noresource"]);

    let key = {
        b.presence.reconfigure(b.now, settings(b.config, DomainConfig::default()));
        b.publish("alice", 600, &pidf("alice", "desk", "open"));
        b.watch("bob", "alice")
    };
    let union = DomainConfig { composition: Composition::Union, ..DomainConfig::default() };
    b.presence.reconfigure(b.now, settings(b.config, union));
    b.advance_ms(10);
    assert_eq!(b.last(&key).summary(), "desk=open");
}
