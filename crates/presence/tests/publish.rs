//! The event state compositor: PUBLISH by RFC 3903 §6, step by step.

mod bench;

use bench::{Bench, etag, pidf};
use presence::{Config, DomainConfig, Error};
use sip_message::{HeaderName, Response};
use sip_service::Identity;

fn bench() -> Bench {
    Bench::new(DomainConfig::default())
}

fn code(response: &Response) -> u16 {
    response.status().as_u16()
}

fn expires(response: &Response) -> Option<u32> {
    response.text(HeaderName::Expires)?.parse().ok()
}

/// What a new watcher sees at once.
fn read(bench: &mut Bench, presentity: &str) -> String {
    let (key, _) = bench.subscribe("reader", &format!("sip:{presentity}@example.test"), "Expires: 0");
    bench.last(&key).summary()
}

// RFC 3903 §4.1 to §4.4, §6 step 6: initial, refresh, modify, remove; a new entity-tag each time, the old one void.
#[test]
fn life_of_a_publication() {
    let mut b = bench();
    let first = b.publish_with("alice", "Expires: 600", &pidf("alice", "desk", "open"));
    assert_eq!((code(&first), expires(&first)), (200, Some(600)));
    assert_eq!(read(&mut b, "alice"), "desk=open");

    let mut tags = vec![etag(&first)];
    let refreshed = b.publish_with("alice", &format!("SIP-If-Match: {}\n Expires: 700", tags[0]), "");
    assert_eq!((code(&refreshed), expires(&refreshed)), (200, Some(700)));
    tags.push(etag(&refreshed));
    tags.push(b.republish("alice", &tags[1], 600, &pidf("alice", "desk", "closed")));
    assert_eq!(read(&mut b, "alice"), "desk=closed");
    let removed = b.publish_with("alice", &format!("SIP-If-Match: {}\n Expires: 0", tags[2]), "");
    assert_eq!((code(&removed), expires(&removed)), (200, Some(0)));
    tags.push(etag(&removed));
    assert_eq!(read(&mut b, "alice"), "-=closed");

    tags.dedup();
    assert_eq!(tags.len(), 4);
    for tag in &tags {
        for body in [String::new(), pidf("alice", "ghost", "open")] {
            assert_eq!(code(&b.publish_with("alice", &format!("SIP-If-Match: {tag}"), &body)), 412, "{tag}");
        }
    }
    assert_eq!(read(&mut b, "alice"), "-=closed");
    assert_eq!(b.presence.publications(), 0);
}

// RFC 3903 §6: the ESC ignores Record-Route and Contact, and puts no Record-Route into the response.
#[test]
fn record_route_and_contact_are_ignored() {
    let mut b = bench();
    let extra = "Record-Route: <sip:192.0.2.9;lr>\n Contact: <sip:x@192.0.2.9>";
    let response = b.publish_with("alice", extra, &pidf("alice", "desk", "open"));
    assert_eq!((code(&response), response.count(HeaderName::RecordRoute)), (200, 0));
    let tag = etag(&response);
    assert_eq!(
        code(&b.publish_with("alice", &format!("Contact: *\n SIP-If-Match: {tag}\n Expires: 0"), "")),
        200
    );
}

// RFC 3903 §6 step 3: a tag of another resource is no tag of this one, and nothing is touched by trying.
#[test]
fn entity_tags_belong_to_one_resource() {
    let mut b = bench();
    let tag = b.publish("alice", 600, &pidf("alice", "desk", "open"));
    for extra in ["Expires: 0", "Expires: 600", ""] {
        assert_eq!(code(&b.publish_with("bob", &format!("SIP-If-Match: {tag}\n {extra}"), "")), 412);
    }
    assert_eq!(read(&mut b, "alice"), "desk=open");
    b.republish("alice", &tag, 600, "");
}

