//! SIPp against a running server: registrations by the thousand, calls, a hundred watchers.

use anyhow::{Context, Result};
use peers::{Finished, Message, Rollcall, Scenario, Sipp, free_port};

const DOMAIN: &str = "[auth]\nenabled = true\nalgorithms = [\"MD5\"]\n[[domain]]\nname = \"example.test\"\n";

/// A configuration with these users, each with the password that `password` makes.
fn config(users: &[String]) -> String {
    let user = |user: &String| {
        format!("[[user]]\naor = \"sip:{user}@example.test\"\npassword = \"{}\"\n", password(user))
    };
    DOMAIN.to_owned() + &users.iter().map(user).collect::<String>()
}

fn password(user: &str) -> String {
    format!("secret-of-{user}")
}

/// The field from which SIPp makes an Authorization or Proxy-Authorization header field (RFC 7616 §3.4).
fn credentials(user: &str) -> String {
    format!("[authentication username={user} password={}]", password(user))
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

/// RFC 3261 §10.3 and §22.2: each registration is challenged once and accepted once, and all bindings are there.
#[test]
fn a_thousand_phones_register_with_digest() -> Result<()> {
    let phones = numbered("phone", 1000);
    let server = Rollcall::start(&config(&phones))?;
    let fields: Vec<_> = phones.iter().map(|phone| format!("{phone};{}", credentials(phone))).collect();

    Sipp::run(Scenario::REGISTER, server.sip(), "sip:example.test", &fields)?;

    let metrics = server.metrics()?;
    assert_eq!(metrics.sum("rollcall_registrar_bindings{domain=\"example.test\"}")?, 1000.0);
    assert_eq!(metrics.sum("rollcall_registrar_registrations_total{outcome=\"registered\"}")?, 1000.0);
    let requests = "rollcall_requests_total{domain=\"example.test\",method=\"REGISTER\",transport=\"udp\"}";
    assert_eq!(metrics.sum(requests)?, 2000.0);
    assert_eq!(metrics.sum("rollcall_responses_total{code=\"401\",method=\"REGISTER\"}")?, 1000.0);
    assert_eq!(metrics.sum("rollcall_responses_total{code=\"200\",method=\"REGISTER\"}")?, 1000.0);
    Ok(())
}

/// Alice calls Bob, who has registered; each side of the call as its SIPp saw it.
fn call(server: &Rollcall, caller: Scenario, callee: Scenario) -> Result<(Finished, Finished, u16)> {
    let bobs_port = free_port()?;
    let bob = [format!("bob;{}", credentials("bob"))];
    Sipp::call(Scenario::REGISTER, bobs_port, server.sip(), "sip:example.test", &bob)?.finish()?;
    let bob = Sipp::answer(callee, bobs_port, 1)?;
    let alice = [format!("alice;{};bob", credentials("alice"))];
    let alice = Sipp::run(caller, server.sip(), "sip:bob@example.test", &alice)?;
    Ok((alice, bob.finish()?, bobs_port))
}

/// The last request with this method; under load there may be retransmissions before it.
fn last<'a>(messages: &'a [Message], method: &str) -> Result<&'a Message> {
    let mut requests = messages.iter().rev();
    let found = requests.find(|message| message.start_line().starts_with(&format!("{method} ")));
    found.with_context(|| format!("no {method}"))
}

/// An in-dialog request has come through the proxy: it is for `contact` (RFC 3261 §12.2.1.1), the Route values that named
/// the proxy are gone (RFC 3261 §16.4), and the topmost Via is the proxy's (RFC 3261 §16.6 step 8).
fn assert_came_through(request: &Message, server: &Rollcall, contact: &str) {
    let uri = request.start_line().split(' ').nth(1).unwrap_or_default();
    assert_eq!(uri, contact);
    let vias: Vec<_> = request.headers("Via").collect();
    assert_eq!(vias.len(), 2, "{vias:?}");
    assert!(vias[0].contains(&format!(" 127.0.0.1:{};", server.sip_port())), "{vias:?}");
    assert_eq!(request.header("Route"), "");
    assert_eq!(request.header("Max-Forwards"), "69");
}

/// A sent request carries the recorded route, which is the proxy's.
fn assert_has_route(request: &Message, record_route: &str, server: &Rollcall) {
    assert_eq!(request.header("Route"), record_route);
    assert!(record_route.contains(&format!("@127.0.0.1:{}", server.sip_port())), "{record_route}");
    assert!(record_route.contains(";lr"), "{record_route}");
}

