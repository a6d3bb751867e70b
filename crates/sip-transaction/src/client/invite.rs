//! Client transaction of an INVITE (RFC 3261 §17.1.1, with RFC 6026 §7.2's Accepted state).

use std::time::{Duration, Instant};

use super::{Input, Output, Outputs, outputs};
use crate::Timers;

/// The machine.
#[derive(Debug)]
pub(crate) struct InviteClient {
    state: State,
    timers: Timers,
    reliable: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Calling {
        timer_a: Option<TimerA>,
        timer_b: Instant,
    },
    /// `give_up` runs once the request was cancelled: §9.1 takes it for cancelled if no final response comes in 64*T1.
    Proceeding {
        give_up: Option<Instant>,
    },
    Completed {
        timer_d: Instant,
    },
    /// RFC 6026 §7.2: a 2xx came; more may.
    Accepted {
        timer_m: Instant,
    },
    Terminated,
}

#[derive(Clone, Copy, Debug)]
struct TimerA {
    due: Instant,
    interval: Duration,
}

impl InviteClient {
    /// The request was just sent.
    pub(crate) fn new(now: Instant, timers: Timers, reliable: bool) -> Self {
        let timer_a = (!reliable).then_some(TimerA { due: now + timers.t1, interval: timers.t1 });
        Self { state: State::Calling { timer_a, timer_b: now + 64 * timers.t1 }, timers, reliable }
    }

    /// Advances the machine. The outputs are all there is to do, in order.
    pub(crate) fn handle(&mut self, now: Instant, input: Input) -> Outputs {
        use Input::{Fail, Response, Wake};
        use State::{Accepted, Calling, Completed, Proceeding, Terminated};
        let t1 = self.timers.t1;
        match (&mut self.state, input) {
            (Calling { .. }, Response(code)) if code.is_provisional() => {
                self.state = Proceeding { give_up: None };
                outputs([Output::Deliver])
            }
            (Proceeding { .. }, Response(code)) if code.is_provisional() => outputs([Output::Deliver]),
            (Calling { .. } | Proceeding { .. }, Response(code)) if code.is_success() => {
                self.state = Accepted { timer_m: now + 64 * t1 };
                outputs([Output::Deliver])
            }
            (Calling { .. } | Proceeding { .. }, Response(_)) => {
                // Timer D: at least 32 s, or zero on a reliable transport.
                let timer_d = if self.reliable { now } else { now + (64 * t1).max(Duration::from_secs(32)) };
                self.state = Completed { timer_d };
                outputs([Output::Ack, Output::Deliver])
            }
            (Completed { .. }, Response(code)) if code.is_final() && !code.is_success() => {
                outputs([Output::Ack])
            }
            (Accepted { .. }, Response(code)) if code.is_success() => outputs([Output::Deliver]),
            (Calling { .. } | Proceeding { .. }, Fail) => {
                self.state = Terminated;
                outputs([Output::Unreachable, Output::Terminated])
            }
            (Calling { timer_b: over, .. } | Proceeding { give_up: Some(over) }, Wake) if now >= *over => {
                self.state = Terminated;
                outputs([Output::Timeout, Output::Terminated])
            }
            (Calling { timer_a: Some(timer_a), .. }, Wake) if now >= timer_a.due => {
                timer_a.interval *= 2;
                timer_a.due = now + timer_a.interval;
                outputs([Output::Send])
            }
            (Completed { timer_d: over } | Accepted { timer_m: over }, Wake) if now >= *over => {
                self.state = Terminated;
                outputs([Output::Terminated])
            }
            // The RFC discards the rest: 1xx and 2xx once Completed (RFC 6026 §7.2 too), anything but a 2xx once Accepted, a
            // transport error after the final response. A Wake before its time is harmless.
            (
                Calling { .. } | Proceeding { .. } | Completed { .. } | Accepted { .. } | Terminated,
                Response(_) | Fail | Wake,
            ) => outputs([]),
        }
    }

    /// Whether a CANCEL may be sent now (§9.1: not before a provisional response, not after a final one).
    pub(crate) fn may_cancel(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    /// Whether a CANCEL may have to be sent later.
    pub(crate) fn may_still_cancel(&self) -> bool {
        matches!(self.state, State::Calling { .. })
    }

    /// The CANCEL was sent: from now on a final response is due within 64*T1 (§9.1).
    pub(crate) fn cancelled(&mut self, now: Instant) {
        if let State::Proceeding { give_up } = &mut self.state {
            give_up.get_or_insert(now + 64 * self.timers.t1);
        }
    }

    /// Whether the transport needs no retransmission.
    pub(crate) fn is_reliable(&self) -> bool {
        self.reliable
    }

    /// Whether the request is still needed: to be sent again, cancelled or acknowledged.
    pub(crate) fn needs_request(&self) -> bool {
        matches!(self.state, State::Calling { .. } | State::Proceeding { .. } | State::Completed { .. })
    }

    /// Whether a response, or that none came, may still be delivered.
    pub(crate) fn needs_user(&self) -> bool {
        matches!(self.state, State::Calling { .. } | State::Proceeding { .. } | State::Accepted { .. })
    }

    /// When `Wake` is due; `None` while no timer runs.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Calling { timer_a, timer_b } => Some(timer_a.map_or(timer_b, |a| a.due.min(timer_b))),
            State::Proceeding { give_up } => give_up,
            State::Completed { timer_d: due } | State::Accepted { timer_m: due } => Some(due),
            State::Terminated => None,
        }
    }
}
