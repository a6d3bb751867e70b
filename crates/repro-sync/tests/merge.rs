//! The rules of merging, by the faults of repro that they are free of (§6.8, §7).

use repro_sync::{
    ContactInfo, ContactKey, Contents, Decision, Held, Kept, Offered, Origin, PubInfo, Stamp, decide,
};

fn now() -> Stamp {
    Stamp::from_unix_ms(1_800_000_000_000)
}

fn ago(seconds: u64) -> Stamp {
    Stamp::aged(seconds, now())
}

fn held(stamp: Stamp, contents: &str, origin: Origin) -> Held<'_> {
    let contents = Some(contents.as_bytes());
    Held { stamp, expires: Some(now().plus(60)), contents, origin, peer_expires: None }
}

fn tombstone(stamp: Stamp, origin: Origin) -> Held<'static> {
    Held { stamp, expires: None, contents: None, origin, peer_expires: None }
}

fn offered(stamp: Stamp, contents: &str) -> Offered<'_> {
    Offered { stamp, expires: Some(now().plus(60)), contents: Some(contents.as_bytes()) }
}

fn refresh(stamp: Stamp) -> Offered<'static> {
    Offered { stamp, expires: Some(now().plus(90)), contents: None }
}

fn removal(stamp: Stamp) -> Offered<'static> {
    Offered { stamp, expires: None, contents: None }
}

#[test]
fn the_newer_one_wins() {
    for origin in [Origin::Here, Origin::Peer] {
        let held = held(ago(10), "old", origin);
        let check = |offered, expected| assert_eq!(decide(Some(&held), &offered, now()), expected);
        check(offered(ago(9), "new"), Decision::Store);
        check(refresh(ago(9)), Decision::Refresh);
        check(removal(ago(9)), Decision::Remove);
        check(offered(ago(12), "older"), Decision::Keep(Kept::Newer));
        check(refresh(ago(12)), Decision::Keep(Kept::Newer));
        check(removal(ago(12)), Decision::Keep(Kept::Newer));
        check(offered(ago(10), "old"), Decision::Keep(Kept::Same));
    }
}

#[test]
fn nothing_is_held() {
    assert_eq!(decide(None, &offered(ago(1), "new"), now()), Decision::Store);
    assert_eq!(decide(None, &refresh(ago(1)), now()), Decision::Keep(Kept::NoContents));
    assert_eq!(
        decide(None, &removal(ago(1)), now()),
        Decision::Remove,
        "a tombstone, lest a stale copy follow"
    );
}

#[test]
fn fault_20_the_timer_of_the_peer_does_not_remove_what_was_refreshed_here() {
    // The peer granted 60 s, 60 s ago; its publisher has come to us since.
    let refreshed = Held { peer_expires: Some(ago(0)), ..held(ago(30), "x", Origin::Here) };
    let timer = removal(ago(0));
    let announce_at = now().plus(1);
    let kept = Kept::PeerTimer { announce_at };
    assert_eq!(decide(Some(&refreshed), &timer, now()), Decision::Keep(kept));
    // What is announced then is newer than what the peer has.
    assert_eq!(kept.announce_at(), Some(announce_at));
    assert!(announce_at > timer.stamp);

    // A removal that is meant comes at another time, or of something that was not refreshed here, or is over here, too.
    for other in [
        Held { peer_expires: Some(ago(10)), ..refreshed },
        Held { peer_expires: None, ..refreshed },
        Held { origin: Origin::Peer, ..refreshed },
        Held { expires: Some(now()), ..refreshed },
    ] {
        assert_eq!(decide(Some(&other), &timer, now()), Decision::Remove, "{other:?}");
    }
}