// RFC 3903 §6 step 3, §8.1: one entity-tag; `*` is no wildcard.
#[test]
fn preconditions_that_are_none() {
    let mut b = bench();
    let tag = b.publish("alice", 600, &pidf("alice", "desk", "open"));
    for (value, expected) in [
        ("*".to_owned(), 412),
        ("nosuchtag".to_owned(), 412),
        (tag.to_uppercase(), 412),
        (format!("\"{tag}\""), 412),
        (String::new(), 400),
        (format!("{tag}, {tag}"), 400),
        (format!("{tag}\n SIP-If-Match: {tag}"), 400),
    ] {
        let response = b.publish_with("alice", &format!("SIP-If-Match: {value}\n Expires: 0"), "");
        assert_eq!((code(&response), response.count(HeaderName::SipEtag)), (expected, 0), "{value}");
    }
    assert_eq!(read(&mut b, "alice"), "desk=open");
}

// RFC 3903 §6 step 4; RFC 3261 §20.19: numbers beyond 32 bits are the greatest, garbage is refused.
#[test]
fn durations() {
    let config = Config { min_expires_seconds: 60, max_expires_seconds: 7200, ..Config::default() };
    let mut b = Bench::with(config, DomainConfig::default());
    for (value, expected) in [
        ("Expires: 60", Ok(60)),
        ("Expires: 299", Ok(299)),
        ("Expires: 4294968", Ok(7200)),
        ("Expires: 4294967296", Ok(7200)),
        ("Expires: 99999999999999999999", Ok(7200)),
        ("", Ok(3600)),
        ("Expires: 59", Err(423)),
        ("Expires: soon", Err(400)),
        ("Expires: -1", Err(400)),
        ("Expires: 1.5", Err(400)),
        ("Expires:", Err(400)),
    ] {
        let response = b.publish_with("alice", value, &pidf("alice", "desk", "open"));
        match expected {
            Ok(seconds) => assert_eq!((code(&response), expires(&response)), (200, Some(seconds)), "{value}"),
            Err(status) => assert_eq!(code(&response), status, "{value}"),
        }
    }
    b.publish_with("alice", "Expires: 1", &pidf("alice", "desk", "open"));
    assert_eq!(b.last_error(), Error::IntervalTooBrief { min_expires_seconds: 60 });
}

// RFC 3903 §6 step 5: what the body may be.
#[test]
fn bodies() {
    let mut b = bench();
    let document = pidf("alice", "desk", "open");
    for (extra, body, expected) in [
        ("", "", 400),
        ("Expires: 0", "", 400),
        ("Expires: 0", &*document, 200),
        ("Content-Type: text/plain", &document, 415),
        ("Content-Type: application/sdp", &document, 415),
        ("Content-Type: -", &document, 415),
        ("Content-Encoding: gzip", &document, 415),
        ("", &document[..document.len() - 5], 400),
        // RFC 3261 §20.11: what may be ignored is; then there is no body.
        ("Content-Type: text/plain\n Content-Disposition: render;handling=optional", "hello", 400),
    ] {
        let response = b.publish_with("alice", extra, body);
        assert_eq!(code(&response), expected, "{extra}: {body}");
        assert_eq!(b.presence.publications(), 0, "{extra}");
    }
    for (extra, body) in [
        ("Content-Type: Application/PIDF+XML;charset=\"UTF-8\"", &*document),
        ("Content-Encoding: identity", &document),
        ("Content-Disposition: render;handling=required", &document),
        ("Event: presence;foo=bar", &document),
    ] {
        assert_eq!(code(&b.publish_with("alice", extra, body)), 200, "{extra}");
    }
    b.publish_with("alice", "Content-Type: text/plain", &document);
    assert_eq!(b.last_error(), Error::UnsupportedMediaType { accept: "application/pidf+xml" });
}

// RFC 3903 §6 step 5: a refused modification leaves body, tag and expiry; a removal does not look at its body.
#[test]
fn refusals_change_nothing() {
    let mut b = bench();
    let mut tag = b.publish("alice", 60, &pidf("alice", "desk", "open"));
    b.advance_ms(30_000);
    for (extra, body, expected) in [
        ("Expires: 600", "<presence", 400),
        ("Expires: 600\n Content-Type: text/plain", "hello", 415),
        ("Expires: 1", &*pidf("alice", "desk", "closed"), 423),
        ("Expires: 600\n Require: x-nothing", "", 420),
        ("Expires: 600\n Event: x-nothing", "", 489),
    ] {
        let response = b.publish_with("alice", &format!("SIP-If-Match: {tag}\n {extra}"), body);
        assert_eq!(code(&response), expected, "{extra}");
    }
    assert_eq!(read(&mut b, "alice"), "desk=open");
    tag = b.republish("alice", &tag, 60, "");
    assert_eq!(
        code(&b.publish_with("alice", &format!("SIP-If-Match: {tag}\n Expires: 0"), "not even XML")),
        200
    );
    assert_eq!(read(&mut b, "alice"), "-=closed");

    b.publish("alice", 60, &pidf("alice", "desk", "open"));
    b.publish_with("alice", "Expires: 600\n SIP-If-Match: x", "<presence");
    b.advance_ms(60_020);
    assert_eq!(b.presence.publications(), 0, "the expiry is that of the publication that was accepted");
}

