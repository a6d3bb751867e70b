//! Server transactions (RFC 3261 §17.2, RFC 6026 §7.1): one stripe of the table that matches requests to them.

mod invite;
mod key;
mod non_invite;

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_message::{Method, Reply, Request};
use smallvec::SmallVec;

use crate::slab::{Name, Slab};
use crate::{Due, Timers, Wheel};
use invite::InviteServer;
pub use key::stripe_of;
use key::{ByKey, Key, key, method_of};
use non_invite::NonInviteServer;

/// What happens to a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input<'a> {
    /// The request came again.
    Retransmission,
    /// An ACK came.
    Ack,
    /// The transaction user responds.
    Respond(&'a Reply),
    /// The transaction user will not respond.
    Abandon,
    /// Time has passed.
    Wake,
}

/// What a machine wants done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Send(Bytes),
    NoAck,
    Terminated,
}

pub(crate) type Outputs = SmallVec<[Output; 2]>;

fn outputs<const N: usize>(outputs: [Output; N]) -> Outputs {
    outputs.into_iter().collect()
}

/// Names a server transaction within its stripe. Stale ids are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerId(Name);

/// What a request turned out to be.
#[derive(Debug)]
pub enum ServerMatch<U, D> {
    /// A new request: a transaction stands ready; give it to the transaction user.
    New(ServerId),
    /// A retransmission: send this again, if anything; the request goes no further.
    Retransmission(Option<(D, Bytes)>),
    /// An ACK for a non-2xx: absorbed (§17.2.1).
    AckAbsorbed,
    /// An ACK that belongs to no transaction that waits for one: for a 2xx, or stray. To the core, without transaction.
    Ack,
    /// A CANCEL.
    Cancel {
        /// Its own transaction, to be answered 200 if it cancels something, else 481 (§9.2, §16.10).
        own: ServerId,
        /// What it cancels, with what the transaction user left there.
        cancels: Option<(ServerId, Option<U>)>,
    },
    /// The table is full: answer 503 without a transaction (`transactions_max`).
    Full,
}

/// What the tables want done.
#[derive(Debug)]
pub enum ServerOutput<D> {
    /// Send octets.
    Send(D, Bytes),
    /// The final response to INVITE was never acknowledged (Timer H): informational.
    NoAck(ServerId),
    /// The transaction is gone.
    Terminated(ServerId),
}

#[derive(Debug)]
enum Machine {
    Invite(InviteServer),
    NonInvite(NonInviteServer),
}

impl Machine {
    fn handle(&mut self, now: Instant, input: Input<'_>) -> Outputs {
        match self {
            Self::Invite(machine) => machine.handle(now, input),
            Self::NonInvite(machine) => machine.handle(now, input),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Invite(machine) => machine.deadline(),
            Self::NonInvite(machine) => machine.deadline(),
        }
    }
}

#[derive(Debug)]
struct Transaction<U, D> {
    key: Key,
    machine: Machine,
    to: D,
    user: Option<U>,
    /// The earliest time for which the wheel holds this transaction.
    scheduled: Option<Instant>,
}

/// One stripe. `U` is what the transaction user leaves with a transaction to be told of its CANCEL; `D` is where its
/// responses go.
#[derive(Debug)]
pub struct ServerTransactions<U, D> {
    timers: Timers,
    transactions_max: usize,
    by_key: ByKey,
    transactions: Slab<Transaction<U, D>>,
    wheel: Wheel<ServerId>,
}

impl<U: Clone, D: Copy> ServerTransactions<U, D> {
    /// An empty stripe. `transactions_max` bounds it.
    pub fn new(now: Instant, timers: Timers, transactions_max: usize) -> Self {
        Self {
            timers,
            transactions_max,
            by_key: ByKey::default(),
            transactions: Slab::new(),
            wheel: Wheel::new(now),
        }
    }

    /// Matches a request (§17.2.3; RFC 2543 rules for a branch without the magic cookie).
    pub fn receive(&mut self, now: Instant, request: &Request, reliable: bool, to: D) -> ServerMatch<U, D> {
        let key = key(request, method_of(request));
        let found = self.by_key.get(&key).copied();
        match (request.method(), found) {
            (Method::Ack, found) => self.receive_ack(now, found),
            (_, Some(id)) => self.retransmission(now, id),
            (_, None) if self.by_key.len() >= self.transactions_max => ServerMatch::Full,
            (Method::Cancel, None) => {
                let cancels = self.cancelled_by(request);
                let own = self.insert(key, Method::Cancel, reliable, to);
                ServerMatch::Cancel { own, cancels }
            }
            (method, None) => ServerMatch::New(self.insert(key, method, reliable, to)),
        }
    }

    fn receive_ack(&mut self, now: Instant, found: Option<ServerId>) -> ServerMatch<U, D> {
        let Some(id) = found else { return ServerMatch::Ack };
        let Some(transaction) = self.get(id) else { return ServerMatch::Ack };
        match &mut transaction.machine {
            Machine::Invite(machine) if machine.passes_ack() => ServerMatch::Ack,
            // Also while Proceeding: an ACK to what was not answered acknowledges nothing, and must reach nobody.
            machine => {
                let _none = machine.handle(now, Input::Ack);
                self.schedule(id);
                ServerMatch::AckAbsorbed
            }
        }
    }

