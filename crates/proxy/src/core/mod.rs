//! The response context of RFC 3261 §16.2 as a value: which branches exist, what came of them, what goes upstream.
//!
//! It holds no message: the shell keeps the responses and knows branches by number. §16.6 (order of the targets), §16.7
//! (responses), §16.8 (Timer C), §16.10 (CANCEL), RFC 4320 (non-INVITE), RFC 5393 §5.3.3 (Max-Breadth), RFC 5626 §7
//! (one flow of an instance at a time).

mod best;
mod candidates;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use sip_message::StatusCode;
use smallvec::SmallVec;

pub use candidates::Candidate;
use candidates::Candidates;

/// RFC 4320 §4.1: a non-INVITE request that was not answered within the time in which the sender's Timer E reaches T2
/// (0.5 + 1 + 2 s) is answered 100, not earlier: over UDP the sender would take it for a reason to send more rarely.
const NON_INVITE_TRYING_AFTER: Duration = Duration::from_millis(3_500);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A response came on a branch.
    Response {
        /// The branch.
        branch: u32,
        /// Its status.
        code: StatusCode,
    },
    /// A branch ended without a response; `code` says what it counts as: 408 for a timeout (§16.7 step 6), 503 for a
    /// transport that failed (§16.9), 430 for a flow that is gone (RFC 5626 §7).
    Failure {
        /// The branch.
        branch: u32,
        /// What it counts as.
        code: StatusCode,
    },
    /// The request was cancelled (§16.10).
    Cancel,
    /// `deadline` has passed.
    Wake,
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer 100 (Trying).
    Trying,
    /// Forward the request (§16.6). Branches are numbered from 0 in the order of these outputs.
    Forward {
        /// The new branch.
        branch: u32,
        /// Index of the candidate.
        candidate: usize,
        /// The Max-Breadth of the copy (RFC 5393 §5.3.3).
        max_breadth: u32,
    },
    /// Send upstream the response that just came (§16.7 step 5).
    Relay,
    /// Send upstream the final response of a branch (§16.7 step 6).
    Final {
        /// The branch.
        branch: u32,
        /// Branches whose challenges join it (§16.7 step 7).
        challenges: SmallVec<[u32; 2]>,
    },
    /// Send upstream a final response of our own.
    Answer(StatusCode),
    /// No final response may be sent: RFC 4320 §4.2 forbids a 408 to a non-INVITE request.
    Abandon,
    /// Cancel a branch (§16.7 step 10, §9.1): as soon as a provisional response has come.
    CancelBranch {
        /// The branch.
        branch: u32,
        /// Why.
        reason: CancelReason,
    },
    /// Nothing more can be sent upstream: let go of the server transaction.
    Done,
}

/// Why a branch is cancelled: what its CANCEL says in Reason (RFC 3326).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// Another branch answered with a 2xx.
    CompletedElsewhere,
    /// Another branch answered with this 6xx.
    Declined(StatusCode),
    /// The caller cancelled: the Reason of its CANCEL is passed on.
    Upstream,
    /// Timer C.
    TimerC,
}

/// Room for the outputs of nearly every input.
pub type Outputs = SmallVec<[Output; 4]>;

/// Settings of one context.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Timer C (§16.6 step 11).
    pub timer_c: Duration,
    /// Incoming Max-Breadth (RFC 5393 §5.3.2), at least 1.
    pub max_breadth: u32,
    /// Branches alive at once, at least 1.
    pub branches_max: u32,
}

/// The response context.
#[derive(Debug)]
pub struct Core {
    is_invite: bool,
    limits: Limits,
    state: State,
    was_cancelled: bool,
    candidates: Candidates,
    branches: SmallVec<[Branch; 2]>,
    trying_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Candidates are being tried.
    Searching,
    /// A 6xx or a CANCEL came: no new branches; the final response waits for those that there are.
    Closing,
    /// A 2xx of an INVITE was relayed: further ones are, too.
    Answered,
    /// The final response was sent, and no other can follow.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Branch {
    candidate: usize,
    max_breadth: u32,
    has_provisional: bool,
    is_cancelled: bool,
    timer_c: Option<Instant>,
    timer_c_fired: bool,
    end: Option<End>,
}

