//! Who is challenged, how, and what an answer is worth (RFC 3261 §22, RFC 7616, RFC 8760).

#![allow(clippy::unwrap_used)] // a fault of the test itself

mod common;

use common::{Answer, Bench, challenges, parameter};
use sip_auth::{Config, Error};
use sip_message::Aor;
use sip_service::Identity;

const REGISTER: &str = "REGISTER sip:example.test sip:alice@example.test#1 sip:alice@example.test";
const INVITE: &str = "INVITE sip:bob@example.test sip:alice@example.test#1 sip:bob@example.test";

fn bench() -> Bench {
    Bench::new(Config::default())
}

fn user(aor: &str) -> Result<Option<Identity>, Error> {
    Ok(Some(Identity::User(Aor::parse(aor).unwrap())))
}

// RFC 3261 §22.2: 401 from a registrar or user agent server; §22.3: 407 from a proxy.
#[test]
fn who_is_challenged_and_how() {
    for (start, want) in [
        (REGISTER, Some(false)),
        ("REGISTER sip:example.test sip:x@elsewhere.test#1 sip:alice@example.test", Some(false)),
        ("REGISTER sip:elsewhere.test sip:x@elsewhere.test#1 sip:x@elsewhere.test", None),
        (INVITE, Some(true)),
        ("INVITE sip:x@elsewhere.test sip:alice@example.test#1 sip:x@elsewhere.test", Some(true)),
        ("INVITE sip:bob@example.test sip:x@elsewhere.test#1 sip:bob@example.test", None),
        ("MESSAGE sip:bob@example.test sip:alice@EXAMPLE.test:5080#1 sip:bob@example.test", Some(true)),
        // A To tag alone proves nothing.
        ("BYE sip:x@elsewhere.test sip:alice@example.test#1 sip:x@elsewhere.test#2", Some(true)),
        // RFC 3903 §6 step 4: the state is example.test's, whoever From says it is.
        ("PUBLISH sip:alice@example.test sip:x@elsewhere.test#1 sip:alice@example.test", Some(false)),
        ("SUBSCRIBE sip:alice@example.test sip:bob@example.test#1 sip:alice@example.test", Some(false)),
        ("SUBSCRIBE sip:alice@example.test sip:x@elsewhere.test#1 sip:alice@example.test", None),
        ("SUBSCRIBE sip:x@elsewhere.test sip:bob@example.test#1 sip:x@elsewhere.test", Some(true)),
    ] {
        let verdict = bench().send(start, "");
        match want {
            None => assert_eq!(verdict, Ok(None), "{start}"),
            Some(proxy) => {
                let (by_proxy, challenges) = challenges(verdict);
                assert_eq!((by_proxy, challenges.len()), (proxy, 1), "{start}");
                assert_eq!(parameter(&challenges[0], "realm").as_deref(), Some("example.test"));
                assert_eq!(parameter(&challenges[0], "stale"), None);
            }
        }
    }
}

// RFC 8760 §2.4: one challenge for each algorithm, in the order of preference; a domain may have its own.
#[test]
fn the_algorithms_of_a_domain() {
    let bench = bench();
    let start = "REGISTER sip:other.test sip:carol@other.test#1 sip:carol@other.test";
    let (_, offered) = challenges(bench.send(start, ""));
    let names: Vec<_> = offered.iter().map(|c| parameter(c, "algorithm").unwrap()).collect();
    assert_eq!(names, ["SHA-512-256", "MD5"]);
    for challenge in &offered {
        let (_, fresh) = challenges(bench.send(start, ""));
        let same =
            fresh.iter().find(|c| parameter(c, "algorithm") == parameter(challenge, "algorithm")).unwrap();
        assert_eq!(bench.send(start, &Answer::of("carol", "REGISTER").to(same)), user("carol@other.test"));
    }
    // An algorithm that is not offered is no answer.
    let sha256 = offered[0].replace("SHA-512-256", "SHA-256");
    challenges(bench.send(start, &Answer::of("carol", "REGISTER").to(&sha256)));
}

