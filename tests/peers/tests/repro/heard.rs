//! The server as it hears what a repro says.

use anyhow::Result;
use peers::{OPEN, Rollcall, UserAgent, contacts, free_port, page, pidf, publish, register, subscribe, told};

use crate::scripted::{COMPLETE, Place, Wire, half, pubinfo, reginfo, value};

const BINDINGS: &str = "rollcall_registrar_bindings{domain=\"example.test\"}";
const PUBLICATIONS: &str = "rollcall_presence_publications{domain=\"example.test\"}";
const UNREADABLE: &str = "rollcall_replication_unreadable_total";
/// As observed.
const TAG: &str = "614f5da98eb89b30";

#[test]
fn a_contact_is_taken_with_all_that_is_of_use() -> Result<()> {
    let mut half = half("")?;
    let _wire = half.place.dump(
        "<reginfo>\r\n   <aor>sip:carol@example.test</aor>\r\n   <contactinfo>\r\n      \
         <contacturi>&lt;sip:carol@127.0.0.1:45677&gt;;q=0.5;+sip.instance=&quot;&lt;urn:uuid:00000000-0000-1000-8000-\
         AABBCCDDEEFF&gt;&quot;;reg-id=1;expires=120</contacturi>\r\n      <expires>120</expires>\r\n      \
         <lastupdate>0</lastupdate>\r\n      <receivedfrom>DAAAAAEAAAAAA22yfwAAAQ==</receivedfrom>\r\n      \
         <sippath>sip:edge.example.test;lr;ob</sippath>\r\n      \
         <instance>&lt;urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF&gt;</instance>\r\n      <regid>1</regid>\r\n      \
         <useragent>pyua/1.0</useragent>\r\n   </contactinfo>\r\n</reginfo>\r\n",
    )?;
    half.server.wait_for_metric(BINDINGS, 1.0)?;
    let mut carol = UserAgent::udp(half.server.sip())?;
    let listed = register(&mut carol, "carol", 1, "")?;
    let contact = listed.header("Contact");
    assert!(contact.starts_with("<sip:carol@127.0.0.1:45677>;q=0.5;+sip.instance="), "{contact}");
    assert!(contact.contains(";reg-id=1"), "{contact}");
    // Nobody knows the Call-ID and CSeq of the REGISTER over there: whatever the phone sends is taken.
    let refresh = "Path: <sip:edge.example.test;lr;ob>\n\
                   Contact: <sip:carol@127.0.0.1:5>;reg-id=1;\
                   +sip.instance=\"<urn:uuid:00000000-0000-1000-8000-aabbccddeeff>\"";
    register(&mut carol, "carol", 1, refresh)?;
    assert_eq!(contacts(&half.server, "carol")?, ["<sip:carol@127.0.0.1:5"], "the same instance");
    assert_eq!(half.server.metric(UNREADABLE)?, 0.0);
    Ok(())
}

/// Messages in whatever pieces, and a connection that breaks within one: nothing of it swallows what comes next (§7, 23).
#[test]
fn fault_23_half_a_message_swallows_nothing() -> Result<()> {
    let mut half = half("")?;
    let mut wire = half.place.accept()?;
    for octet in (reginfo("u1", "<sip:u1@192.0.2.1>", 120, 3) + COMPLETE).as_bytes().chunks(1) {
        wire.say(octet)?;
    }
    half.server.wait_for_metric(BINDINGS, 1.0)?;
    let broken = reginfo("u2", "<sip:u2@192.0.2.1>", 120, 0);
    wire.say(&broken[..broken.len() / 2])?;
    wire.close()?;
    let events = reginfo("u3", "<sip:u3@192.0.2.1>", 120, 0) + &broken;
    let _wire = half.place.dump(&events)?;
    half.server.wait_for_metric(BINDINGS, 3.0)?;
    for user in ["u1", "u2", "u3"] {
        assert_eq!(contacts(&half.server, user)?, [format!("<sip:{user}@192.0.2.1")]);
    }
    Ok(())
}