/// How a branch ended.
#[derive(Clone, Copy, Debug)]
struct End {
    code: StatusCode,
    /// Whether there is a response, or the code stands for a failure.
    is_response: bool,
}

impl Core {
    /// A context for a request with its candidates, which are tried by falling q, equal ones in parallel.
    pub fn new(is_invite: bool, limits: Limits, candidates: Vec<Candidate>) -> Self {
        Self {
            is_invite,
            limits,
            state: State::Searching,
            was_cancelled: false,
            candidates: Candidates::new(candidates),
            branches: SmallVec::new(),
            trying_at: None,
        }
    }

    /// Forwards to the first candidates. An INVITE is answered 100 at once (§16.2), any other request if it takes long
    /// (RFC 4320 §4.1).
    pub fn start(&mut self, now: Instant) -> Outputs {
        let mut out = Outputs::new();
        if self.is_invite {
            out.push(Output::Trying);
        } else {
            self.trying_at = Some(now + NON_INVITE_TRYING_AFTER);
        }
        self.advance(now, &mut out);
        out
    }

    /// Takes what happened. The outputs are all there is to do.
    pub fn handle(&mut self, now: Instant, input: Input) -> Outputs {
        let mut out = Outputs::new();
        match input {
            Input::Response { branch, code } if code.is_provisional() => {
                self.provisional(now, branch, code, &mut out);
            }
            Input::Response { branch, code } if code.is_success() => self.success(branch, code, &mut out),
            Input::Response { branch, code } => self.end(now, branch, code, true, &mut out),
            Input::Failure { branch, code } => self.end(now, branch, code, false, &mut out),
            Input::Cancel => self.cancel(now, &mut out),
            Input::Wake => self.wake(now, &mut out),
        }
        out
    }

    /// When `Wake` is due; `None` while no timer runs. One that comes early is harmless.
    pub fn deadline(&self) -> Option<Instant> {
        self.branches.iter().filter_map(|b| b.timer_c).chain(self.trying_at).min()
    }

    /// §16.7 steps 2 and 5.
    fn provisional(&mut self, now: Instant, branch: u32, code: StatusCode, out: &mut Outputs) {
        let timer_c = now + self.limits.timer_c;
        let Some(b) = self.live(branch) else { return };
        b.has_provisional = true;
        if code == StatusCode::TRYING {
            // Of our hop alone, and no reason to wait longer.
            return;
        }
        if b.timer_c.is_some() {
            b.timer_c = Some(timer_c);
        }
        // RFC 4320 §4.1: no provisional response but 100 for a non-INVITE request.
        if self.is_invite && matches!(self.state, State::Searching | State::Closing) {
            out.push(Output::Relay);
        }
    }

    /// §16.7 step 5: at once, each 2xx of an INVITE, the first one of another request.
    fn success(&mut self, branch: u32, code: StatusCode, out: &mut Outputs) {
        let Some(b) = self.branches.get_mut(branch as usize) else { return };
        b.end.get_or_insert(End { code, is_response: true });
        b.timer_c = None;
        match self.state {
            State::Searching | State::Closing => {
                out.push(Output::Relay);
                self.trying_at = None;
                if self.is_invite {
                    self.state = State::Answered;
                    self.cancel_all(CancelReason::CompletedElsewhere, out);
                } else {
                    self.state = State::Done;
                    out.push(Output::Done);
                }
            }
            State::Answered => out.push(Output::Relay),
            // Only on a branch that Timer C gave up: the server transaction has its final response.
            State::Done => {}
        }
    }