// RFC 3903 §6 steps 1 and 2, §14.1; RFC 3261 §8.2.2.3.
#[test]
fn admission() {
    let mut b = bench();
    let document = pidf("alice", "desk", "open");
    for (extra, expected) in [
        ("Event: -", Error::BadEvent { allow_events: "presence" }),
        ("Event: x-unknown", Error::BadEvent { allow_events: "presence" }),
        ("Event: Presence", Error::BadEvent { allow_events: "presence" }),
        ("Event: presence.winfo", Error::BadEvent { allow_events: "presence" }),
        ("Require: x-a\n Require: x-b", Error::BadExtension { unsupported: "x-a, x-b".into() }),
    ] {
        b.publish_with("alice", extra, &document);
        assert_eq!(b.last_error(), expected, "{extra}");
    }
    // For another's AOR: 403, whatever it is and whether it exists.
    for user in ["bob", "nobody", "ALICE"] {
        assert_eq!(
            code(&b.publish_to("alice", &format!("sip:{user}@example.test"), "", &document)),
            403,
            "{user}"
        );
    }
    assert_eq!(code(&b.publish_to("alice", "sip:alice@elsewhere.test", "", &document)), 404);
    b.identify(Some(Identity::TrustedPeer));
    assert_eq!(code(&b.publish_to("alice", "sip:nobody@example.test", "", &document)), 404);
    assert_eq!(code(&b.publish_to("alice", "sip:bob@example.test", "", &document)), 200);
    assert_eq!(b.presence.publications(), 1);
}

// RFC 3903 §14.1: who knows another's entity-tag can do nothing with it, and its timer runs on.
#[test]
fn a_stolen_entity_tag_is_worthless() {
    let mut b = bench();
    let tag = b.publish("alice", 60, &pidf("alice", "desk", "open"));
    let watcher = b.watch("carol", "alice");
    for (extra, body) in [("Expires: 0", String::new()), ("Expires: 600", pidf("alice", "evil", "open"))] {
        let extra = format!("SIP-If-Match: {tag}\n {extra}");
        assert_eq!(code(&b.publish_to("bob", "sip:alice@example.test", &extra, &body)), 403);
    }
    b.advance_ms(60_020);
    assert_eq!(b.take(&watcher), ["active desk=open", "active -=closed"]);
    assert_eq!(b.last(&watcher).at.as_secs(), 60);
}

// A presentity has one name: neither scheme, port, parameters, escapes nor the case of the host split it; the entity is
// the canonical one, whatever was published.
#[test]
fn spellings_of_one_presentity() {
    let mut b = bench();
    let mut tag = b.publish("alice", 600, &pidf("mallory", "desk", "open"));
    for uri in [
        "sip:alice@EXAMPLE.test",
        "sip:alice@example.test:5060",
        "sip:%61lice@example.test",
        "sip:alice@example.test;transport=udp",
        "pres:alice@example.test",
    ] {
        let extra = format!("SIP-If-Match: {tag}");
        let response = b.publish_to("alice", uri, &extra, &pidf("alice", "desk", "open"));
        assert_eq!(code(&response), 200, "{uri}");
        tag = etag(&response);
        let (key, response) = b.subscribe("bob", uri, "Expires: 0");
        assert_eq!(code(&response), 200, "{uri}");
        let body = &b.last(&key).body;
        assert!(body.contains("desk") && body.contains("entity=\"sip:alice@example.test\""), "{uri}: {body}");
    }
    assert_eq!(b.presence.publications(), 1);
}

