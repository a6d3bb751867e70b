//! The notifier: SUBSCRIBE and NOTIFY by RFC 6665 and RFC 3856.

mod bench;

use std::net::SocketAddr;
use std::time::Duration;

use bench::{Answer, Bench, address_of, flow, pidf};
use presence::{Config, DomainConfig, Error, Watchers};
use sip_message::{HeaderName, Response, Transport};
use sip_service::{Connection, Identity};

fn bench() -> Bench {
    Bench::new(DomainConfig::default())
}

fn code(response: &Response) -> u16 {
    response.status().as_u16()
}

fn expires(response: &Response) -> Option<u32> {
    response.text(HeaderName::Expires)?.parse().ok()
}

const ALICE: &str = "sip:alice@example.test";

// RFC 6665 §4.2.1.1, §4.2.1.2, RFC 3261 §12.1.1: 200 with Expires, Contact, tag and Record-Route; full state at once.
#[test]
fn a_subscription_is_answered_and_notified_at_once() {
    let mut b = bench();
    b.publish("alice", 600, &pidf("alice", "desk", "open"));
    let routes = "Expires: 600\n Record-Route: <sip:192.0.2.250;lr>, <sip:192.0.2.251:5070;lr;x=1>";
    let (key, response) = b.subscribe("bob", ALICE, routes);
    assert_eq!((code(&response), expires(&response)), (200, Some(600)));
    assert!(response.to().tag().is_some());
    assert_eq!(response.text(HeaderName::Contact), Some("<sip:alice@192.0.2.1:5060>"));
    let copied: Vec<_> = response.values(HeaderName::RecordRoute).map(String::from_utf8_lossy).collect();
    assert_eq!(copied, ["<sip:192.0.2.250;lr>", "<sip:192.0.2.251:5070;lr;x=1>"]);

    let notify = b.last(&key).clone();
    assert_eq!(
        (&*notify.state, &*notify.event, notify.summary()),
        ("active;expires=600", "presence", "desk=open".into())
    );
    assert_eq!(notify.request.text(HeaderName::ContentType), Some("application/pidf+xml"));
    let routes: Vec<_> = notify.request.values(HeaderName::Route).map(String::from_utf8_lossy).collect();
    assert_eq!(routes, ["<sip:192.0.2.250;lr>", "<sip:192.0.2.251:5070;lr;x=1>"]);
    assert_eq!(
        notify.flow.remote,
        "192.0.2.250:5060".parse().expect("an address"),
        "the first route is the next hop"
    );
}

// RFC 6665 §4.2.1.4, §4.4.3, §4.1.3: refresh, unsubscription, poll: the full state each time.
#[test]
fn every_subscribe_brings_the_state() {
    let mut b = bench();
    b.publish("alice", 600, &pidf("alice", "desk", "open"));
    let key = b.watch("bob", "alice");
    b.advance_ms(5_000);
    assert_eq!(expires(&b.resubscribe(&key, "Expires: 300")), Some(300));
    assert_eq!(b.last(&key).state, "active;expires=300");
    assert_eq!(expires(&b.resubscribe(&key, "Expires: 0")), Some(0));
    assert_eq!(b.take(&key), ["active desk=open", "active desk=open", "terminated timeout desk=open"]);
    assert!(!b.last(&key).state.contains("expires"), "§4.1.3: terminated carries no expires");
    assert_eq!(code(&b.resubscribe(&key, "Expires: 300")), 481);
    b.publish("alice", 600, &pidf("alice", "mobile", "open"));
    assert_eq!(b.take(&key), [""; 0]);

    let (key, response) = b.subscribe("bob", ALICE, "Expires: 0");
    assert_eq!((code(&response), expires(&response)), (200, Some(0)));
    assert_eq!(b.take(&key), ["terminated timeout desk=open mobile=open"]);
    assert_eq!(b.presence.subscription_dialogs(), 0);
}