    /// §16.7 step 4, and what follows from it.
    fn end(&mut self, now: Instant, branch: u32, code: StatusCode, is_response: bool, out: &mut Outputs) {
        let Some(b) = self.live(branch) else { return };
        // A branch that was cancelled by Timer C answers 487, but the caller terminated nothing: to it the callee did
        // not answer in time.
        let gave_up = b.timer_c_fired && code == StatusCode::REQUEST_TERMINATED;
        let end = if gave_up {
            End { code: StatusCode::REQUEST_TIMEOUT, is_response: false }
        } else {
            End { code, is_response }
        };
        b.end = Some(end);
        b.timer_c = None;
        let candidate = b.candidate;
        self.candidates.ended(candidate, end.code, end.is_response);
        if code.class() == 6 && matches!(self.state, State::Searching | State::Closing) {
            self.state = State::Closing;
            self.cancel_all(CancelReason::Declined(code), out);
        }
        self.advance(now, out);
    }

    /// §16.10: a CANCEL of another request than INVITE has no effect (§9.1), nor one that comes too late (§9.2).
    fn cancel(&mut self, now: Instant, out: &mut Outputs) {
        if !self.is_invite || matches!(self.state, State::Answered | State::Done) {
            return;
        }
        self.was_cancelled = true;
        self.state = State::Closing;
        self.cancel_all(CancelReason::Upstream, out);
        self.advance(now, out);
    }

    fn wake(&mut self, now: Instant, out: &mut Outputs) {
        if self.trying_at.is_some_and(|at| at <= now) {
            self.trying_at = None;
            if self.state != State::Done {
                out.push(Output::Trying);
            }
        }
        // §16.8.
        for branch in 0..self.branches.len() as u32 {
            let Some(b) = self.live(branch) else { continue };
            if b.timer_c.is_none_or(|at| at > now) {
                continue;
            }
            b.timer_c = None;
            b.timer_c_fired = true;
            if b.has_provisional {
                b.is_cancelled = true;
                out.push(Output::CancelBranch { branch, reason: CancelReason::TimerC });
            } else {
                self.end(now, branch, StatusCode::REQUEST_TIMEOUT, false, out);
            }
        }
    }

    /// Begins what may begin; without a live branch, the search is over.
    fn advance(&mut self, now: Instant, out: &mut Outputs) {
        match self.state {
            State::Searching => self.begin_branches(now, out),
            State::Closing => {}
            State::Answered | State::Done => return,
        }
        if self.active().next().is_some() {
            return;
        }
        self.trying_at = None;
        self.state = State::Done;
        out.push(best::choose(self.is_invite, self.was_cancelled, &self.branches));
        out.push(Output::Done);
    }

    /// §16.6 with RFC 5393 §5.3.3: as many as Max-Breadth allows at once, the others as breadth comes free.
    fn begin_branches(&mut self, now: Instant, out: &mut Outputs) {
        let (live, used) =
            self.active().fold((0u32, 0u32), |(n, sum), b| (n + 1, sum.saturating_add(b.max_breadth)));
        let mut breadth = self.limits.max_breadth.saturating_sub(used);
        let room = breadth.min(self.limits.branches_max.saturating_sub(live));
        let starting = self.candidates.take(live == 0, room as usize);
        let mut left = starting.len() as u32;
        for candidate in starting {
            let max_breadth = breadth / left.max(1);
            breadth -= max_breadth;
            left -= 1;
            let branch = self.branches.len() as u32;
            self.branches.push(Branch {
                candidate,
                max_breadth,
                has_provisional: false,
                is_cancelled: false,
                timer_c: self.is_invite.then(|| now + self.limits.timer_c),
                timer_c_fired: false,
                end: None,
            });
            out.push(Output::Forward { branch, candidate, max_breadth });
        }
    }

    /// §16.7 step 10. Only an INVITE is cancelled (§9.1).
    fn cancel_all(&mut self, reason: CancelReason, out: &mut Outputs) {
        if !self.is_invite {
            return;
        }
        for (branch, b) in (0u32..).zip(self.branches.iter_mut()) {
            if b.end.is_none() && !b.is_cancelled {
                b.is_cancelled = true;
                b.timer_c = None;
                out.push(Output::CancelBranch { branch, reason });
            }
        }
    }

    fn active(&self) -> impl Iterator<Item = &Branch> {
        self.branches.iter().filter(|b| b.end.is_none())
    }

    fn live(&mut self, branch: u32) -> Option<&mut Branch> {
        self.branches.get_mut(branch as usize).filter(|b| b.end.is_none())
    }
}