// RFC 3903 §4.2: an unrefreshed publication goes, and only it; a refresh counts from when it came.
#[test]
fn expiry() {
    let mut b = bench();
    let watcher = b.watch("bob", "alice");
    let desk = b.publish("alice", 60, &pidf("alice", "desk", "open"));
    b.publish("alice", 90, &pidf("alice", "mobile", "open"));
    b.advance_ms(50_000);
    let desk = b.republish("alice", &desk, 60, "");
    b.advance_ms(39_990);
    assert_eq!(b.take(&watcher), ["active -=closed", "active desk=open", "active desk=open mobile=open"]);
    b.advance_ms(30);
    assert_eq!(b.take(&watcher), ["active desk=open"]);
    b.advance_ms(20_000);
    assert_eq!(b.take(&watcher), ["active -=closed"]);
    assert_eq!(code(&b.publish_with("alice", &format!("SIP-If-Match: {desk}"), "")), 412);
}

// RFC 3903 §6: a publication that is over is not matched, even before the timer has come by.
#[test]
fn expiry_does_not_wait_for_the_timer() {
    let mut b = bench();
    let tag = b.publish("alice", 60, &pidf("alice", "desk", "open"));
    b.now += std::time::Duration::from_secs(60);
    assert_eq!(code(&b.publish_with("alice", &format!("SIP-If-Match: {tag}"), "")), 412);
    assert_eq!(read(&mut b, "alice"), "-=closed");
}

// No NOTIFY where nothing changed: a refresh, or the same document again; one for each change.
#[test]
fn only_changes_are_notified() {
    let mut b = bench();
    let watcher = b.watch("bob", "alice");
    let mut tag = b.publish("alice", 600, &pidf("alice", "desk", "open"));
    b.take(&watcher);
    for _ in 0..3 {
        tag = b.republish("alice", &tag, 600, "");
        tag = b.republish("alice", &tag, 600, &pidf("alice", "desk", "open"));
    }
    assert_eq!(b.take(&watcher), [""; 0]);
    b.republish("alice", &tag, 600, &pidf("alice", "desk", "closed"));
    assert_eq!(b.take(&watcher), ["active desk=closed"]);
}

// RFC 3261 §17.2.2: a retransmission is one publication, with the same answer.
#[test]
fn a_retransmission_is_one_publication() {
    let mut b = bench();
    let text = b.publish_text("alice", "sip:alice@example.test", "", &pidf("alice", "desk", "open"));
    let source =
        bench::flow(sip_message::Transport::Udp, bench::address_of("alice"), sip_service::Connection::NONE);
    let first = b.transact(&text, source);
    let again = b.transact(&text, source);
    assert_eq!(etag(&first), etag(&again));
    assert_eq!(b.presence.publications(), 1);
}

// Every limit has its answer, and what was there stays.
#[test]
fn limits() {
    let config = Config {
        publications_per_aor_max: 2,
        publications_max: 3,
        document_bytes_max: 500,
        ..Config::default()
    };
    let mut b = Bench::with(config, DomainConfig::default());
    let tag = b.publish("alice", 600, &pidf("alice", "a", "open"));
    b.publish("alice", 600, &pidf("alice", "b", "open"));
    let third = b.publish_with("alice", "", &pidf("alice", "c", "open"));
    assert_eq!((code(&third), b.last_error()), (403, Error::TooManyPublicationsOfAor { max: 2 }));
    b.publish("bob", 600, &pidf("bob", "a", "open"));
    assert_eq!(code(&b.publish_with("carol", "", &pidf("carol", "a", "open"))), 503);
    let large = pidf("alice", &"x".repeat(500), "open");
    assert_eq!(code(&b.publish_with("alice", &format!("SIP-If-Match: {tag}"), &large)), 413);
    // What is there can be changed, and room comes back.
    let tag = b.republish("alice", &tag, 600, &pidf("alice", "a", "closed"));
    b.republish("alice", &tag, 0, "");
    b.publish("carol", 600, &pidf("carol", "a", "open"));
    assert_eq!(b.presence.publications(), 3);
    assert_eq!(b.metric("rollcall_presence_publications", "example.test"), 3.0);
    b.advance_ms(600_020);
    assert_eq!(b.presence.publications(), 0);
    assert_eq!(b.metric("rollcall_presence_publications", "example.test"), 0.0);
}