// RFC 6665 §4.2.1.1, RFC 3856 §6.4.
#[test]
fn durations() {
    let config = Config { min_expires_seconds: 60, max_expires_seconds: 7200, ..Config::default() };
    let mut b = Bench::with(config, DomainConfig::default());
    for (value, expected) in [
        ("", Ok(3600)),
        ("Expires: 60", Ok(60)),
        ("Expires: 4294967295", Ok(7200)),
        ("Expires: 99999999999999999999", Ok(7200)),
        ("Expires: 59", Err(423)),
        ("Expires: soon", Err(400)),
    ] {
        let (key, response) = b.subscribe("bob", ALICE, value);
        match expected {
            Ok(seconds) => {
                assert_eq!((code(&response), expires(&response)), (200, Some(seconds)), "{value}");
                assert_eq!(b.last(&key).state, format!("active;expires={seconds}"));
            }
            Err(status) => assert_eq!(code(&response), status, "{value}"),
        }
    }
}

// RFC 6665 §4.2.1.4: at expiry a last NOTIFY; then nothing, and 481.
#[test]
fn expiry() {
    let mut b = bench();
    let (key, _) = b.subscribe("bob", ALICE, "Expires: 60");
    b.advance_ms(59_990);
    assert_eq!(b.take(&key), ["active -=closed"]);
    b.advance_ms(30);
    assert_eq!(b.take(&key), ["terminated timeout"]);
    assert_eq!(code(&b.resubscribe(&key, "Expires: 60")), 481);
    b.publish("alice", 600, &pidf("alice", "desk", "open"));
    b.advance_ms(100_000);
    assert_eq!(b.take(&key), [""; 0]);
    assert_eq!(
        (b.presence.subscription_dialogs(), b.metric("rollcall_subscriptions", "example.test")),
        (0, 0.0)
    );
}

// RFC 6665 §4.2.1.1, §8.2.1; RFC 3856 §6.5; RFC 3261 §8.2.2.3, §8.2.3, §12.1.1.
#[test]
fn refusals() {
    let mut b = bench();
    for (uri, extra, expected) in [
        (ALICE, "Event: -", 489),
        (ALICE, "Event: presence.winfo", 489),
        (ALICE, "Event: Presence", 489),
        (ALICE, "Event: presence\n Event: presence", 400),
        (ALICE, "Accept: application/xpidf+xml", 406),
        (ALICE, "Accept: text/plain, application/xpidf+xml", 406),
        (ALICE, "Contact: -", 400),
        (ALICE, "Contact: *", 400),
        (ALICE, "Contact: <sip:a@192.0.2.9>, <sip:b@192.0.2.9>", 400),
        (ALICE, "Contact: <mailto:bob@example.test>", 400),
        (ALICE, "Require: eventlist", 420),
        ("sip:nobody@example.test", "", 404),
        ("sip:alice@elsewhere.test", "", 404),
    ] {
        let (_, response) = b.subscribe("bob", uri, extra);
        assert_eq!(code(&response), expected, "{uri} {extra}");
    }
    for extra in [
        "Accept: application/pidf+xml",
        "Accept: application/cpim-pidf+xml, application/pidf+xml;q=0.5",
        "Supported: eventlist",
        "Event: presence;x=y",
    ] {
        let (_, response) = b.subscribe("bob", ALICE, extra);
        assert_eq!(code(&response), 200, "{extra}");
    }
    assert_eq!(b.presence.subscription_dialogs(), 4);
}

// RFC 6665 §4.4.1, RFC 3261 §12.2.2: Call-ID and both tags make the dialog; otherwise 481.
#[test]
fn dialogs_are_matched_whole() {
    let mut b = bench();
    let key = b.watch("bob", "alice");
    let tag = b.watcher(&key).to_tag.clone().expect("a tag");
    for wrong in ["x", "0000000000000000", &tag.to_uppercase(), &format!("{tag}0"), &tag[1..]] {
        if *wrong == tag {
            continue; // a tag of digits only has no upper case
        }
        b.watcher(&key).to_tag = Some(wrong.to_owned());
        assert_eq!(code(&b.resubscribe(&key, "Expires: 60")), 481, "{wrong}");
    }
    b.watcher(&key).to_tag = Some(tag);
    let from_tag = std::mem::replace(&mut b.watcher(&key).from_tag, "other".into());
    assert_eq!(code(&b.resubscribe(&key, "Expires: 60")), 481);
    b.watcher(&key).from_tag = from_tag;
    assert_eq!(code(&b.resubscribe(&key, "Expires: 60")), 200);
}