/// RFC 3261 §16.6 step 4 and §16.4: INVITE is challenged with 407 and forwarded to the binding with a Record-Route; ACK
/// and BYE follow the route set through the proxy.
#[test]
fn a_call_goes_along_its_record_route() -> Result<()> {
    let server = Rollcall::start(&config(&["alice".into(), "bob".into()]))?;

    let (alice, bob, bobs_port) = call(&server, Scenario::CALL, Scenario::ANSWER)?;

    let record_route = last(&bob.received, "INVITE")?.header("Record-Route").to_owned();
    let bobs_contact = format!("sip:callee@127.0.0.1:{bobs_port}");
    // The first of Alice's two ACKs concludes the 407, and goes no further than the proxy; the last is for the 200.
    assert_has_route(last(&alice.sent, "ACK")?, &record_route, &server);
    assert_has_route(last(&alice.sent, "BYE")?, &record_route, &server);
    assert_came_through(last(&bob.received, "ACK")?, &server, &bobs_contact);
    assert_came_through(last(&bob.received, "BYE")?, &server, &bobs_contact);

    let metrics = server.metrics()?;
    for method in ["INVITE", "BYE"] {
        let forwarded = metrics.sum(&format!("rollcall_proxy_forwarded_total{{method=\"{method}\"}}"))?;
        assert_eq!(forwarded, 1.0, "{method}");
    }
    // A 200 that was sent again is acknowledged again (RFC 3261 §13.2.2.4).
    assert!(metrics.sum("rollcall_proxy_forwarded_total{method=\"ACK\"}")? >= 1.0);
    assert_eq!(metrics.sum("rollcall_responses_total{code=\"407\",method=\"INVITE\"}")?, 1.0);
    assert_eq!(metrics.sum("rollcall_responses_total{code=\"200\",method=\"INVITE\"}")?, 1.0);
    assert_eq!(metrics.sum("rollcall_responses_total{code=\"200\",method=\"BYE\"}")?, 1.0);
    Ok(())
}

/// RFC 3261 §12.1.1: the side that was called has the same route, and its BYE goes along it to the caller's contact.
#[test]
fn the_callee_hangs_up_along_the_record_route() -> Result<()> {
    let server = Rollcall::start(&config(&["alice".into(), "bob".into()]))?;

    let (alice, bob, _) = call(&server, Scenario::CALL_UNTIL_BYE, Scenario::ANSWER_THEN_BYE)?;

    let invite = last(&bob.received, "INVITE")?;
    assert_has_route(last(&bob.sent, "BYE")?, invite.header("Record-Route"), &server);
    let alices_contact = invite.header("Contact").trim_matches(['<', '>']);
    assert_came_through(last(&alice.received, "BYE")?, &server, alices_contact);
    assert_eq!(server.metric("rollcall_proxy_forwarded_total{method=\"BYE\"}")?, 1.0);
    Ok(())
}

/// RFC 3903 §6 and RFC 6665 §4.2.1, §4.2.2: a hundred watchers are told the state of one who does not publish yet, and
/// each is told again as soon as she does.
#[test]
fn a_hundred_watchers_are_told_of_a_publication() -> Result<()> {
    let watchers = numbered("watcher", 100);
    let users: Vec<_> = watchers.iter().cloned().chain(["alice".into()]).collect();
    let mut server = Rollcall::start(&config(&users))?;
    let fields: Vec<_> =
        watchers.iter().map(|watcher| format!("{watcher};{};alice", credentials(watcher))).collect();

    let watching =
        Sipp::call(Scenario::WATCH, free_port()?, server.sip(), "sip:alice@example.test", &fields)?;
    server.wait_for_metric("rollcall_notifies_total{event=\"presence\",outcome=\"2xx\"}", 100.0)?;
    let subscriptions = "rollcall_subscriptions{domain=\"example.test\",event=\"presence\"}";
    assert_eq!(server.metric(subscriptions)?, 100.0);

    let alice = [format!("alice;{}", credentials("alice"))];
    Sipp::run(Scenario::PUBLISH, server.sip(), "sip:alice@example.test", &alice)?;
    // Each call ends with a NOTIFY that holds the new note, or SIPp reports a failure.
    let told = watching.finish()?;

    let with_note = told.received.iter().filter(|message| message.body().contains("At the whiteboard"));
    assert_eq!(with_note.count(), 100);
    server.wait_for_metric("rollcall_notifies_total{event=\"presence\",outcome=\"2xx\"}", 200.0)?;
    let metrics = server.metrics()?;
    assert_eq!(metrics.sum("rollcall_notifies_total{event=\"presence\"}")?, 200.0);
    assert_eq!(metrics.sum(subscriptions)?, 100.0);
    assert_eq!(metrics.sum("rollcall_presence_publications{domain=\"example.test\"}")?, 1.0);
    assert_eq!(metrics.sum("rollcall_presence_notify_lag_seconds_count")?, 100.0);
    Ok(())
}