#[test]
fn fault_21_a_stale_dump_does_not_pass_a_tombstone() {
    let stale = ContactInfo {
        contact_uri: "<sip:a@192.0.2.1>".into(),
        expires_seconds: 3000,
        last_update_seconds: Some(600),
        ..ContactInfo::default()
    };
    // The tombstone is among what is held, and matches.
    let key = ContactKey { uri: "sip:a@192.0.2.1", instance: "", reg_id: 0 };
    assert!(ContactKey::of(&stale).matches(&key, |a, b| a == b));
    for origin in [Origin::Here, Origin::Peer] {
        let removed = tombstone(ago(300), origin);
        assert_eq!(
            decide(Some(&removed), &Offered::contact(&stale, now()), now()),
            Decision::Keep(Kept::Newer)
        );
        // Who registers after that is there again.
        let anew = ContactInfo { last_update_seconds: Some(299), ..stale.clone() };
        assert_eq!(decide(Some(&removed), &Offered::contact(&anew, now()), now()), Decision::Store);
    }
}

#[test]
fn fault_22_an_age_beyond_our_clock_freezes_nothing() {
    let contact = |uri: &str, expires_seconds, age| ContactInfo {
        contact_uri: uri.into(),
        expires_seconds,
        last_update_seconds: Some(age),
        ..ContactInfo::default()
    };
    for clock in [now(), Stamp::OLDEST.plus(5), Stamp::OLDEST] {
        let old = contact("<sip:a@192.0.2.1>", 60, u64::MAX);
        let offered = Offered::contact(&old, clock);
        assert_eq!((decide(None, &offered, clock), offered.stamp), (Decision::Store, Stamp::OLDEST));
        let held = Held {
            stamp: offered.stamp,
            expires: offered.expires,
            contents: offered.contents,
            origin: Origin::Peer,
            peer_expires: offered.expires,
        };
        // Later updates and removals are taken, even at the very beginning of the clock.
        let update = contact("<sip:b@192.0.2.1>", 60, 0);
        assert_eq!(decide(Some(&held), &Offered::contact(&update, clock), clock), Decision::Store);
        let removal = contact("<sip:b@192.0.2.1>", 0, 0);
        assert_eq!(decide(Some(&held), &Offered::contact(&removal, clock), clock), Decision::Remove);
    }
}

#[test]
fn a_clock_that_was_set_back_freezes_nothing() {
    let ahead = held(now().plus(3600), "x", Origin::Peer);
    assert_eq!(decide(Some(&ahead), &offered(now(), "y"), now()), Decision::Store);
    assert_eq!(decide(Some(&ahead), &removal(now()), now()), Decision::Remove);
    assert_eq!(decide(Some(&ahead), &offered(ago(2), "y"), now()), Decision::Keep(Kept::Newer));
}

#[test]
fn fault_25_changes_of_one_second_are_taken_in_their_order() {
    let taken = held(now(), "first", Origin::Peer);
    assert_eq!(decide(Some(&taken), &offered(now(), "second"), now()), Decision::Store);
    assert_eq!(decide(Some(&taken), &offered(now(), "a second that ranks lower"), now()), Decision::Store);
    assert_eq!(decide(Some(&taken), &refresh(now()), now()), Decision::Refresh);
    assert_eq!(decide(Some(&taken), &removal(now()), now()), Decision::Remove);
    let removed = tombstone(now(), Origin::Peer);
    assert_eq!(decide(Some(&removed), &offered(now(), "again"), now()), Decision::Store);
}

/// The first of two changes of one second came across the turn of a second here, the second one did not: a dump says it.
#[test]
fn fault_25_the_later_word_of_the_peer_may_look_older_by_a_second() {
    let taken = held(ago(10), "first", Origin::Peer);
    assert_eq!(decide(Some(&taken), &offered(ago(11), "second"), now()), Decision::Store);
    assert_eq!(decide(Some(&taken), &removal(ago(11)), now()), Decision::Remove);
    assert_eq!(decide(Some(&taken), &offered(ago(11), "first"), now()), Decision::Keep(Kept::Same));
    let changed = held(ago(10), "here", Origin::Here);
    assert_eq!(decide(Some(&changed), &offered(ago(11), "second"), now()), Decision::Keep(Kept::Newer));
}

