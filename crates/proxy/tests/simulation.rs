//! Calls and messages through a network that loses, delays and repeats datagrams. A failure names its seed.

mod common;

use common::Scene;
use sip_message::HeaderName;
use testkit::{Received, Weather};

const SEEDS: u64 = 25;

fn scene(seed: u64) -> Scene {
    let scene = Scene::new();
    let weather = Weather { loss_milli: 150, repeat_milli: 100, delay_ms: 0..=80 };
    scene.bench.network.set_weather(weather, seed);
    scene
}

/// What has arrived at an agent since the last call, and the branches of what are requests.
fn arrived(scene: &mut Scene, name: &str) -> (Vec<String>, Vec<String>) {
    let received = scene.bench.take(name);
    let requests = received.iter().filter(|received| matches!(received, Received::Request(_)));
    let branches = requests.map(|request| request.message().via().branch().to_owned()).collect();
    (received.iter().map(Received::summary).collect(), branches)
}

// RFC 3261 §17.1.2, §17.2.2: each hop repeats until it is answered; the message goes once, and is answered once.
#[test]
fn messages_arrive_and_are_answered() {
    for seed in 0..SEEDS {
        let mut scene = scene(seed);
        scene.bench.say("alice", "MESSAGE bob");
        let (mut answers, mut branches) = (Vec::new(), Vec::new());
        for half_second in 1..64 {
            scene.bench.run_to(500 * half_second);
            let (requests, of_requests) = arrived(&mut scene, "bob");
            branches.extend(of_requests);
            for _ in requests {
                scene.bench.say("bob", "200 MESSAGE");
            }
            answers
                .extend(arrived(&mut scene, "alice").0.into_iter().filter(|answer| answer != "100 MESSAGE"));
            if answers.is_empty() {
                scene.bench.say("alice", "again");
            }
        }
        branches.dedup();
        assert_eq!(branches.len(), 1, "seed {seed}: one branch");
        answers.dedup();
        assert_eq!(answers, ["200 MESSAGE"], "seed {seed}");
        scene.settle(80_000);
    }
}

// RFC 3261 §13.3.1.4, §16.7 step 5, §16.11: the callee repeats its 2xx until the ACK comes; both pass each time.
#[test]
fn calls_are_made() {
    for seed in 0..SEEDS {
        let mut scene = scene(seed);
        scene.bench.say("alice", "INVITE bob");
        let (mut is_heard, mut is_ringing, mut is_acknowledged) = (false, false, false);
        for half_second in 1..64 {
            scene.bench.run_to(500 * half_second);
            let (at_bob, _) = arrived(&mut scene, "bob");
            is_ringing |= at_bob.iter().any(|summary| summary == "INVITE");
            is_acknowledged |= at_bob.iter().any(|summary| summary == "ACK");
            if is_ringing && !is_acknowledged {
                scene.bench.say("bob", "200");
            }
            let (at_alice, _) = arrived(&mut scene, "alice");
            is_heard |= !at_alice.is_empty();
            for _ in at_alice.iter().filter(|summary| *summary == "200") {
                scene.bench.say("alice", "ACK");
            }
            if !is_heard {
                scene.bench.say("alice", "again");
            }
        }
        assert!(is_acknowledged, "seed {seed}: the ACK came");
        scene.settle(80_000);
    }
}

// RFC 3261 §16.10, §9.1: whatever is lost, a cancelled call ends, and its phones stop ringing.
#[test]
fn cancelled_calls_end() {
    for seed in 0..SEEDS {
        let mut scene = scene(seed);
        scene.bench.say("alice", "INVITE bob");
        let (mut is_heard, mut is_cancel_heard, mut is_over, mut rang, mut stopped) =
            (false, false, false, false, false);
        for half_second in 1..160 {
            scene.bench.run_to(500 * half_second);
            for summary in arrived(&mut scene, "bob").0 {
                match &*summary {
                    "INVITE" => {
                        rang = true;
                        scene.bench.say("bob", if stopped { "487" } else { "180" });
                    }
                    "CANCEL" => {
                        stopped = true;
                        scene.bench.say("bob", "200 CANCEL");
                        scene.bench.say("bob", "487");
                    }
                    "ACK" => {}
                    other => panic!("seed {seed}: {other}"),
                }
            }
            for received in scene.bench.take("alice") {
                is_heard = true;
                match &*received.summary() {
                    "200 CANCEL" => is_cancel_heard = true,
                    "487" => {
                        is_over = true;
                        assert_eq!(received.message().count(HeaderName::Via), 1, "seed {seed}");
                        scene.bench.say("alice", "ACK");
                    }
                    "100" | "180" => {}
                    other => panic!("seed {seed}: {other}"),
                }
            }
            // The caller hangs up once the proxy was heard, and repeats it until that is answered.
            match (is_heard, is_cancel_heard || is_over) {
                (false, _) => scene.bench.say("alice", "again"),
                (true, false) => scene.bench.say("alice", "CANCEL"),
                (true, true) => {}
            }
        }
        assert!(is_over, "seed {seed}: the call ended");
        assert!(!rang || stopped, "seed {seed}: the phone stopped ringing");
        scene.settle(120_000);
    }
}
