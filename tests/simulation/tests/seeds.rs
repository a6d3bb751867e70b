//! Seeds that once found something. CI (`.ci/run`) runs a thousand, from 0 on, with a release build.

use std::sync::Mutex;
use std::thread;

use simulation::{Failure, Report, Setting, run};

/// Threads that run seeds: without optimisation each takes seconds.
const THREADS: usize = 2;

/// Seeds that found something, and what; all of it is mended. What a seed does changes with the simulation, so each has a test
/// of its own where that was possible.
const KEPT: &[(u64, &str)] = &[
    (1, "a SUBSCRIBE that moved a subscription to another node was answered by two NOTIFYs"),
    (2, "when a subscription ends was told by the wall clock of the node that wrote it"),
    (
        6,
        "of two nodes that notified, the one went on whose numbers the watcher refused; its answers were taken for others'",
    ),
    (24, "taking a subscription over undid a refresh that had been acknowledged elsewhere"),
    (39, "a tombstone was prolonged by each removal of what was removed"),
    (79, "a node that began showed what had expired before"),
    (9, "a node that began told watchers what they had, as it took them over too early"),
    (
        52,
        "a node that came back had used CSeq numbers that the present notifier did not know of, and kept them to itself",
    ),
    (174, "the answer to a last NOTIFY was not listened to, as a refresh was heard of meanwhile"),
    (
        302,
        "a node took a watcher over, told it, and died before the CSeq numbers were on the disk: the next life used them again",
    ),
    (362, "reserving CSeq numbers at a start undid a refresh that had been acknowledged elsewhere"),
    (461, "a NOTIFY that had waited for the disk left after one with a higher CSeq"),
    (774, "a REGISTER removed, on all nodes, a binding that had expired by what its node had heard"),
    (844, "what a watcher had was removed, and said again as there, in one version"),
    (1258, "what came of a NOTIFY was held against the subscription that had its slot by then"),
    (1730, "a node that had heard of one of two notifiers alone went on below the numbers of the other"),
    (3058, "what had come without what it belongs to could not be said again, and nodes never agreed"),
    (2417, "a watcher took the end of a subscription that another node went on with"),
    (87, "an unsubscription was undone by a SUBSCRIBE that had come late, and forgotten by one node alone"),
    (
        14_680,
        "what ended before an earlier version was told to nobody for ten seconds, in which that one came back",
    ),
    (
        9145,
        "a node that was not back yet told others that it does not know what watchers have, where it does",
    ),
    (
        10_890,
        "a subscription that its watcher knew no more was gone on with, when an earlier refresh was heard of",
    ),
    (
        16_479,
        "the simulation took a change for safe with a node that had died before its acknowledgement came",
    ),
    (201_129, "the simulation counted what a watcher refused of two notifiers as if they were one"),
    (
        201_441,
        "the simulation wanted a node to go on from numbers of a dialog that it had ended, and heard of anew",
    ),
    (
        200_510,
        "the simulation wanted numbers known that the only node that used them had, by its word, done with",
    ),
    (
        14_206,
        "the simulation wanted numbers known of a node for which the dialog had ended in an earlier life",
    ),
];

#[test]
fn seeds_that_found_something() {
    let kept = Mutex::new(KEPT.iter().map(|(seed, _)| *seed));
    let next = || kept.lock().expect("nobody panics with it").next();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(seed) = next() {
                    report(run(Setting::of(seed), false));
                }
            });
        }
    });
}

// What depends on a hash table's order, or on a thread, would show here.
#[test]
fn a_seed_does_the_same_again() {
    let setting = Setting { busy_ms: 40_000, fault_pause_ms: 4_000, ..Setting::of(4) };
    let digest = || report(run(setting.clone(), false)).digest;
    assert_eq!(digest(), digest());
}

fn report(outcome: Result<Report, Box<Failure>>) -> Report {
    outcome.unwrap_or_else(|failure| panic!("{failure}"))
}