/// §7, 22: an age that is larger than a clock freezes nothing.
#[test]
fn fault_22_an_age_beyond_every_clock() -> Result<()> {
    let mut half = half("")?;
    for age in [99_999_999_999, u64::MAX] {
        let user = format!("u{age}");
        let mut wire = half.place.dump(&reginfo(&user, "<sip:old@192.0.2.1>;q=0.1", 120, age))?;
        half.server.wait_for_metric(BINDINGS, 1.0)?;
        wire.say(reginfo(&user, "<sip:old@192.0.2.1>;q=0.2", 120, 30))?;
        wire.say(reginfo(&user, "<sip:new@192.0.2.2>", 120, 30))?;
        half.server.wait_for_metric(BINDINGS, 2.0)?;
        let mut agent = UserAgent::udp(half.server.sip())?;
        let listed = register(&mut agent, &user, 1, "")?;
        assert!(listed.headers("Contact").any(|contact| contact.contains("q=0.2")), "{listed:?}");
        wire.say(reginfo(&user, "<sip:old@192.0.2.1>", 0, 2))?;
        wire.say(reginfo(&user, "<sip:new@192.0.2.2>", 0, 2))?;
        half.server.wait_for_metric(BINDINGS, 0.0)?;
        wire.close()?;
    }
    Ok(())
}

/// §7, 25: of changes within a second the last one counts, as they come in order.
#[test]
fn fault_25_changes_of_one_second() -> Result<()> {
    let half = half("")?;
    let mut wire = half.place.dump("")?;
    let mut bob = UserAgent::udp(half.server.sip())?;
    subscribe(&mut bob, 1, None, 600)?;
    told(&mut bob)?;
    wire.say(pubinfo(TAG, 120, 0, &pidf("desk", "open")))?;
    assert!(told(&mut bob)?.body().contains("<basic>open</basic>"));
    for basic in ["closed", "open", "closed"] {
        wire.say(pubinfo(TAG, 120, 0, &pidf("desk", basic)))?;
        assert!(told(&mut bob)?.body().contains(&format!("<basic>{basic}</basic>")));
    }
    wire.say(pubinfo(TAG, 0, 0, ""))?;
    assert!(!told(&mut bob)?.body().contains("desk"));
    Ok(())
}

/// §6.7; §7, 20: a publisher turns to this server, and repro's timer, which still runs, closes nothing.
#[test]
fn fault_20_a_publisher_that_turns_to_us_is_not_closed() -> Result<()> {
    let mut half = half("")?;
    let (mut reader, _) = Wire::read(half.link)?;
    let mut wire = half.place.dump(&pubinfo(TAG, 3, 600, &pidf("desk", "open")))?;
    half.server.wait_for_metric(PUBLICATIONS, 1.0)?;
    let (mut alice, mut bob) = (UserAgent::udp(half.server.sip())?, UserAgent::udp(half.server.sip())?);
    subscribe(&mut bob, 1, None, 600)?;
    assert!(told(&mut bob)?.body().contains("<basic>open</basic>"));

    let tag = publish(&mut alice, &format!("SIP-If-Match: {TAG}\nExpires: 120"), "")?;
    let fresh = reader.event("pubinfo")?;
    assert_eq!(value(&fresh, "etag")?, tag);
    assert!(fresh.contains("desk"), "{fresh}");
    let ended = reader.event("pubinfo")?;
    assert_eq!((value(&ended, "etag")?, value(&ended, "expires")?), (TAG, "0"));

    // What repro's timer says, and a second word to know that the first was heard.
    wire.say(pubinfo(TAG, 0, 0, ""))?;
    wire.say(reginfo("u", "<sip:u@192.0.2.1>", 120, 0))?;
    half.server.wait_for_metric(BINDINGS, 1.0)?;
    assert_eq!(half.server.metric(PUBLICATIONS)?, 1.0);
    publish(&mut alice, &format!("SIP-If-Match: {tag}\nExpires: 120"), &pidf("desk", "closed"))?;
    let next = told(&mut bob)?;
    assert!(
        next.body().contains("<basic>closed</basic>"),
        "the next that is told is what is published: {next:?}"
    );
    Ok(())
}

/// §6.8; §7, 21: what was removed here does not come back with a stale copy, also under another spelling, nor does a
/// publication.
#[test]
fn fault_21_a_stale_dump_brings_nothing_back() -> Result<()> {
    let mut half = half("")?;
    let instance = ";+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"";
    let dump = reginfo("alice", "<sip:alice@192.0.2.1>", 120, 50)
        + &reginfo("alice", &format!("<sip:alice@192.0.2.2>{instance}"), 120, 50)
        + &pubinfo(TAG, 120, 50, &pidf("desk", "open"));
    let wire = half.place.dump(&dump)?;
    half.server.wait_for_metric(BINDINGS, 2.0)?;
    half.server.wait_for_metric(PUBLICATIONS, 1.0)?;
    let mut alice = UserAgent::udp(half.server.sip())?;
    register(&mut alice, "alice", 1, "Contact: *\nExpires: 0")?;
    let desk = publish(&mut alice, &format!("SIP-If-Match: {TAG}"), &pidf("desk", "closed"))?;
    publish(&mut alice, &format!("SIP-If-Match: {desk}\nExpires: 0"), "")?;
    wire.close()?;

    let moved = reginfo("alice", &format!("<sip:alice@192.0.2.3>{instance}"), 120, 50);
    let _wire = half.place.dump(&(dump + &moved + &reginfo("last", "<sip:last@192.0.2.1>", 120, 0)))?;
    half.server.wait_for_metric(BINDINGS, 1.0)?;
    assert_eq!(contacts(&half.server, "alice")?, [""; 0]);
    assert_eq!(half.server.metric(PUBLICATIONS)?, 0.0);
    Ok(())
}