// RFC 3261 §12.2.2: a lower CSeq is 500, and does not end or extend anything.
#[test]
fn requests_out_of_order() {
    let mut b = bench();
    let key = b.watch("bob", "alice");
    b.watcher(&key).cseq = 9;
    assert_eq!(code(&b.resubscribe(&key, "Expires: 600")), 200);
    b.watcher(&key).cseq = 4;
    assert_eq!(code(&b.resubscribe(&key, "Expires: 0")), 500);
    assert_eq!(b.last_error(), Error::OutOfOrder { cseq: 5, last: 10 });
    assert_eq!(b.take(&key), ["active -=closed", "active -=closed"]);
}

// A refused refresh leaves the subscription as it was.
#[test]
fn refused_refreshes_change_nothing() {
    let mut b = bench();
    let (key, _) = b.subscribe("bob", ALICE, "Expires: 60");
    let target = b.watcher(&key).target.clone();
    for (extra, expected) in [
        ("Expires: 1", 423),
        ("Accept: text/plain", 406),
        ("Contact: <sip:a@192.0.2.9>, <sip:b@192.0.2.9>", 400),
        ("Event: -", 489),
        ("Event: dialog", 489),
        ("Require: x", 420),
    ] {
        assert_eq!(code(&b.resubscribe(&key, extra)), expected, "{extra}");
    }
    assert_eq!(b.watcher(&key).target, target);
    b.publish("alice", 600, &pidf("alice", "desk", "open"));
    b.advance_ms(60_020);
    assert_eq!(b.take(&key), ["active -=closed", "active desk=open", "terminated timeout"]);
}

// RFC 3261 §8.2.2.2: the same SUBSCRIBE by another way is 482; its retransmission gets the same answer (§17.2.2); another
// Call-ID is another subscription.
#[test]
fn merged_and_repeated_requests() {
    let mut b = bench();
    let key = b.watch("bob", "alice");
    let text = {
        b.watcher(&key).cseq = 0;
        b.watcher(&key).to_tag = None;
        b.watcher(&key).target = ALICE.into();
        b.subscribe_text(&key, "Expires: 600")
    };
    let source = b.watcher(&key).source;
    assert_eq!(code(&b.transact(&text, source)), 482);
    assert_eq!(b.presence.subscription_dialogs(), 1);

    let (second, response) = b.subscribe("bob", ALICE, "Expires: 600");
    assert_eq!(b.presence.subscription_dialogs(), 2);
    assert_ne!(response.to().tag().map(str::to_owned), b.watcher(&key).to_tag);
    assert_eq!(b.take(&second), ["active -=closed"]);
}

// RFC 6665 §4.5.2: another Event id in the dialog is another subscription; ids come back in every NOTIFY.
#[test]
fn subscriptions_with_ids() {
    let mut b = bench();
    let (key, _) = b.subscribe("bob", ALICE, "Expires: 600\n Event: presence;id=one");
    assert_eq!(code(&b.resubscribe(&key, "Expires: 100\n Event: presence;id=two")), 200);
    let events = |b: &Bench| b.watchers[&key].notifies.iter().map(|n| n.event.clone()).collect::<Vec<_>>();
    assert_eq!(events(&b), ["presence;id=one", "presence;id=two"]);
    assert_eq!(b.metric("rollcall_subscriptions", "example.test"), 2.0);
    b.publish("alice", 600, &pidf("alice", "desk", "open"));
    assert_eq!(events(&b).len(), 4);
    assert_eq!(code(&b.resubscribe(&key, "Expires: 0\n Event: presence;id=one")), 200);
    assert_eq!(b.last(&key).state, "terminated;reason=timeout");
    b.advance_ms(100_020);
    assert_eq!((b.last(&key).event.as_str(), b.last(&key).state_word()), ("presence;id=two", "terminated"));
    assert_eq!(
        (b.presence.subscription_dialogs(), b.metric("rollcall_subscriptions", "example.test")),
        (0, 0.0)
    );
}

