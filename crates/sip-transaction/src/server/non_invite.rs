//! Server transaction of a non-INVITE request (RFC 3261 §17.2.2, figure 8).

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_message::Reply;

use super::{Input, Output, Outputs, outputs};

/// The machine. It remembers what it must repeat.
#[derive(Debug)]
pub(crate) struct NonInviteServer {
    state: State,
    timer_j: Duration,
}

#[derive(Debug)]
enum State {
    Trying,
    Proceeding {
        last: Bytes,
    },
    Completed {
        last: Bytes,
        timer_j: Instant,
    },
    /// RFC 4320 §4.2: no final response will come; retransmissions are absorbed as long as there may be some.
    Abandoned {
        timer_j: Instant,
    },
    Terminated,
}

impl NonInviteServer {
    /// `timer_j` is 64*T1, or zero on a reliable transport.
    pub(crate) fn new(timer_j: Duration) -> Self {
        Self { state: State::Trying, timer_j }
    }

    /// Advances the machine. The outputs are all there is to do, in order.
    pub(crate) fn handle(&mut self, now: Instant, input: Input<'_>) -> Outputs {
        use Input::{Abandon, Ack, Respond, Retransmission, Wake};
        use State::{Abandoned, Completed, Proceeding, Terminated, Trying};
        match (&self.state, input) {
            (Trying | Proceeding { .. }, Respond(Reply { code, bytes })) => {
                let last = bytes.clone();
                self.state = if code.is_final() {
                    Completed { last, timer_j: now + self.timer_j }
                } else {
                    Proceeding { last }
                };
                outputs([Output::Send(bytes.clone())])
            }
            (Proceeding { last } | Completed { last, .. }, Retransmission) => {
                outputs([Output::Send(last.clone())])
            }
            (Trying | Proceeding { .. }, Abandon) => {
                self.state = Abandoned { timer_j: now + self.timer_j };
                outputs([])
            }
            (Completed { timer_j, .. } | Abandoned { timer_j }, Wake) if now >= *timer_j => {
                self.state = Terminated;
                outputs([Output::Terminated])
            }
            // The RFC discards the rest: a retransmission while Trying, a second final response once Completed. A Wake
            // before its time is harmless; an ACK never comes here.
            (
                Trying | Proceeding { .. } | Completed { .. } | Abandoned { .. } | Terminated,
                Respond(_) | Retransmission | Wake | Ack | Abandon,
            ) => outputs([]),
        }
    }

    /// When `Wake` is due; `None` while no timer runs.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Completed { timer_j, .. } | State::Abandoned { timer_j } => Some(timer_j),
            State::Trying | State::Proceeding { .. } | State::Terminated => None,
        }
    }
}