#[test]
fn a_right_answer_in_either_header_field() {
    let bench = bench();
    for (header, start, method) in [
        ("Authorization", REGISTER, "REGISTER"),
        ("Proxy-Authorization", INVITE, "INVITE"),
        ("Authorization", INVITE, "INVITE"),
    ] {
        let (_, offered) = challenges(bench.send(start, ""));
        let answer = Answer { header, ..Answer::of("alice", method) }.to(&offered[0]);
        assert_eq!(bench.send(start, &answer), user("alice@example.test"), "{header}");
        // Among credentials for others, ours are found (§22.3).
        let (_, offered) = challenges(bench.send(start, ""));
        let answer = Answer { header, ..Answer::of("alice", method) }.to(&offered[0]);
        let others = format!("{header}: Digest username=\"x\", realm=\"y\"\n{header}: NTLM abc\n{answer}");
        assert_eq!(bench.send(start, &others), user("alice@example.test"), "{header}");
    }
    assert_eq!((bench.outcomes("ok"), bench.outcomes("challenged")), (6, 6));
}

// RFC 3261 §22.4: the same challenge, whether the password is wrong, the user unknown, or of another domain.
#[test]
fn wrong_passwords_and_unknown_users_look_the_same() {
    let bench = bench();
    let wrong = Answer { password: "guess".into(), ..Answer::of("alice", "REGISTER") };
    let unknown = Answer::of("mallory", "REGISTER");
    let elsewhere = Answer::of("carol", "REGISTER");
    let other_method = Answer::of("alice", "INVITE");
    // `sha` asks for SHA-256, which the domain does not offer.
    let other_algorithm = Answer::of("sha", "REGISTER");
    for answer in [wrong, unknown, elsewhere, other_method, other_algorithm] {
        let (_, offered) = challenges(bench.send(REGISTER, ""));
        let (proxy, again) = challenges(bench.send(REGISTER, &answer.to(&offered[0])));
        assert_eq!((proxy, again.len(), parameter(&again[0], "stale")), (false, 1, None), "{}", answer.user);
        assert_ne!(parameter(&again[0], "nonce"), parameter(&offered[0], "nonce"));
    }
    assert_eq!((bench.outcomes("wrong"), bench.outcomes("ok")), (5, 0));
}

// RFC 7616 §3.3 (stale), §3.4 (nc); RFC 3261 §22.4 item 8 (no qop).
#[test]
fn a_nonce_is_used_again_with_the_next_count_and_replays_are_stale() {
    let bench = bench();
    let (_, offered) = challenges(bench.send(REGISTER, ""));
    let counted = |count| Answer { count: Some(count), ..Answer::of("alice", "REGISTER") }.to(&offered[0]);
    assert_eq!(bench.send(REGISTER, &counted(1)), user("alice@example.test"));
    assert_eq!(bench.send(REGISTER, &counted(2)), user("alice@example.test"));
    let is_stale = |verdict| parameter(&challenges(verdict).1[0], "stale").as_deref() == Some("true");
    assert!(is_stale(bench.send(REGISTER, &counted(2))));
    // A wrong password over a used nonce learns nothing about it.
    let guess = Answer { password: "guess".into(), ..Answer::of("alice", "REGISTER") }.to(&offered[0]);
    assert!(!is_stale(bench.send(REGISTER, &guess)));
    bench.later(300);
    assert!(is_stale(bench.send(REGISTER, &counted(3))));

    let (_, offered) = challenges(bench.send(REGISTER, ""));
    let legacy = Answer { count: None, ..Answer::of("alice", "REGISTER") }.to(&offered[0]);
    assert_eq!(bench.send(REGISTER, &legacy), user("alice@example.test"));
    assert!(is_stale(bench.send(REGISTER, &legacy)));
    assert_eq!(bench.outcomes("stale"), 3);
}

// RFC 3261 §22.1: credentials prove one user, not the domain.
#[test]
fn another_users_name_in_from_is_forbidden() {
    let bench = bench();
    let as_bob = |start| {
        let (_, offered) = challenges(bench.send(start, ""));
        bench.send(start, &Answer::of("bob", start.split(' ').next().unwrap()).to(&offered[0]))
    };
    assert_eq!(as_bob(INVITE), Err(Error::Forbidden));
    // A third party may register somebody (§10.2): whether it may for this AOR is for the registrar to say.
    assert_eq!(as_bob(REGISTER), user("bob@example.test"));
    // RFC 3323 §4.1.1.3.
    let challenge = &challenges(bench.send(INVITE, "")).1[0];
    let hidden = "INVITE sip:alice@example.test sip:anonymous@anonymous.invalid#1 sip:alice@example.test";
    assert_eq!(bench.send(hidden, &Answer::of("bob", "INVITE").to(challenge)), user("bob@example.test"));
    assert_eq!(bench.outcomes("forbidden"), 1);
}

