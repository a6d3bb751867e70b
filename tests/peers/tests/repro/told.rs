//! The server as it tells a repro what is here, and what changes (presence-and-replication §6.2 to §6.6).

use anyhow::Result;
use peers::{UserAgent, pidf, publish, register};

use crate::scripted::{COMPLETE, REQUEST, Wire, half, reginfo, timeless, value};

const BINDINGS: &str = "rollcall_registrar_bindings{domain=\"example.test\"}";
const INSTANCE: &str = "urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF";

/// `receivedfrom` of a TCP connection from 127.0.0.1: keys that mean nothing, transport 2, port, address.
fn received_from(port: u16) -> String {
    let [high, low] = port.to_be_bytes();
    let octets = [0, 0, 0, 0, 0, 0, 0, 0, 0, 2, low, high, 127, 0, 0, 1];
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in octets.chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[test]
fn a_dump_is_written_as_a_repro_writes_it() -> Result<()> {
    let half = half("")?;
    let mut alice = UserAgent::tcp(half.server.sip())?;
    let port = alice.address().port();
    register(
        &mut alice,
        "alice",
        1,
        &format!(
            "Contact: <sip:alice@{{here}};transport=tcp>;q=0.5;+sip.instance=\"<{INSTANCE}>\";expires=120"
        ),
    )?;
    let mut edge = UserAgent::udp(half.server.sip())?;
    register(
        &mut edge,
        "carol",
        1,
        &format!(
            "Path: <sip:edge.example.test;lr;ob>\n\
             Path: <sip:p2.example.test;lr>\n\
             Contact: <sip:carol@192.0.2.7>;reg-id=1;+sip.instance=\"<{INSTANCE}>\";expires=120"
        ),
    )?;
    let body = pidf("desk", "open");
    let tag = publish(&mut alice, "Expires: 120", &body)?;

    let (_wire, dump) = Wire::read(half.link)?;
    let mut expected = [
        format!(
            "<reginfo>\r\n   <aor>sip:alice@example.test</aor>\r\n   <contactinfo>\r\n      \
             <contacturi>&lt;sip:alice@127.0.0.1:{port};transport=tcp&gt;;q=0.5;+sip.instance=&quot;&lt;{INSTANCE}&gt;\
             &quot;;expires=120</contacturi>\r\n      <expires>LEFT</expires>\r\n      \
             <lastupdate>AGE</lastupdate>\r\n      <receivedfrom>{}</receivedfrom>\r\n      \
             <instance>&lt;{INSTANCE}&gt;</instance>\r\n   </contactinfo>\r\n</reginfo>\r\n",
            received_from(port),
        ),
        format!(
            "<reginfo>\r\n   <aor>sip:carol@example.test</aor>\r\n   <contactinfo>\r\n      \
             <contacturi>&lt;sip:carol@192.0.2.7&gt;;+sip.instance=&quot;&lt;{INSTANCE}&gt;&quot;;reg-id=1;expires=120\
             </contacturi>\r\n      <expires>LEFT</expires>\r\n      <lastupdate>AGE</lastupdate>\r\n      \
             <sippath>sip:edge.example.test;lr;ob</sippath>\r\n      <sippath>sip:p2.example.test;lr</sippath>\r\n      \
             <instance>&lt;{INSTANCE}&gt;</instance>\r\n      <regid>1</regid>\r\n   </contactinfo>\r\n</reginfo>\r\n"
        ),
    ];
    let text = timeless(&dump, 120)?;
    // Users come in the order of the map.
    if text.find("carol@example.test") < text.find("alice@example.test") {
        expected.reverse();
    }
    let escaped = body.replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let publication = format!(
        "<pubinfo>\r\n   <eventtype>presence</eventtype>\r\n   <documentkey>alice@example.test</documentkey>\r\n   \
         <etag>{tag}</etag>\r\n   <expires>LEFT</expires>\r\n   <lastupdate>AGE</lastupdate>\r\n   \
         <contents>{escaped}</contents>\r\n   <isencrypted>false</isencrypted>\r\n</pubinfo>\r\n"
    );
    assert_eq!(text, expected.concat() + &publication);
    Ok(())
}

#[test]
fn changes_are_told_as_they_happen() -> Result<()> {
    let half = half("")?;
    let mut alice = UserAgent::udp(half.server.sip())?;
    let (mut wire, dump) = Wire::read(half.link)?;
    assert_eq!(dump, "");

    register(&mut alice, "alice", 1, "Contact: <sip:alice@192.0.2.1>;expires=120")?;
    let registered = timeless(&wire.event("reginfo")?, 120)?;
    assert!(registered.contains("sip:alice@192.0.2.1&gt;") && registered.contains("<expires>LEFT<"));
    register(&mut alice, "alice", 2, "Contact: <sip:alice@192.0.2.2>;expires=120")?;
    let second = wire.event("reginfo")?;
    assert!(second.contains("192.0.2.1") && second.contains("192.0.2.2"), "always all contacts: {second}");
    register(&mut alice, "alice", 3, "Contact: <sip:alice@192.0.2.1>;expires=0")?;
    let removed = timeless(&wire.event("reginfo")?, 120)?;
    let gone = "<contacturi>&lt;sip:alice@192.0.2.1&gt;</contacturi>\r\n      <expires>0</expires>\r\n      \
                <lastupdate>AGE</lastupdate>\r\n";
    assert!(removed.contains(gone) && removed.contains("192.0.2.2"), "{removed}");

    let desk = publish(&mut alice, "Expires: 120", &pidf("desk", "open"))?;
    let published = wire.event("pubinfo")?;
    assert_eq!((value(&published, "etag")?, value(&published, "isencrypted")?), (&*desk, "false"));
    // A refresh has another tag here: the new one is told with the document, and the end of the former.
    let refreshed = publish(&mut alice, &format!("SIP-If-Match: {desk}\nExpires: 120"), "")?;
    let told = wire.event("pubinfo")?;
    assert_eq!(value(&told, "etag")?, refreshed);
    assert!(told.contains("desk"), "{told}");
    let ended = timeless(&wire.event("pubinfo")?, 120)?;
    assert_eq!((value(&ended, "etag")?, value(&ended, "expires")?), (&*desk, "0"));
    assert!(!ended.contains("contents"), "{ended}");
    publish(&mut alice, &format!("SIP-If-Match: {refreshed}\nExpires: 0"), "")?;
    let removed = wire.event("pubinfo")?;
    assert_eq!((value(&removed, "etag")?, value(&removed, "expires")?), (&*refreshed, "0"));
    Ok(())
}

/// §7, 25: repro takes nothing that is only as new in whole seconds, so what changes twice in one is told again later.
#[test]
fn what_changes_twice_in_a_second_is_told_with_two_times() -> Result<()> {
    let half = half("")?;
    let mut alice = UserAgent::udp(half.server.sip())?;
    let (mut wire, _) = Wire::read(half.link)?;
    let mut with_q = |cseq, q: &str| {
        register(&mut alice, "alice", cseq, &format!("Contact: <sip:alice@192.0.2.1>;q={q};expires=120"))
    };
    let age = |event: &str| Ok::<u64, anyhow::Error>(value(event, "lastupdate")?.parse()?);
    let began = std::time::Instant::now();
    with_q(1, "0.1")?;
    let first = wire.event("reginfo")?;
    assert!(first.contains("q=0.1"), "{first}");
    with_q(2, "0.2")?;
    with_q(3, "0.3")?;
    let last = wire.event("reginfo")?;
    assert!(last.contains("q=0.3"), "{last}");
    assert!(age(&last)? < age(&first)? + began.elapsed().as_secs(), "in a later second of any clock: {last}");
    Ok(())
}

/// §6.8: what the peer changed comes back to it no younger than it is, whatever it was told just before: it may have changed
/// the same again, and would take the older one for the newer.
#[test]
fn a_change_of_the_peer_comes_back_as_old_as_it_is() -> Result<()> {
    let mut half = half("")?;
    let mut peer = half.place.dump(&reginfo("carol", "<sip:carol@192.0.2.1>", 120, 60))?;
    half.server.wait_for_metric(BINDINGS, 1.0)?;
    let (wire, dump) = Wire::read(half.link)?;
    let age = |dump: &str| Ok::<u64, anyhow::Error>(value(dump, "lastupdate")?.parse()?);
    assert!(age(&dump)? >= 60, "{dump}");
    wire.close()?;
    peer.say(reginfo("carol", "<sip:carol@192.0.2.1>", 0, 30))?;
    half.server.wait_for_metric(BINDINGS, 0.0)?;
    let (_wire, dump) = Wire::read(half.link)?;
    assert_eq!(value(&dump, "expires")?, "0");
    assert!((30..60).contains(&age(&dump)?), "{dump}");
    Ok(())
}

/// §6.7: what a repro sends for a keep-alive, and requests in whatever segments.
#[test]
fn junk_between_events_and_requests_in_pieces() -> Result<()> {
    let half = half("")?;
    let mut alice = UserAgent::udp(half.server.sip())?;
    let mut wire = Wire::connect(half.link)?;
    for octet in REQUEST.as_bytes().chunks(1) {
        wire.say(octet)?;
    }
    assert_eq!(wire.until(COMPLETE)?, "");
    let mut junk = b"\r\n\r\n\0makeWsHandshakeResponse\0<reginfo>\0<InitialSync".to_vec();
    junk.resize(85, b'<');
    for number in 0..50 {
        wire.say(&junk)?;
        let contact = format!("Contact: <sip:user-{number}@192.0.2.1>;expires=120");
        register(&mut alice, &format!("user-{number}"), 1, &contact)?;
        assert!(wire.event("reginfo")?.contains(&format!("user-{number}@192.0.2.1")));
    }
    assert_eq!(wire.rest(), "");
    Ok(())
}

/// A reader that is cut off in the middle of a message misses nothing when it is back.
#[test]
fn a_reader_that_comes_back_has_all() -> Result<()> {
    let half = half("")?;
    let mut alice = UserAgent::udp(half.server.sip())?;
    let (mut wire, _) = Wire::read(half.link)?;
    register(&mut alice, "alice", 1, "Contact: <sip:alice@192.0.2.1>;expires=120")?;
    wire.until("<reginfo>\r\n   <aor>sip:al")?;
    wire.close()?;
    register(&mut alice, "bob", 1, "Contact: <sip:bob@192.0.2.1>;expires=120")?;
    register(&mut alice, "bob", 2, "Contact: <sip:bob@192.0.2.1>;expires=0")?;
    let (_wire, dump) = Wire::read(half.link)?;
    assert!(dump.contains("sip:alice@192.0.2.1") && dump.contains("sip:bob@192.0.2.1"), "{dump}");
    assert_eq!(dump.matches("<expires>0<").count(), 1, "what was removed is in it: {dump}");
    Ok(())
}

#[test]
fn another_version_is_told_so_and_hears_nothing() -> Result<()> {
    let mut half = half("")?;
    let mut alice = UserAgent::udp(half.server.sip())?;
    let mut wire = Wire::connect(half.link)?;
    wire.say(REQUEST.replace('4', "5"))?;
    let answer = wire.until("</InitialSync>")?;
    assert!(
        answer.ends_with("<Result Code=\"505\">Version not supported.</Result>\r\n  </Response>\r\n"),
        "{answer}"
    );
    half.server.wait_for_metric("rollcall_replication_refused_total{reason=\"version\"}", 1.0)?;
    half.server.wait_for("expected synchronisation of version 4")?;
    register(&mut alice, "alice", 1, "Contact: <sip:alice@192.0.2.1>;expires=120")?;
    // The same connection may ask better; then it has the state, once.
    wire.say(REQUEST)?;
    assert_eq!(wire.until(COMPLETE)?.matches("<reginfo>").count(), 1);
    Ok(())
}

/// A contact that only a connection to this server leads to is not told (§6.1).
#[test]
fn what_nobody_else_reaches_is_not_told() -> Result<()> {
    let half = half("")?;
    let mut alice = UserAgent::tcp(half.server.sip())?;
    let contact =
        format!("Contact: <sip:alice@{{here}};transport=tcp>;reg-id=1;+sip.instance=\"<{INSTANCE}>\"");
    register(&mut alice, "alice", 1, &contact)?;
    let (_wire, dump) = Wire::read(half.link)?;
    assert_eq!(dump, "");
    Ok(())
}

#[test]
fn only_the_peer_may_read() -> Result<()> {
    let mut half = half("")?;
    let other = "127.0.0.77";
    let text = crate::scripted::config("a", "", "repro", half.link, half.place.address()?);
    half.server.reconfigure(&format!("{text}from = \"{other}\"\n"))?;
    half.server.crash(|_| Ok(()))?;
    let mut wire = Wire::connect(half.link)?;
    // It may be closed before all is written.
    let _ = wire.say(REQUEST);
    assert_eq!(wire.until_closed()?, "");
    half.server.wait_for_metric("rollcall_replication_refused_total{reason=\"address\"}", 1.0)
}
