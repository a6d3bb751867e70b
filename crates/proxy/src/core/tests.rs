//! The response context as scripts: time, who, what.
//!
//! The first line is the request with its targets by falling preference: `INVITE a b@0.5 c/x d/x` has four, `b` with q 0.5
//! (the others 1.0), `c` and `d` flows of one instance `x`; `breadth=N` and `branches=N` set the limits. Then `a> 486` is a
//! response of target `a`, `a> fails 408` a branch that ends without one, `caller> CANCEL` what it says. `out …` is what
//! comes of it, in order; timers run by themselves.

use std::time::{Duration, Instant};

use sip_message::StatusCode;

use super::{CancelReason, Candidate, Core, Input, Limits, Output, Outputs};

/// Longer than three minutes (RFC 3261 §16.6 step 11).
const TIMER_C: Duration = Duration::from_secs(190);

struct Script {
    began: Instant,
    core: Core,
    /// The names of the targets, in the order of the request.
    targets: Vec<String>,
    /// Which target each branch went to.
    branches: Vec<usize>,
    is_breadth_shown: bool,
    log: Vec<String>,
}

fn code(text: &str) -> StatusCode {
    StatusCode::new(text.parse().expect("a number")).expect("a status code")
}

impl Script {
    /// Reads a first line: `INVITE a b@0.5 c/x breadth=3`.
    fn begin(request: &str) -> Self {
        let mut words = request.split(' ');
        let is_invite = words.next() == Some("INVITE");
        let mut limits = Limits { timer_c: TIMER_C, max_breadth: 60, branches_max: 16 };
        let (mut targets, mut candidates, mut instances) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_breadth_shown = false;
        for word in words {
            match word.split_once('=') {
                Some(("breadth", n)) => {
                    limits.max_breadth = n.parse().expect("a number");
                    is_breadth_shown = true;
                }
                Some(("branches", n)) => limits.branches_max = n.parse().expect("a number"),
                Some(_) => panic!("{word}"),
                None => {
                    let (word, q) = word.split_once('@').unwrap_or((word, "1.0"));
                    let (name, instance) = word.split_once('/').map_or((word, None), |(n, i)| (n, Some(i)));
                    let instance = instance.map(|instance| {
                        let known = instances.iter().position(|i| *i == instance);
                        known.unwrap_or_else(|| {
                            instances.push(instance);
                            instances.len() - 1
                        }) as u32
                    });
                    let q_milli = (q.parse::<f32>().expect("a q value") * 1000.0) as u16;
                    targets.push(name.to_owned());
                    candidates.push(Candidate { q_milli, instance });
                }
            }
        }
        let core = Core::new(is_invite, limits, candidates);
        Self { began: Instant::now(), core, targets, branches: Vec::new(), is_breadth_shown, log: Vec::new() }
    }

    fn at(&self, ms: u64) -> Instant {
        self.began + Duration::from_millis(ms)
    }

    fn name(&self, branch: u32) -> &str {
        &self.targets[self.branches[branch as usize]]
    }

    fn outputs(&mut self, ms: u64, outputs: Outputs, came: &str) {
        for output in outputs {
            let what = match output {
                Output::Trying => "100".to_owned(),
                Output::Forward { branch, candidate, max_breadth } => {
                    assert_eq!(branch as usize, self.branches.len(), "branches are numbered in order");
                    self.branches.push(candidate);
                    let breadth =
                        if self.is_breadth_shown { format!(" breadth {max_breadth}") } else { String::new() };
                    format!("forward {}{breadth}", self.targets[candidate])
                }
                Output::Relay => format!("relay {came}"),
                Output::Final { branch, challenges } => {
                    let others: String =
                        challenges.iter().map(|other| format!(" with {}", self.name(*other))).collect();
                    format!("best of {}{others}", self.name(branch))
                }
                Output::Answer(code) => format!("answer {code}"),
                Output::Abandon => "abandon".to_owned(),
                Output::CancelBranch { branch, reason } => {
                    let reason = match reason {
                        CancelReason::CompletedElsewhere => "completed elsewhere".to_owned(),
                        CancelReason::Declined(code) => format!("declined {code}"),
                        CancelReason::Upstream => "upstream".to_owned(),
                        CancelReason::TimerC => "timer C".to_owned(),
                    };
                    format!("cancel {}: {reason}", self.name(branch))
                }
                Output::Done => "done".to_owned(),
            };
            self.log.push(format!("{ms}ms out {what}"));
        }
    }

