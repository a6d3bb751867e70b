//! Client transaction of a non-INVITE request (RFC 3261 §17.1.2, figure 6).

use std::time::{Duration, Instant};

use super::{Input, Output, Outputs, outputs};
use crate::Timers;

/// The machine.
#[derive(Debug)]
pub(crate) struct NonInviteClient {
    state: State,
    timers: Timers,
    reliable: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Trying { timer_e: Option<TimerE>, timer_f: Instant },
    Proceeding { timer_e: Option<TimerE>, timer_f: Instant },
    Completed { timer_k: Instant },
    Terminated,
}

#[derive(Clone, Copy, Debug)]
struct TimerE {
    due: Instant,
    interval: Duration,
}

impl NonInviteClient {
    /// The request was just sent.
    pub(crate) fn new(now: Instant, timers: Timers, reliable: bool) -> Self {
        let timer_e = (!reliable).then_some(TimerE { due: now + timers.t1, interval: timers.t1 });
        Self { state: State::Trying { timer_e, timer_f: now + 64 * timers.t1 }, timers, reliable }
    }

    /// Advances the machine. The outputs are all there is to do, in order.
    pub(crate) fn handle(&mut self, now: Instant, input: Input) -> Outputs {
        use Input::{Fail, Response, Wake};
        use State::{Completed, Proceeding, Terminated, Trying};
        match (&mut self.state, input) {
            (Trying { timer_e, timer_f } | Proceeding { timer_e, timer_f }, Response(code))
                if code.is_provisional() =>
            {
                self.state = Proceeding { timer_e: *timer_e, timer_f: *timer_f };
                outputs([Output::Deliver])
            }
            (Trying { .. } | Proceeding { .. }, Response(_)) => {
                let timer_k = if self.reliable { now } else { now + self.timers.t4 };
                self.state = Completed { timer_k };
                outputs([Output::Deliver])
            }
            (Trying { .. } | Proceeding { .. }, Fail) => {
                self.state = Terminated;
                outputs([Output::Unreachable, Output::Terminated])
            }
            (Trying { timer_f, .. } | Proceeding { timer_f, .. }, Wake) if now >= *timer_f => {
                self.state = Terminated;
                outputs([Output::Timeout, Output::Terminated])
            }
            (Trying { timer_e: Some(timer_e), .. }, Wake) if now >= timer_e.due => {
                timer_e.interval = (timer_e.interval * 2).min(self.timers.t2);
                timer_e.due = now + timer_e.interval;
                outputs([Output::Send])
            }
            // §17.1.2.2: once Proceeding, every T2.
            (Proceeding { timer_e: Some(timer_e), .. }, Wake) if now >= timer_e.due => {
                timer_e.interval = self.timers.t2;
                timer_e.due = now + self.timers.t2;
                outputs([Output::Send])
            }
            (Completed { timer_k }, Wake) if now >= *timer_k => {
                self.state = Terminated;
                outputs([Output::Terminated])
            }
            // Completed absorbs what comes again (Timer K); a Wake before its time is harmless.
            (
                Trying { .. } | Proceeding { .. } | Completed { .. } | Terminated,
                Response(_) | Fail | Wake,
            ) => outputs([]),
        }
    }

    /// Whether the request may have to be sent again.
    pub(crate) fn needs_request(&self) -> bool {
        matches!(self.state, State::Trying { .. } | State::Proceeding { .. })
    }

    /// When `Wake` is due; `None` while no timer runs.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Trying { timer_e, timer_f } | State::Proceeding { timer_e, timer_f } => {
                Some(timer_e.map_or(timer_f, |e| e.due.min(timer_f)))
            }
            State::Completed { timer_k } => Some(timer_k),
            State::Terminated => None,
        }
    }
}