// RFC 6665 §4.2.2: one NOTIFY in flight, the latest state wins; a slow watcher delays nobody.
#[test]
fn a_slow_watcher_gets_the_latest_state() {
    let mut b = bench();
    let (slow, fast) = (b.watch("bob", "alice"), b.watch("carol", "alice"));
    b.watcher(&slow).answer = Answer::Never;
    let mut tag = b.publish("alice", 600, &pidf("alice", "a", "open"));
    for (i, basic) in ["closed", "open", "closed", "open", "closed"].into_iter().enumerate() {
        b.advance_ms(100);
        tag = b.republish("alice", &tag, 600, &pidf("alice", &format!("v{i}"), basic));
    }
    assert_eq!(b.take(&fast).len(), 7);
    assert_eq!(b.take(&slow), ["active -=closed", "active a=open"]);
    b.watcher(&slow).answer = Answer::Code(200);
    let waiting = b.last(&slow).request.clone();
    b.answer(&slow, &waiting);
    assert_eq!(b.take(&slow), ["active v4=closed"]);
}

// RFC 6665 §4.2.2: what came and went while a NOTIFY was under way is nothing that the watcher lacks.
#[test]
fn what_a_watcher_has_is_not_told_again() {
    let mut b = bench();
    b.publish("alice", 600, &pidf("alice", "desk", "open"));
    let (key, _) = b.subscribe("bob", ALICE, "Expires: 600");
    b.take(&key);
    b.watcher(&key).answer = Answer::Never;
    let tag = b.publish("alice", 600, &pidf("alice", "mobile", "open"));
    let waiting = b.last(&key).request.clone();
    let laptop = b.publish("alice", 600, &pidf("alice", "laptop", "open"));
    b.republish("alice", &laptop, 0, "");
    b.watcher(&key).answer = Answer::Code(200);
    b.answer(&key, &waiting);
    assert_eq!(b.take(&key), ["active desk=open mobile=open"]);
    b.republish("alice", &tag, 0, "");
    assert_eq!(b.take(&key), ["active desk=open"], "what it does not have it is told");
}

// RFC 6665 §4.2.2, and the departure from it: one lost NOTIFY does not end a subscription, three in a row do.
#[test]
fn lost_notifies() {
    let mut b = bench();
    let (key, _) = b.subscribe("bob", ALICE, "Expires: 3600");
    b.watcher(&key).answer = Answer::Never;
    let tag = b.publish("alice", 3600, &pidf("alice", "desk", "open"));
    b.advance_ms(33_000);
    b.republish("alice", &tag, 3600, &pidf("alice", "desk", "closed"));
    b.watcher(&key).answer = Answer::Code(200);
    b.advance_ms(3_000);
    assert_eq!(b.take(&key), ["active -=closed", "active desk=open", "active desk=closed"]);

    b.watcher(&key).answer = Answer::Never;
    b.publish("alice", 3600, &pidf("alice", "mobile", "open"));
    b.advance(Duration::from_secs(110));
    assert_eq!(b.take(&key).len(), 3);
    assert_eq!(b.presence.subscription_dialogs(), 0);
    assert_eq!(code(&b.resubscribe(&key, "Expires: 60")), 481);
    assert_eq!(b.metric("rollcall_notifies_total", "timeout"), 4.0);
}