/// §6.8: equal stamps, changed on both sides.
#[test]
fn fault_25_a_tie_is_decided_alike_on_both_sides() {
    let entry = |expires: Option<u64>, contents: &'static str| {
        let expires = expires.map(|seconds| now().plus(seconds));
        (expires, expires.map(|_| contents.as_bytes()))
    };
    let ranked = [entry(None, ""), entry(Some(10), "b"), entry(Some(90), "a"), entry(Some(60), "a")];
    for (rank, winner) in ranked.iter().enumerate() {
        for loser in &ranked[rank + 1..] {
            let held = |(expires, contents): (Option<Stamp>, Option<&'static [u8]>)| Held {
                stamp: now(),
                expires,
                contents,
                origin: Origin::Here,
                peer_expires: None,
            };
            let offered = |(expires, contents)| Offered { stamp: now(), expires, contents };
            let on_one = decide(Some(&held(*winner)), &offered(*loser), now());
            let on_other = decide(Some(&held(*loser)), &offered(*winner), now());
            assert_eq!(on_one, Decision::Keep(Kept::Tie { announce_at: now().plus(1) }));
            let taken = if winner.0.is_none() { Decision::Remove } else { Decision::Store };
            assert_eq!(on_other, taken);
        }
    }
}

#[test]
fn fault_30_a_second_removal_tells_nobody() {
    let removed = tombstone(ago(5), Origin::Here);
    assert_eq!(decide(Some(&removed), &removal(ago(5)), now()), Decision::Keep(Kept::Same));
    assert_eq!(decide(Some(&removed), &removal(ago(4)), now()), Decision::Restamp);
    assert_eq!(decide(Some(&removed), &removal(ago(6)), now()), Decision::Keep(Kept::Newer));
}

#[test]
fn a_refresh_alone_brings_nothing_back_but_what_is_still_here() {
    let removed = tombstone(ago(5), Origin::Here);
    assert_eq!(decide(Some(&removed), &refresh(ago(4)), now()), Decision::Keep(Kept::NoContents));
    let lingering = Held { contents: Some(b"x"), ..removed };
    assert_eq!(decide(Some(&lingering), &refresh(ago(4)), now()), Decision::Refresh);
}

/// §6.4: "Missing `lastupdate` → now (for `pubinfo`: 0, i.e. always older)".
#[test]
fn what_has_no_age() {
    let contact = ContactInfo { expires_seconds: 1, ..ContactInfo::default() };
    assert_eq!(Offered::contact(&contact, now()).stamp, now());
    let info = PubInfo { expires_seconds: 1, ..PubInfo::default() };
    assert_eq!(Offered::publication(&info, now()).stamp, Stamp::OLDEST);
}

#[test]
fn what_is_offered_says_when_it_ends() {
    let contents = Some(Contents { body: b"x".to_vec(), encryption: None });
    let info = PubInfo { expires_seconds: 7, contents, last_update_seconds: Some(2), ..PubInfo::default() };
    let offered = Offered::publication(&info, now());
    assert_eq!(
        (offered.stamp, offered.expires, offered.contents),
        (ago(2), Some(now().plus(7)), Some(&b"x"[..]))
    );
    // A removal has no contents, whatever came with it.
    let removed = PubInfo { expires_seconds: 0, ..info };
    let offered = Offered::publication(&removed, now());
    assert_eq!((offered.expires, offered.contents), (None, None));
    // A lifetime without end does not wrap around (`NeverExpire` is 2^64-1).
    let never = ContactInfo { expires_seconds: u64::MAX, ..ContactInfo::default() };
    assert!(Offered::contact(&never, now()).expires.is_some_and(|end| end > now() && end.unix_ms() > 0));
}