    fn retransmission(&mut self, now: Instant, id: ServerId) -> ServerMatch<U, D> {
        let Some(transaction) = self.get(id) else { return ServerMatch::Retransmission(None) };
        let again =
            transaction.machine.handle(now, Input::Retransmission).into_iter().find_map(
                |output| match output {
                    Output::Send(bytes) => Some((transaction.to, bytes)),
                    Output::NoAck | Output::Terminated => None,
                },
            );
        ServerMatch::Retransmission(again)
    }

    /// §9.2: the transaction with the CANCEL's branch and sent-by, of any method but CANCEL and ACK.
    fn cancelled_by(&mut self, cancel: &Request) -> Option<(ServerId, Option<U>)> {
        const METHODS: [Method<'_>; 12] = [
            Method::Invite,
            Method::Subscribe,
            Method::Publish,
            Method::Message,
            Method::Options,
            Method::Register,
            Method::Notify,
            Method::Refer,
            Method::Info,
            Method::Update,
            Method::Prack,
            Method::Bye,
        ];
        let id = METHODS.iter().find_map(|method| self.by_key.get(&key(cancel, *method)).copied())?;
        Some((id, self.get(id)?.user.clone()))
    }

    /// Leaves with a transaction whom to tell of its CANCEL.
    pub fn set_user(&mut self, id: ServerId, user: U) {
        if let Some(transaction) = self.get(id) {
            transaction.user = Some(user);
        }
    }

    /// Passes a response of the transaction user through the machine; `true` if it is to be sent now (the caller sends
    /// `reply.bytes`; the machine keeps what it must repeat). A second final response is refused, but for further 2xx
    /// of an INVITE (RFC 6026 §7.1 Accepted).
    pub fn respond(&mut self, now: Instant, id: ServerId, reply: &Reply) -> bool {
        let Some(transaction) = self.get(id) else { return false };
        let outputs = transaction.machine.handle(now, Input::Respond(reply));
        if reply.code.is_final() {
            // Nothing is left to cancel (RFC 3261 §9.2), and the transaction outlives its user by half a minute.
            transaction.user = None;
        }
        self.schedule(id);
        outputs.iter().any(|output| matches!(output, Output::Send(_)))
    }

    /// Ends a transaction that gets no final response (RFC 4320 §4.2); until 64*T1 are over, retransmissions are absorbed.
    pub fn abandon(&mut self, now: Instant, id: ServerId) {
        let Some(transaction) = self.get(id) else { return };
        let _none = transaction.machine.handle(now, Input::Abandon);
        transaction.user = None;
        self.schedule(id);
    }

    /// Runs what is due.
    pub fn wake(&mut self, now: Instant, out: &mut Vec<ServerOutput<D>>) {
        let mut due: SmallVec<[ServerId; 16]> = SmallVec::new();
        self.wheel.advance(now, |id| due.push(id));
        for id in due {
            let Some(transaction) = self.get(id) else { continue };
            transaction.scheduled = None;
            let to = transaction.to;
            for output in transaction.machine.handle(now, Input::Wake) {
                match output {
                    Output::Send(bytes) => out.push(ServerOutput::Send(to, bytes)),
                    Output::NoAck => out.push(ServerOutput::NoAck(id)),
                    Output::Terminated => {
                        self.remove(id);
                        out.push(ServerOutput::Terminated(id));
                    }
                }
            }
            self.schedule(id);
        }
    }

    /// When `wake` may have something to do: a time since this table began.
    pub fn due(&self) -> Due {
        self.wheel.due()
    }

    /// When `wake` is due next.
    pub fn deadline(&self) -> Option<Instant> {
        self.wheel.deadline()
    }

    /// Live transactions.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    fn insert(&mut self, key: Key, method: Method<'_>, reliable: bool, to: D) -> ServerId {
        let machine = if method == Method::Invite {
            Machine::Invite(InviteServer::new(self.timers, reliable))
        } else {
            let timer_j = if reliable { Duration::ZERO } else { 64 * self.timers.t1 };
            Machine::NonInvite(NonInviteServer::new(timer_j))
        };
        let transaction = Transaction { key, machine, to, user: None, scheduled: None };
        let id = ServerId(self.transactions.insert(transaction));
        self.by_key.insert(key, id);
        id
    }

    fn remove(&mut self, id: ServerId) {
        if let Some(transaction) = self.transactions.remove(id.0) {
            self.by_key.remove(&transaction.key);
        }
    }

    fn get(&mut self, id: ServerId) -> Option<&mut Transaction<U, D>> {
        self.transactions.get(id.0)
    }

    /// Makes sure that the wheel holds the transaction for its deadline or earlier.
    fn schedule(&mut self, id: ServerId) {
        let Some(transaction) = self.get(id) else { return };
        let Some(deadline) = transaction.machine.deadline() else { return };
        if transaction.scheduled.is_none_or(|scheduled| deadline < scheduled) {
            transaction.scheduled = Some(deadline);
            self.wheel.insert(deadline, id);
        }
    }
}