    /// Runs every timer up to `ms`.
    fn run_to(&mut self, ms: u64) {
        while let Some(due) = self.core.deadline().filter(|due| *due <= self.at(ms)) {
            let outputs = self.core.handle(due, Input::Wake);
            self.outputs((due - self.began).as_millis() as u64, outputs, "");
        }
    }

    fn step(&mut self, ms: u64, who: &str, what: &str) {
        self.log.push(format!("{ms}ms {who} {what}"));
        let now = self.at(ms);
        let who = who.strip_suffix('>').expect("who>");
        if who == "caller" {
            let outputs =
                if what == "CANCEL" { self.core.handle(now, Input::Cancel) } else { self.core.start(now) };
            return self.outputs(ms, outputs, "");
        }
        let is_it = |target: &usize| self.targets[*target] == who;
        let branch = self.branches.iter().position(is_it).expect("a target that was forwarded to") as u32;
        let input = match what.strip_prefix("fails ") {
            Some(what) => Input::Failure { branch, code: code(what) },
            None => Input::Response { branch, code: code(what) },
        };
        let outputs = self.core.handle(now, input);
        self.outputs(ms, outputs, what);
    }
}

/// Runs the `…>` lines of a script and compares all that happens with it.
fn check(script: &str) {
    let lines: Vec<String> = script
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect();
    let request = lines.first().and_then(|line| line.strip_prefix("0ms caller> ")).expect("a request first");
    let mut run = Script::begin(request);
    let mut end = 0;
    for line in &lines {
        let (time, rest) = line.split_once("ms ").expect("time");
        let (who, what) = rest.split_once(' ').expect("who and what");
        end = time.parse().expect("milliseconds");
        if who != "out" {
            run.run_to(end);
            run.step(end, who, what);
        }
    }
    run.run_to(end);
    assert_eq!(run.log, lines, "\n{}", run.log.join("\n"));
}

// RFC 3261 §16.6 and §16.7 step 5: equal targets in parallel; the first 2xx goes upstream at once, the others are cancelled.
#[test]
fn parallel_forking() {
    check(
        "   0ms caller> INVITE a b
            0ms out 100
            0ms out forward a
            0ms out forward b
           10ms a> 100
           20ms a> 180
           20ms out relay 180
           30ms b> 183
           30ms out relay 183
         4000ms b> 200
         4000ms out relay 200
         4000ms out cancel a: completed elsewhere
         4010ms a> 487",
    );
}

// RFC 3261 §16.7 step 5, RFC 6026 §7.1: every 2xx of an INVITE goes upstream, each time it comes; nothing else does any more.
#[test]
fn several_2xx() {
    check(
        "   0ms caller> INVITE a b c
            0ms out 100
            0ms out forward a
            0ms out forward b
            0ms out forward c
          100ms a> 200
          100ms out relay 200
          100ms out cancel b: completed elsewhere
          100ms out cancel c: completed elsewhere
          101ms b> 180
          102ms c> 603
          103ms b> 200
          103ms out relay 200
          600ms a> 200
          600ms out relay 200",
    );
}