/// A contact on a connection to this server comes back from the peer's dump as a copy without it, and still has it.
#[test]
fn a_connection_outlives_its_copy() -> Result<()> {
    let mut half = half("")?;
    let (mut reader, _) = Wire::read(half.link)?;
    let mut wire = half.place.dump("")?;
    let mut alice = UserAgent::tcp(half.server.sip())?;
    register(&mut alice, "alice", 1, "Contact: <sip:alice@{here};transport=tcp>;expires=120")?;
    let told = reader.event("reginfo")?;
    // Newer, and with another q: it is taken.
    let copy = told.replace("&gt;;", "&gt;;q=0.7;").replace("<expires>120<", "<expires>300<");
    wire.say(&copy)?;
    wire.say(reginfo("last", "<sip:last@192.0.2.1>", 120, 0))?;
    half.server.wait_for_metric(BINDINGS, 2.0)?;
    let mut carol = UserAgent::udp(half.server.sip())?;
    let listed = register(&mut carol, "alice", 1, "")?;
    assert!(listed.header("Contact").contains("q=0.7"), "{listed:?}");
    page(&mut carol, &mut alice)?;
    Ok(())
}

#[test]
fn what_cannot_be_taken_is_counted_and_costs_itself_alone() -> Result<()> {
    let mut half = half("")?;
    let _wire = half.place.dump(
        &[
            reginfo("u1", "<sip:u1@example.test>", 120, 0),
            reginfo("u1", "no contact", 120, 0).replace("u1@example.test", "u1@elsewhere.test"),
            "<reginfo>\r\n<aor>sip:u1@example.test</aor><contactinfo></contactinfo></reginfo>\r\n".into(),
            pubinfo("another-tag", 120, 0, &pidf("desk", "open")),
            pubinfo(TAG, 120, 0, "<presence"),
            reginfo("u2", "<sip:u2@192.0.2.1>", 120, 0),
        ]
        .concat(),
    )?;
    half.server.wait_for_metric(BINDINGS, 1.0)?;
    assert_eq!((half.server.metric(UNREADABLE)?, half.server.metric(PUBLICATIONS)?), (5.0, 0.0));
    half.server.wait_for_metric("rollcall_replication_peer_up{peer=\"repro\"}", 0.0)?;
    let (_reader, _) = Wire::read(half.link)?;
    half.server.wait_for_metric("rollcall_replication_peer_up{peer=\"repro\"}", 1.0)?;
    half.server.wait_for_metric("rollcall_replication_lag_seconds{peer=\"repro\"}", 0.0)
}

#[test]
fn a_refusal_by_the_peer_is_reported() -> Result<()> {
    let mut half = half("")?;
    let mut wire = half.place.accept()?;
    wire.say(COMPLETE.replace("200", "505").replace("Initial Sync Completed.", "Version not supported."))?;
    half.server.wait_for("the listener refused: 505 Version not supported.")?;
    Ok(())
}

/// A dump that comes again says nothing new: no watcher is told, and the peer neither.
#[test]
fn a_dump_that_comes_again_is_no_news() -> Result<()> {
    let mut half = half("")?;
    let (mut reader, _) = Wire::read(half.link)?;
    let mut bob = UserAgent::udp(half.server.sip())?;
    subscribe(&mut bob, 1, None, 600)?;
    told(&mut bob)?;
    let dump = reginfo("u", "<sip:u@192.0.2.1>", 120, 0) + &pubinfo(TAG, 120, 0, &pidf("desk", "open"));
    half.place.dump(&dump)?.close()?;
    assert!(told(&mut bob)?.body().contains("<basic>open</basic>"));
    half.place.dump(&dump)?.close()?;
    let _wire = half.place.dump(&(dump + &reginfo("last", "<sip:last@192.0.2.1>", 120, 0)))?;
    half.server.wait_for_metric(BINDINGS, 2.0)?;
    let mut alice = UserAgent::udp(half.server.sip())?;
    let tag = publish(&mut alice, "", &pidf("mobile", "open"))?;
    assert!(told(&mut bob)?.body().contains("mobile"), "the next that is told");
    assert_eq!(value(&reader.event("pubinfo")?, "etag")?, tag, "the first that is told");
    assert_eq!(half.server.metric(UNREADABLE)?, 0.0);
    Ok(())
}