// RFC 7616 §3.4: a parameter that is missing or cannot be read.
#[test]
fn bad_credentials_matter_only_where_some_are_needed() {
    let from_elsewhere = "INVITE sip:bob@example.test sip:x@elsewhere.test#1 sip:bob@example.test";
    for bad in [
        "Digest username=\"alice\", realm=\"example.test\"",
        "Digest realm=\"example.test",
        "@",
        "Digest a=b c=d",
    ] {
        let bench = bench();
        let header = format!("Authorization: {bad}");
        assert!(matches!(bench.send(REGISTER, &header), Err(Error::BadCredentials { .. })), "{bad}");
        assert_eq!(bench.send(from_elsewhere, &header), Ok(None), "{bad}");
        assert_eq!(bench.outcomes("malformed"), 1);
    }
    // Another scheme is nobody's fault (RFC 4475 §3.3.7).
    challenges(bench().send(REGISTER, "Authorization: NoOneKnowsThisScheme opaque-data=here"));
}

// RFC 3261 §16.12: the route set of a dialog stands; our token in it proves that the dialog was let through.
#[test]
fn a_dialog_that_was_let_through_is_not_challenged() {
    let bench = bench();
    let token = bench.secret.dialog_token("c", "1");
    let route = |token: &str| format!("Route: <sip:{token}@198.51.100.1;lr>");
    let bye = "BYE sip:x@elsewhere.test sip:alice@example.test#1 sip:x@elsewhere.test#2";
    let back = "BYE sip:alice@192.0.2.7 sip:x@example.test#2 sip:alice@example.test#1";
    for start in [bye, back] {
        assert_eq!(bench.send(start, &route(&token)), Ok(None), "{start}");
        // Credentials from the INVITE that are repeated have been used; nobody asks for them.
        let stale = format!(
            "{}\nProxy-Authorization: Digest username=\"alice\", realm=\"example.test\"",
            route(&token)
        );
        assert_eq!(bench.send(start, &stale), Ok(None), "{start}");
        challenges(bench.send(start, &route("0123456789abcdef0123")));
    }
    // A strict router left it in the Request-URI.
    let strict = format!("BYE sip:{token}@198.51.100.1;lr sip:alice@example.test#1 sip:x@elsewhere.test#2");
    assert_eq!(bench.send(&strict, ""), Ok(None));
    // Not without a To tag: that would begin a dialog.
    challenges(bench.send(INVITE, &route(&token)));
}

#[test]
fn trusted_peers_and_open_servers() {
    let peers = Config { trusted_peers: vec!["203.0.113.0/24".parse().unwrap()], ..Config::default() };
    let bench = Bench::new(peers);
    assert_eq!(bench.send_from("203.0.113.9:5060", INVITE, ""), Ok(Some(Identity::TrustedPeer)));
    assert_eq!(bench.send_from("[::ffff:203.0.113.9]:5060", INVITE, ""), Ok(Some(Identity::TrustedPeer)));
    challenges(bench.send_from("203.0.114.9:5060", INVITE, ""));
    let open = Bench::new(Config { enabled: false, ..Config::default() });
    assert_eq!(open.send(INVITE, ""), Ok(Some(Identity::Anyone)));
}

#[test]
fn configuration_is_read_strictly() {
    let config: Config =
        toml::from_str("algorithms = [\"SHA-256\", \"MD5\"]\ntrusted_peers = [\"10.0.0.0/8\"]").unwrap();
    assert_eq!((config.algorithms.len(), config.trusted_peers.len(), config.enabled), (2, 1, true));
    for bad in ["algorithm = []", "algorithms = [\"SHA-1\"]", "trusted_peers = [\"10.0.0.0/33\"]"] {
        assert!(toml::from_str::<Config>(bad).is_err(), "{bad}");
    }
}