// RFC 3261 §16.6, §20.10: by falling q, each group when the one before it has ended.
#[test]
fn serial_forking() {
    check(
        "   0ms caller> INVITE a b@0.5 c@0.5 d@0.1
            0ms out 100
            0ms out forward a
          100ms a> 486
          100ms out forward b
          100ms out forward c
          200ms b> 404
          300ms c> 480
          300ms out forward d
          400ms d> 486
          400ms out best of a
          400ms out done",
    );
}

#[test]
fn a_2xx_ends_the_search() {
    check(
        "   0ms caller> INVITE a b@0.5
            0ms out 100
            0ms out forward a
          100ms a> 200
          100ms out relay 200",
    );
}

/// Sends a request to one target per end, in parallel, lets them end in order, and compares what goes upstream.
fn check_best(method: &str, ends: &[&str], expected: &str) {
    let names = &["a", "b", "c"][..ends.len()];
    let mut script = format!("0ms caller> {method} {}\n", names.join(" "));
    if method == "INVITE" {
        script.push_str("0ms out 100\n");
    }
    script.extend(names.iter().map(|name| format!("0ms out forward {name}\n")));
    for (name, end) in names.iter().zip(ends) {
        script.push_str(&format!("1ms {name}> {end}\n"));
    }
    script.push_str(&format!("1ms out {expected}\n1ms out done"));
    check(&script);
}

// RFC 3261 §16.7 step 6.
#[test]
fn the_best_response() {
    for (ends, expected) in [
        // The lowest class; of equal ones the first.
        (&["404", "302"] as &[&str], "best of b"),
        (&["500", "486"], "best of b"),
        (&["486", "486"], "best of a"),
        // 6xx before all.
        (&["302", "486", "603"], "best of c"),
        // Within 4xx what helps to try again.
        (&["404", "401"], "best of b"),
        (&["404", "407"], "best of b"),
        (&["486", "415"], "best of b"),
        (&["486", "420"], "best of b"),
        (&["486", "484"], "best of b"),
        (&["415", "407"], "best of b"),
        // What a callee said before what a timer or a flow said.
        (&["fails 408", "404"], "best of b"),
        (&["408", "480"], "best of b"),
        (&["fails 408", "408"], "best of b"),
        (&["fails 430", "404"], "best of b"),
        (&["fails 503", "500"], "best of b"),
        // What we answer of our own.
        (&["fails 408"], "answer 408"),
        // RFC 5626 §11.5: endpoints never receive a 430.
        (&["fails 430"], "answer 480"),
        (&["430"], "answer 480"),
        (&["fails 502"], "answer 502"),
        (&["503", "fails 408"], "answer 408"),
        // A 503 says that a server cannot serve: not that we cannot.
        (&["503"], "answer 500"),
        (&["fails 503"], "answer 500"),
        (&["503", "500"], "best of b"),
    ] {
        check_best("INVITE", ends, expected);
    }
}

// RFC 3261 §16.7 step 7: the challenges of all branches join the one that is chosen.
#[test]
fn challenges_are_merged() {
    check_best("INVITE", &["401", "407"], "best of a with b");
    check_best("INVITE", &["404", "401", "407"], "best of b with c");
    check_best("MESSAGE", &["407", "fails 408", "407"], "best of a with c");
}

// RFC 3261 §16.7 step 5: a 6xx cancels the others and ends the search, but goes upstream only when they have ended; a 2xx
// that comes meanwhile is preferred.
#[test]
fn a_6xx_ends_the_search() {
    check(
        "   0ms caller> INVITE a b c@0.5
            0ms out 100
            0ms out forward a
            0ms out forward b
          100ms b> 180
          100ms out relay 180
          200ms a> 603
          200ms out cancel b: declined 603
          300ms b> 183
          300ms out relay 183
          400ms b> 487
          400ms out best of a
          400ms out done",
    );
    check(
        "   0ms caller> INVITE a b
            0ms out 100
            0ms out forward a
            0ms out forward b
          200ms a> 600
          200ms out cancel b: declined 600
          300ms b> 200
          300ms out relay 200",
    );
}