// RFC 6665 §4.2.2: a watcher that says the subscription is gone is believed; other complaints change nothing.
#[test]
fn answers_to_notify() {
    for (answer, live) in [
        (Answer::Code(481), false),
        (Answer::Code(489), false),
        (Answer::Code(404), false),
        (Answer::Code(480), false),
        (Answer::Code(403), true),
        (Answer::Code(500), true),
        (Answer::Later(7), true),
    ] {
        let mut b = bench();
        let key = b.watch("bob", "alice");
        b.watcher(&key).answer = answer;
        b.publish("alice", 3600, &pidf("alice", "desk", "open"));
        assert_eq!(b.presence.subscription_dialogs(), usize::from(live), "{answer:?}");
        b.watcher(&key).answer = Answer::Code(200);
        b.take(&key);
        b.advance_ms(6_990);
        let soon = b.take(&key);
        b.advance_ms(30);
        let later = b.take(&key);
        match answer {
            Answer::Code(500) => assert_eq!((soon, later), (vec!["active desk=open".into()], vec![])),
            Answer::Later(_) => assert_eq!((soon, later), (vec![], vec!["active desk=open".into()])),
            Answer::Code(_) | Answer::Never => assert_eq!((soon.len(), later.len()), (0, 0), "{answer:?}"),
        }
        assert_eq!(code(&b.resubscribe(&key, "Expires: 60")), if live { 200 } else { 481 }, "{answer:?}");
    }
}

// A NOTIFY that cannot be sent at all is as one that was lost.
#[test]
fn watchers_that_cannot_be_reached() {
    let mut b = bench();
    let key = b.watch("bob", "alice");
    let address = address_of("bob");
    b.network.unreachable.lock().insert(address);
    b.publish("alice", 3600, &pidf("alice", "desk", "open"));
    assert_eq!(b.metric("rollcall_notifies_total", "unreachable"), 1.0);
    b.network.unreachable.lock().clear();
    b.advance_ms(2_020);
    assert_eq!(b.watchers[&key].notifies.len(), 2);
    assert_eq!(b.last(&key).summary(), "desk=open");

    // A Contact that leads nowhere: given up after three attempts.
    let (_, response) = b.subscribe_by(
        "carol",
        ALICE,
        "Expires: 600",
        flow(Transport::Udp, address_of("carol"), Connection::NONE),
        "sip:carol@phone.carol.test",
    );
    assert_eq!(code(&response), 200);
    b.advance_ms(10_000);
    assert_eq!(b.presence.subscription_dialogs(), 1);
}

// RFC 3261 §18.1.1, RFC 5923: over the watcher's own connection while it lives, else to its Contact; and from behind a NAT
// back to where the SUBSCRIBE came from.
#[test]
fn where_notifies_go() {
    let remote: SocketAddr = "192.0.2.77:40000".parse().expect("an address");
    let connection = flow(Transport::Tcp, remote, Connection(9));
    let mut b = bench();
    let contact = "sip:bob@192.0.2.77:5060;transport=tcp";
    let (key, response) = b.subscribe_by("bob", ALICE, "Expires: 600", connection, contact);
    assert_eq!(response.text(HeaderName::Contact), Some("<sip:alice@192.0.2.1:5060;transport=tcp>"));
    assert_eq!(b.last(&key).flow, connection);
    b.network.dead.lock().insert(Connection(9));
    b.publish("alice", 600, &pidf("alice", "desk", "open"));
    assert_eq!(
        b.last(&key).flow,
        flow(Transport::Tcp, "192.0.2.77:5060".parse().expect("an address"), Connection::NONE)
    );
    // The next SUBSCRIBE brings the connection that is good now.
    let renewed = flow(Transport::Tcp, remote, Connection(10));
    b.watcher(&key).source = renewed;
    b.resubscribe(&key, "Expires: 600");
    assert_eq!(b.last(&key).flow, renewed);

    // A datagram from elsewhere than Contact and Via say: a NAT.
    let outside: SocketAddr = "198.51.100.7:33333".parse().expect("an address");
    let source = flow(Transport::Udp, outside, Connection::NONE);
    let (key, _) = b.subscribe_by("carol", ALICE, "Expires: 600", source, "sip:carol@10.0.0.7:5060");
    assert_eq!(b.last(&key).flow.remote, outside);
    // A Contact elsewhere, but a Via that is where the datagram came from: another device, not a NAT.
    let extra = "Expires: 600\n Contact: <sip:carol@10.0.0.8>";
    let address = address_of("carol");
    let source = flow(Transport::Udp, address, Connection::NONE);
    let (key, _) = b.subscribe_by("carol", ALICE, extra, source, &format!("sip:carol@{address}"));
    assert_eq!(b.last(&key).flow.remote, "10.0.0.8:5060".parse().expect("an address"));
}

