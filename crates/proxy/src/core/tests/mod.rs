//! The response context as scripts: time, who, what.
//!
//! The first line is the request with its targets by falling preference: `INVITE a b@0.5 c/x d/x` has four, `b` with q 0.5
//! (the others 1.0), `c` and `d` flows of one instance `x`; `breadth=N` and `branches=N` set the limits. Then `a> 486` is a
//! response of target `a`, `a> fails 408` a branch that ends without one, `caller> CANCEL` what it says. `out …` is what
//! comes of it, in order; timers run by themselves.

mod cancelling;
mod forking;
mod limits;
mod other_methods;

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