// RFC 3261 §16.10: all branches are cancelled, nothing new begins, what they answer is the answer.
#[test]
fn cancel_from_upstream() {
    check(
        "   0ms caller> INVITE a b c@0.5
            0ms out 100
            0ms out forward a
            0ms out forward b
          100ms a> 180
          100ms out relay 180
         1000ms caller> CANCEL
         1000ms out cancel a: upstream
         1000ms out cancel b: upstream
         1001ms caller> CANCEL
         1100ms a> 487
         1200ms b> 487
         1200ms out best of a
         1200ms out done",
    );
}

// RFC 3261 §9.1: a branch that never answered, or does not answer its CANCEL, ends by a timer of its transaction; to the
// caller, who cancelled, that is a 487.
#[test]
fn cancel_of_silent_branches() {
    check(
        "   0ms caller> INVITE a
            0ms out 100
            0ms out forward a
          100ms caller> CANCEL
          100ms out cancel a: upstream
        32000ms a> fails 408
        32000ms out answer 487
        32000ms out done",
    );
}

// RFC 3261 §9.1, §9.2: the 200 and the CANCEL cross, either way round.
#[test]
fn cancel_and_200_cross() {
    check(
        "   0ms caller> INVITE a
            0ms out 100
            0ms out forward a
          100ms caller> CANCEL
          100ms out cancel a: upstream
          101ms a> 200
          101ms out relay 200",
    );
    check(
        "   0ms caller> INVITE a
            0ms out 100
            0ms out forward a
          100ms a> 200
          100ms out relay 200
          101ms caller> CANCEL",
    );
}

// RFC 3261 §9.1: only an INVITE is cancelled.
#[test]
fn cancel_of_another_request() {
    check(
        "   0ms caller> MESSAGE a
            0ms out forward a
          100ms caller> CANCEL
          200ms a> 404
          200ms out best of a
          200ms out done",
    );
}

// RFC 3261 §16.8: with a provisional response the branch is cancelled; to the caller the callee did not answer in time.
#[test]
fn timer_c() {
    check(
        "     0ms caller> INVITE a b@0.5
              0ms out 100
              0ms out forward a
           1000ms a> 100
         190000ms out cancel a: timer C
         190100ms a> 487
         190100ms out forward b
         380100ms out answer 408
         380100ms out done",
    );
}

// RFC 3261 §16.7 step 2: a provisional response other than 100 begins Timer C anew, for its branch alone.
#[test]
fn timer_c_is_reset() {
    check(
        "     0ms caller> INVITE a b
              0ms out 100
              0ms out forward a
              0ms out forward b
            500ms b> 180
            500ms out relay 180
           1000ms a> 180
           1000ms out relay 180
         100000ms a> 183
         100000ms out relay 183
         190500ms out cancel b: timer C
         190600ms b> 487
         290000ms out cancel a: timer C
         290001ms a> 180
         290001ms out relay 180
         290002ms a> 200
         290002ms out relay 200",
    );
}

// RFC 3261 §16.8: a branch that Timer C gave up without a CANCEL may still be accepted.
#[test]
fn a_2xx_after_timer_c() {
    check(
        "     0ms caller> INVITE a b
              0ms out 100
              0ms out forward a
              0ms out forward b
         189000ms b> 180
         189000ms out relay 180
         200000ms a> 200
         200000ms out relay 200
         200000ms out cancel b: completed elsewhere",
    );
}

// `branches_max`: further targets wait for their turn.
#[test]
fn branches_max() {
    check(
        "   0ms caller> INVITE a b c branches=2
            0ms out 100
            0ms out forward a
            0ms out forward b
          100ms b> 486
          100ms out forward c
          200ms a> 486
          300ms c> 486
          300ms out best of a
          300ms out done",
    );
}