// RFC 3856 §6.6.2 and the limits.
#[test]
fn who_may_watch_and_how_many() {
    let domain = DomainConfig { watchers: Watchers::Authenticated, ..DomainConfig::default() };
    let mut b = Bench::new(domain);
    for (identity, expected) in [(Identity::TrustedPeer, 200), (Identity::Anyone, 403)] {
        b.identify(Some(identity));
        assert_eq!(code(&b.subscribe("bob", ALICE, "Expires: 0").1), expected);
    }
    b.identify(None);
    let key = b.watch("bob", "alice");
    // Another user cannot take over the dialog.
    b.watcher(&key).name = "mallory".into();
    assert_eq!(code(&b.resubscribe(&key, "Expires: 0")), 403);

    let config = Config { watchers_per_presentity_max: 2, subscriptions_max: 3, ..Config::default() };
    let mut b = Bench::with(config, DomainConfig::default());
    b.watch("bob", "alice");
    let key = b.watch("carol", "alice");
    let (_, response) = b.subscribe("dave", ALICE, "");
    assert_eq!(
        (code(&response), b.last_error()),
        (480, Error::TooManyWatchers { max: 2, retry_after_seconds: 60 })
    );
    b.watch("dave", "bob");
    let (_, response) = b.subscribe("dave", "sip:carol@example.test", "");
    assert_eq!(code(&response), 503);
    b.resubscribe(&key, "Expires: 0");
    b.watch("dave", "carol");
}

// RFC 3856 §6.10, when the operator wants it: changes are paced, the last one comes.
#[test]
fn pacing() {
    let mut b =
        Bench::with(Config { notify_min_interval_ms: 5_000, ..Config::default() }, DomainConfig::default());
    let key = b.watch("bob", "alice");
    let mut tag = b.publish("alice", 600, &pidf("alice", "v", "open"));
    for i in 0..4 {
        b.advance_ms(100);
        tag = b.republish("alice", &tag, 600, &pidf("alice", &format!("v{i}"), "open"));
    }
    assert_eq!(b.take(&key), ["active -=closed", "active v=open"]);
    b.advance_ms(4_700);
    assert_eq!(b.take(&key), ["active v3=open"]);
}

// RFC 3261 §12.2.2: whether a request within a dialog is ours, for whoever has to answer the other methods.
#[test]
fn dialogs_are_known_by_their_requests() {
    let mut b = bench();
    let key = b.watch("bob", "alice");
    let text = b.subscribe_text(&key, "Expires: 60").replace("SUBSCRIBE", "MESSAGE");
    let request = |text: String| {
        sip_message::Request::parse(text.into(), &sip_message::Limits::default()).expect("a request")
    };
    assert!(b.presence.is_in_dialog(&request(text.clone())));
    assert!(!b.presence.is_in_dialog(&request(text.replace("Call-ID: sub-", "Call-ID: x"))));
}

// One change, a thousand watchers: each is told once, with the one document.
#[test]
fn a_thousand_watchers() {
    let mut b = bench();
    let keys: Vec<String> = (0..1000).map(|i| b.watch(&format!("w{i}"), "alice")).collect();
    b.publish("alice", 600, &pidf("alice", "desk", "open"));
    for key in &keys {
        assert_eq!(b.take(key), ["active -=closed", "active desk=open"]);
    }
    assert_eq!(b.metric("rollcall_presence_notify_lag_seconds_count", ""), 1000.0);
    assert_eq!(b.metric("rollcall_presence_compose_duration_seconds_count", ""), 1.0);
    assert_eq!(b.metric("rollcall_notifies_total", "2xx"), 2000.0);
}
