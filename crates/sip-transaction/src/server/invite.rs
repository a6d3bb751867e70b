//! Server transaction of an INVITE (RFC 3261 §17.2.1, with RFC 6026 §7.1's Accepted state).

use std::time::Instant;

use bytes::Bytes;
use sip_message::Reply;

use super::{Input, Output, Outputs, outputs};
use crate::Timers;

/// The machine. It remembers what it must repeat.
#[derive(Debug)]
pub(crate) struct InviteServer {
    state: State,
    timers: Timers,
    reliable: bool,
}

#[derive(Debug)]
enum State {
    Proceeding {
        last: Option<Bytes>,
    },
    /// RFC 6026 §7.1: a 2xx was sent; the transaction user repeats it, retransmissions of the INVITE are absorbed.
    Accepted {
        timer_l: Instant,
    },
    Completed {
        last: Bytes,
        timer_g: Option<TimerG>,
        timer_h: Instant,
    },
    Confirmed {
        timer_i: Instant,
    },
    /// No final response will come; retransmissions are absorbed as long as there may be some (64*T1, as in Accepted).
    Abandoned {
        over: Instant,
    },
    Terminated,
}

#[derive(Clone, Copy, Debug)]
struct TimerG {
    due: Instant,
    interval: std::time::Duration,
}

impl InviteServer {
    pub(crate) fn new(timers: Timers, reliable: bool) -> Self {
        // The 100 that §17.2.1 wants within 200 ms is sent by the transaction user, at once.
        Self { state: State::Proceeding { last: None }, timers, reliable }
    }

    /// Advances the machine. The outputs are all there is to do, in order.
    pub(crate) fn handle(&mut self, now: Instant, input: Input<'_>) -> Outputs {
        use Input::{Abandon, Ack, Respond, Retransmission, Wake};
        use State::{Abandoned, Accepted, Completed, Confirmed, Proceeding, Terminated};
        let Timers { t1, t2, t4 } = self.timers;
        match (&mut self.state, input) {
            (Proceeding { last }, Respond(reply)) if reply.code.is_provisional() => {
                *last = Some(reply.bytes.clone());
                outputs([Output::Send(reply.bytes.clone())])
            }
            (Proceeding { .. }, Respond(reply)) if reply.code.is_success() => {
                self.state = Accepted { timer_l: now + 64 * t1 };
                outputs([Output::Send(reply.bytes.clone())])
            }
            (Proceeding { .. }, Respond(Reply { bytes, .. })) => {
                let timer_g = (!self.reliable).then_some(TimerG { due: now + t1, interval: t1 });
                self.state = Completed { last: bytes.clone(), timer_g, timer_h: now + 64 * t1 };
                outputs([Output::Send(bytes.clone())])
            }
            (Proceeding { last: Some(last) } | Completed { last, .. }, Retransmission) => {
                outputs([Output::Send(last.clone())])
            }
            // RFC 6026 §7.1: further 2xx pass (other branches of a fork, and their retransmissions).
            (Accepted { .. }, Respond(reply)) if reply.code.is_success() => {
                outputs([Output::Send(reply.bytes.clone())])
            }
            (Proceeding { .. }, Abandon) => {
                self.state = Abandoned { over: now + 64 * t1 };
                outputs([])
            }
            (Accepted { timer_l: over } | Confirmed { timer_i: over } | Abandoned { over }, Wake)
                if now >= *over =>
            {
                self.state = Terminated;
                outputs([Output::Terminated])
            }
            (Completed { .. }, Ack) => {
                let timer_i = if self.reliable { now } else { now + t4 };
                self.state = Confirmed { timer_i };
                outputs([])
            }
            (Completed { timer_h, .. }, Wake) if now >= *timer_h => {
                self.state = Terminated;
                outputs([Output::NoAck, Output::Terminated])
            }
            (Completed { last, timer_g: Some(timer_g), .. }, Wake) if now >= timer_g.due => {
                timer_g.interval = (timer_g.interval * 2).min(t2);
                timer_g.due = now + timer_g.interval;
                outputs([Output::Send(last.clone())])
            }
            // The RFC discards the rest: a retransmission before any response, once Accepted or Confirmed; any response
            // once Completed or Confirmed; an ACK that is not awaited. A Wake before its time is harmless.
            (
                Proceeding { .. }
                | Accepted { .. }
                | Completed { .. }
                | Confirmed { .. }
                | Abandoned { .. }
                | Terminated,
                Respond(_) | Retransmission | Ack | Wake | Abandon,
            ) => outputs([]),
        }
    }

    /// Whether an ACK is for the transaction user: it acknowledges a 2xx (RFC 6026 §7.1).
    pub(crate) fn passes_ack(&self) -> bool {
        matches!(self.state, State::Accepted { .. })
    }

    /// When `Wake` is due; `None` while no timer runs.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Accepted { timer_l: due }
            | State::Confirmed { timer_i: due }
            | State::Abandoned { over: due } => Some(due),
            State::Completed { timer_g, timer_h, .. } => {
                Some(timer_g.map_or(timer_h, |g| g.due.min(timer_h)))
            }
            State::Proceeding { .. } | State::Terminated => None,
        }
    }
}