/// What was heard, and what was removed, outlives the process.
#[test]
fn what_was_heard_survives_a_crash() -> Result<()> {
    let mut half = half("")?;
    let dump = reginfo("u1", "<sip:u1@192.0.2.1>", 120, 9)
        + &reginfo("u2", "<sip:u2@192.0.2.1>", 120, 9)
        + &pubinfo(TAG, 120, 9, &pidf("desk", "open"));
    let wire = half.place.dump(&dump)?;
    half.server.wait_for_metric(BINDINGS, 2.0)?;
    half.server.wait_for_metric(PUBLICATIONS, 1.0)?;
    let mut agent = UserAgent::udp(half.server.sip())?;
    register(&mut agent, "u1", 1, "Contact: *\nExpires: 0")?;
    let tag = publish(&mut agent, &format!("SIP-If-Match: {TAG}\nExpires: 120"), "")?;
    wire.close()?;
    half.server.crash(|_| Ok(()))?;
    assert_eq!((half.server.metric(BINDINGS)?, half.server.metric(PUBLICATIONS)?), (1.0, 1.0));

    // The stale dump is known to be stale, and the peer learns of all that happened.
    let _wire = half.place.dump(&(dump + &reginfo("last", "<sip:last@192.0.2.1>", 120, 0)))?;
    half.server.wait_for_metric(BINDINGS, 2.0)?;
    assert_eq!(half.server.metric(PUBLICATIONS)?, 1.0);
    let (_reader, told) = Wire::read(half.link)?;
    let gone = "<contacturi>&lt;sip:u1@192.0.2.1&gt;</contacturi>\r\n      <expires>0</expires>";
    assert!(told.contains(gone), "{told}");
    assert!(told.contains(&format!("<etag>{tag}</etag>")), "{told}");
    assert!(told.contains(&format!("<etag>{TAG}</etag>\r\n   <expires>0</expires>")), "{told}");
    Ok(())
}

#[test]
fn publications_can_be_left_out() -> Result<()> {
    let mut half = half("publications = false")?;
    let mut alice = UserAgent::udp(half.server.sip())?;
    publish(&mut alice, "", &pidf("desk", "open"))?;
    register(&mut alice, "alice", 1, "Contact: <sip:alice@192.0.2.1>")?;
    let (mut reader, dump) = Wire::read(half.link)?;
    assert!(dump.contains("<reginfo>") && !dump.contains("<pubinfo>"), "{dump}");
    let events = pubinfo(TAG, 120, 0, &pidf("other", "open")) + &reginfo("u", "<sip:u@192.0.2.1>", 120, 0);
    let _wire = half.place.dump(&events)?;
    half.server.wait_for_metric(BINDINGS, 2.0)?;
    assert_eq!(half.server.metric(PUBLICATIONS)?, 1.0);
    publish(&mut alice, "", &pidf("mobile", "open"))?;
    register(&mut alice, "alice", 2, "Contact: <sip:alice@192.0.2.2>")?;
    reader.event("reginfo")?;
    assert_eq!(reader.rest(), "");
    Ok(())
}

/// A server that only hears, and one that finds nobody, serve all the same.
#[test]
fn either_direction_may_stand_alone() -> Result<()> {
    let place = Place::new()?;
    let of = |keys: &str| {
        format!(
            "{OPEN}\n[server]\ndrain_seconds = 0\n[[replication.peer]]\nnode = \"r\"\ncompat = \"repro\"\n{keys}\n"
        )
    };
    let hears = of(&format!("address = \"{}\"", place.address()?));
    let starting = std::thread::spawn(move || Rollcall::start(&hears));
    let _wire = place.dump(&reginfo("u", "<sip:u@192.0.2.1>", 120, 0))?;
    let mut hearing = starting.join().map_err(|_| anyhow::anyhow!("a panic"))??;
    assert_eq!(hearing.metric(BINDINGS)?, 1.0, "before it serves");
    hearing.wait_for_metric("rollcall_replication_peer_up{peer=\"r\"}", 1.0)?;

    let link = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let tells = Rollcall::start(&of(&format!("listen = \"{link}\"\nfrom = \"localhost\"")))?;
    register(&mut UserAgent::udp(tells.sip())?, "alice", 1, "Contact: <sip:alice@192.0.2.1>")?;
    assert!(Wire::read(link)?.1.contains("sip:alice@192.0.2.1"));
    Ok(())
}