// RFC 5393 §5.3.3: the branches alive share the Max-Breadth of the request.
#[test]
fn max_breadth() {
    check(
        "   0ms caller> INVITE a b c breadth=7
            0ms out 100
            0ms out forward a breadth 2
            0ms out forward b breadth 2
            0ms out forward c breadth 3",
    );
    check(
        "   0ms caller> INVITE a b c@0.5 breadth=1
            0ms out 100
            0ms out forward a breadth 1
          100ms a> 486
          100ms out forward b breadth 1
          200ms b> 486
          200ms out forward c breadth 1",
    );
    check(
        "   0ms caller> MESSAGE a b c breadth=2
            0ms out forward a breadth 1
            0ms out forward b breadth 1
          100ms b> fails 408
          100ms out forward c breadth 1",
    );
}

// RFC 5626 §7: one flow of an instance at a time; the next after a failure of the flow, none after the instance answered.
#[test]
fn one_flow_of_an_instance() {
    for failure in ["430", "408", "fails 430", "fails 408", "fails 503"] {
        check(&format!(
            "0ms caller> INVITE a/x b/x c
             0ms out 100
             0ms out forward a
             0ms out forward c
           100ms a> {failure}
           100ms out forward b
           200ms b> 200
           200ms out relay 200
           200ms out cancel c: completed elsewhere"
        ));
    }
    for answer in ["486", "404", "500", "302"] {
        check(&format!(
            "0ms caller> INVITE a/x b/x
             0ms out 100
             0ms out forward a
           100ms a> {answer}
           100ms out best of a
           100ms out done"
        ));
    }
    check(
        "0ms caller> MESSAGE a/x b/y c/x
         0ms out forward a
         0ms out forward b
       100ms a> 486
       200ms b> 430
       200ms out best of a
       200ms out done",
    );
}

// RFC 4320 §4.1: no 100 before the client's Timer E reaches T2, then one; no other provisional response at all.
#[test]
fn provisional_responses_to_another_request() {
    check(
        "   0ms caller> MESSAGE a
            0ms out forward a
          100ms a> 100
          200ms a> 180
         3500ms out 100
         9000ms a> 200
         9000ms out relay 200
         9000ms out done",
    );
    check(
        "   0ms caller> MESSAGE a
            0ms out forward a
          100ms a> 200
          100ms out relay 200
          100ms out done
         9000ms a> 200",
    );
}

// RFC 4320 §4.2: a 408 never answers another request than INVITE, neither ours nor a callee's.
#[test]
fn no_408_to_another_request() {
    check(
        "   0ms caller> MESSAGE a
            0ms out forward a
         3500ms out 100
        32000ms a> fails 408
        32000ms out abandon
        32000ms out done",
    );
    check_best("MESSAGE", &["408"], "abandon");
    check_best("MESSAGE", &["408", "fails 408"], "abandon");
    check_best("MESSAGE", &["fails 408", "500"], "best of b");
    check_best("MESSAGE", &["408", "404"], "best of b");
}

// RFC 3261 §16.7 step 5: the first 2xx answers another request than INVITE; there is no cancelling, and nothing more.
#[test]
fn a_forked_message() {
    check(
        "   0ms caller> MESSAGE a b
            0ms out forward a
            0ms out forward b
          100ms a> 404
          200ms b> 202
          200ms out relay 202
          200ms out done
          300ms a> 200",
    );
    check(
        "   0ms caller> MESSAGE a b
            0ms out forward a
            0ms out forward b
          100ms a> 603
          200ms b> 200
          200ms out relay 200
          200ms out done",
    );
}

// What comes twice, or on a branch that has ended, changes nothing.
#[test]
fn what_comes_too_late() {
    check(
        "   0ms caller> INVITE a b
            0ms out 100
            0ms out forward a
            0ms out forward b
          100ms a> 486
          101ms a> 486
          102ms a> 180
          103ms a> fails 408
          200ms b> 404
          200ms out best of a
          200ms out done
          300ms caller> CANCEL
          301ms b> 200",
    );
}
