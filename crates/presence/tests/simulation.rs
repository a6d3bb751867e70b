//! A model test: publishers and watchers at random, datagrams lost, watchers that fall silent, time that passes.
//!
//! The bench checks every NOTIFY as it comes: CSeq rises, one is in flight per dialog. Here the end is checked: when the
//! network is well again, every watcher whose subscription lives has the state that the publishers left, without having
//! asked for it. A failure names its seed; seeds that failed once are kept.

mod bench;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bench::{Answer, Bench, pidf};
use presence::{Config, DomainConfig};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sip_message::{Limits, Request};

const PRESENTITIES: [&str; 3] = ["alice", "bob", "carol"];

struct Publication {
    tag: String,
    id: String,
    basic: &'static str,
    expires_at: Instant,
}

struct Model {
    publications: BTreeMap<&'static str, Vec<Publication>>,
}

impl Model {
    /// What watchers are to see at last.
    fn summary(&self, presentity: &str, now: Instant) -> String {
        let live = self.publications.get(presentity).into_iter().flatten().filter(|p| now < p.expires_at);
        let mut tuples: Vec<String> = live.map(|p| format!("{}={}", p.id, p.basic)).collect();
        tuples.sort();
        if tuples.is_empty() { "-=closed".to_owned() } else { tuples.join(" ") }
    }
}

struct Dice(StdRng);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

fn run(seed: u64, config: Config) {
    let mut dice = Dice(StdRng::seed_from_u64(seed));
    let mut b = Bench::with(config, DomainConfig::default());
    b.seed_loss(seed);
    b.loss_milli = *dice.pick(&[0, 50, 200]);
    b.answer_delay = Duration::from_millis(*dice.pick(&[0, 30, 700]));
    let mut model = Model { publications: BTreeMap::new() };
    let mut keys: Vec<(&'static str, String)> = Vec::new();
    for step in 0..120 {
        let presentity = *dice.pick(&PRESENTITIES);
        let expires = *dice.pick(&[30, 60, 3600]);
        match dice.below(10) {
            0..=2 => {
                let (id, basic) = (format!("d{step}"), *dice.pick(&["open", "closed"]));
                let tag = b.publish(presentity, expires, &pidf(presentity, &id, basic));
                let expires_at = b.now + Duration::from_secs(expires.into());
                let publication = Publication { tag, id, basic, expires_at };
                model.publications.entry(presentity).or_default().push(publication);
            }
            3..=4 => {
                let now = b.now;
                let list = model.publications.entry(presentity).or_default();
                list.retain(|p| now < p.expires_at);
                if list.is_empty() {
                    continue;
                }
                let at = dice.below(list.len() as u64) as usize;
                let publication = &mut list[at];
                let expires = *dice.pick(&[0, 30, 600]);
                let body = if dice.below(3) == 0 {
                    String::new()
                } else {
                    publication.basic =
                        if expires == 0 { publication.basic } else { *dice.pick(&["open", "closed"]) };
                    pidf(presentity, &publication.id, publication.basic)
                };
                publication.tag = b.republish(presentity, &publication.tag, expires, &body);
                publication.expires_at = b.now + Duration::from_secs(expires.into());
            }
            5 => {
                let expires = *dice.pick(&[0, 60, 3600, 3600]);
                let name = format!("w{step}");
                let uri = format!("sip:{presentity}@example.test");
                let (key, response) = b.subscribe(&name, &uri, &format!("Expires: {expires}"));
                assert!(response.status().is_success());
                keys.push((presentity, key));
            }
            6 if !keys.is_empty() => {
                let (_, key) = dice.pick(&keys).clone();
                let expires = *dice.pick(&[0, 60, 3600]);
                // 200, or 481 if it is over.
                b.resubscribe(&key, &format!("Expires: {expires}"));
            }
            7 if !keys.is_empty() => {
                let (_, key) = dice.pick(&keys).clone();
                b.watcher(&key).answer = *dice.pick(&[
                    Answer::Code(200),
                    Answer::Code(200),
                    Answer::Never,
                    Answer::Code(500),
                    Answer::Later(20),
                    Answer::Code(481),
                ]);
            }
            _ => b.advance_ms(*dice.pick(&[10, 200, 3_000, 40_000])),
        }
    }

    b.loss_milli = 0;
    b.answer_delay = Duration::ZERO;
    for (_, key) in &keys {
        b.watcher(key).answer = Answer::Code(200);
    }
    // Long enough for what is in flight to be concluded and repeated: Timer F, and twice the longest pause.
    b.advance_ms(32_000 + 2 * 20_000);
    let mut live = 0;
    for (presentity, key) in &keys {
        let text = b.subscribe_text(key, "Expires: 60");
        let request = Request::parse(text.into(), &Limits::default()).expect("a request");
        if b.presence.is_in_dialog(&request) {
            live += 1;
            assert_eq!(b.last(key).state_word(), "active");
            assert_eq!(b.last(key).summary(), model.summary(presentity, b.now), "{key} of {presentity}");
        }
    }
    assert_eq!(b.presence.subscription_dialogs(), live);
    let published: usize =
        model.publications.values().flatten().filter(|publication| b.now < publication.expires_at).count();
    assert_eq!(b.presence.publications(), published);
}

// RFC 6665 §4.2.2: whatever happens on the way, the last state arrives.
#[test]
fn every_watcher_ends_with_the_last_state() {
    for seed in 0..24 {
        let paced = seed % 3 == 0;
        let config = Config { notify_min_interval_ms: if paced { 5_000 } else { 0 }, ..Config::default() };
        let outcome = std::panic::catch_unwind(|| run(seed, config));
        if let Err(cause) = outcome {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(cause);
        }
    }
}
