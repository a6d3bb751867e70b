//! Client transactions (RFC 3261 §17.1, RFC 6026 §7.2): one stripe of the table that matches responses to them.

mod follow_up;
mod invite;
mod non_invite;

use std::time::Instant;

use bytes::Bytes;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use sip_message::{Method, Response, StatusCode};
use smallvec::SmallVec;

use crate::slab::{Name, Slab};
use crate::{ClientId, Due, Timers, Wheel};
use invite::InviteClient;
use non_invite::NonInviteClient;

/// What happens to a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input {
    /// A response came.
    Response(StatusCode),
    /// The transport failed (§17.1.4).
    Fail,
    /// Time has passed.
    Wake,
}

/// What a machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send the request again.
    Send,
    /// Acknowledge the response that came.
    Ack,
    /// Give the response that came to the transaction user.
    Deliver,
    Timeout,
    Unreachable,
    Terminated,
}

pub(crate) type Outputs = SmallVec<[Output; 2]>;

fn outputs<const N: usize>(outputs: [Output; N]) -> Outputs {
    outputs.into_iter().collect()
}

/// What the table wants done, in order.
#[derive(Debug)]
pub enum ClientOutput<U, D> {
    /// Send octets.
    Send(ClientId, D, Bytes),
    /// A response for the transaction user: each 1xx (100 too), each final response once, each further 2xx of an INVITE
    /// (RFC 6026 §7.2). The response itself is the one handed to `receive`.
    Deliver(U),
    /// Timer B or F fired, or a cancelled INVITE got no final response: none will come.
    Timeout(U),
    /// The transport failed (§17.1.4).
    Unreachable(U),
}

#[derive(Debug)]
enum Machine {
    Invite(InviteClient, Cancel),
    NonInvite(NonInviteClient),
}

/// The CANCEL of an INVITE.
#[derive(Debug)]
enum Cancel {
    NotWanted,
    /// Wanted, but no provisional response has come yet (§9.1).
    Held {
        reason: Option<Box<str>>,
    },
    /// On its way, with a transaction of its own that shares the branch.
    Sent {
        request: Bytes,
        machine: NonInviteClient,
    },
}

impl Machine {
    fn needs_request(&self) -> bool {
        match self {
            Self::Invite(machine, _) => machine.needs_request(),
            Self::NonInvite(machine) => machine.needs_request(),
        }
    }

    /// Whether anything may still have to be told.
    fn needs_user(&self) -> bool {
        match self {
            Self::Invite(machine, _) => machine.needs_user(),
            // The one final response ends it.
            Self::NonInvite(machine) => machine.needs_request(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::NonInvite(machine) => machine.deadline(),
            Self::Invite(machine, Cancel::Sent { machine: cancel, .. }) => {
                [machine.deadline(), cancel.deadline()].into_iter().flatten().min()
            }
            Self::Invite(machine, _) => machine.deadline(),
        }
    }
}

#[derive(Debug)]
struct Transaction<U, D> {
    machine: Machine,
    /// Kept while it may have to be sent again, cancelled or acknowledged.
    request: Bytes,
    /// The method, as CSeq of a response must name it (§17.1.3).
    method: SmallVec<[u8; 16]>,
    to: D,
    /// While it may have to be told of something.
    user: Option<U>,
    /// The earliest time for which the wheel holds this transaction.
    scheduled: Option<Instant>,
}

/// One stripe. `U` is told of events, `D` is where the request goes (every retransmission, CANCEL and ACK goes there
/// too).
#[derive(Debug)]
pub struct ClientTransactions<U, D> {
    timers: Timers,
    transactions_max: usize,
    by_id: HashMap<ClientId, Name>,
    transactions: Slab<Transaction<U, D>>,
    wheel: Wheel<ClientId>,
}

impl<U: Clone, D: Copy> ClientTransactions<U, D> {
    /// An empty stripe. `transactions_max` bounds it.
    pub fn new(now: Instant, timers: Timers, transactions_max: usize) -> Self {
        Self {
            timers,
            transactions_max,
            by_id: HashMap::new(),
            transactions: Slab::new(),
            wheel: Wheel::new(now),
        }
    }

    /// Begins a transaction for a request whose top Via has `id` in its branch. The caller sends `request` itself, now.
    /// `false` if the table is full or the id is taken: nothing was begun.
    #[must_use]
    #[allow(clippy::too_many_arguments)] // one request, one destination, one user
    pub fn start(
        &mut self,
        now: Instant,
        id: ClientId,
        is_invite: bool,
        request: Bytes,
        reliable: bool,
        to: D,
        user: U,
    ) -> bool {
        if self.by_id.len() >= self.transactions_max {
            return false;
        }
        let Entry::Vacant(place) = self.by_id.entry(id) else { return false };
        let machine = if is_invite {
            Machine::Invite(InviteClient::new(now, self.timers, reliable), Cancel::NotWanted)
        } else {
            Machine::NonInvite(NonInviteClient::new(now, self.timers, reliable))
        };
        let method = SmallVec::from_slice(method_of(&request));
        let transaction = Transaction { machine, request, method, to, user: Some(user), scheduled: None };
        place.insert(self.transactions.insert(transaction));
        self.schedule(id);
        true
    }

    /// Takes a response whose top Via has `id` in its branch. `false` if it matches no transaction (CSeq method
    /// included, §17.1.3): a stateful proxy drops it (RFC 6026 §7.3).
    pub fn receive(
        &mut self,
        now: Instant,
        id: ClientId,
        response: &Response,
        out: &mut Vec<ClientOutput<U, D>>,
    ) -> bool {
        let Some(transaction) = self.get(id) else { return false };
        let method = response.cseq().method;
        if let (Method::Cancel, Machine::Invite(_, Cancel::Sent { machine, .. })) =
            (method, &mut transaction.machine)
        {
            // The answer to our own CANCEL says nothing to anyone: what counts is the answer to the INVITE.
            let _absorbed = machine.handle(now, Input::Response(response.status()));
            self.schedule(id);
            return true;
        }
        if method.as_str().as_bytes() != transaction.method.as_slice() {
            return false;
        }
        self.step(now, id, Input::Response(response.status()), Some(response), out);
        true
    }

    /// Cancels an INVITE (§9.1): now if a provisional response has come, at the first one otherwise, never after a final
    /// one. `reason` becomes a Reason header field (RFC 3326). If no final response follows within 64*T1 of the CANCEL,
    /// the transaction ends with `Timeout`.
    pub fn cancel(
        &mut self,
        now: Instant,
        id: ClientId,
        reason: Option<&str>,
        out: &mut Vec<ClientOutput<U, D>>,
    ) {
        let Some(transaction) = self.get(id) else { return };
        let Machine::Invite(machine, cancel @ Cancel::NotWanted) = &mut transaction.machine else { return };
        if machine.may_cancel() || machine.may_still_cancel() {
            *cancel = Cancel::Held { reason: reason.map(Into::into) };
            self.send_held_cancel(now, id, out);
        }
    }

    fn send_held_cancel(&mut self, now: Instant, id: ClientId, out: &mut Vec<ClientOutput<U, D>>) {
        let timers = self.timers;
        let Some(transaction) = self.get(id) else { return };
        let Machine::Invite(machine, cancel) = &mut transaction.machine else { return };
        let Cancel::Held { reason } = &*cancel else { return };
        if !machine.may_cancel() {
            return;
        }
        let Some(request) = follow_up::cancel(&transaction.request, reason.as_deref()) else { return };
        machine.cancelled(now);
        out.push(ClientOutput::Send(id, transaction.to, request.clone()));
        let reliable = machine.is_reliable();
        *cancel = Cancel::Sent { request, machine: NonInviteClient::new(now, timers, reliable) };
        self.schedule(id);
    }

    /// The transport could not send for a transaction.
    pub fn fail(&mut self, now: Instant, id: ClientId, out: &mut Vec<ClientOutput<U, D>>) {
        self.step(now, id, Input::Fail, None, out);
    }

    /// Runs what is due.
    pub fn wake(&mut self, now: Instant, out: &mut Vec<ClientOutput<U, D>>) {
        let mut due: SmallVec<[ClientId; 16]> = SmallVec::new();
        self.wheel.advance(now, |id| due.push(id));
        for id in due {
            let Some(transaction) = self.get(id) else { continue };
            transaction.scheduled = None;
            if let Machine::Invite(_, Cancel::Sent { request, machine }) = &mut transaction.machine {
                let again = machine.handle(now, Input::Wake).contains(&Output::Send);
                if again {
                    out.push(ClientOutput::Send(id, transaction.to, request.clone()));
                }
            }
            self.step(now, id, Input::Wake, None, out);
        }
    }

    /// Advances the machine of a transaction and does what it wants.
    fn step(
        &mut self,
        now: Instant,
        id: ClientId,
        input: Input,
        response: Option<&Response>,
        out: &mut Vec<ClientOutput<U, D>>,
    ) {
        let Some(transaction) = self.get(id) else { return };
        let outputs = match &mut transaction.machine {
            Machine::Invite(machine, _) => machine.handle(now, input),
            Machine::NonInvite(machine) => machine.handle(now, input),
        };
        let (to, mut terminated) = (transaction.to, false);
        let user = || transaction.user.clone();
        for output in outputs {
            match output {
                Output::Send => out.push(ClientOutput::Send(id, to, transaction.request.clone())),
                Output::Ack => {
                    let ack = response.and_then(|response| follow_up::ack(&transaction.request, response));
                    out.extend(ack.map(|ack| ClientOutput::Send(id, to, ack)));
                }
                Output::Deliver => out.extend(user().map(ClientOutput::Deliver)),
                Output::Timeout => out.extend(user().map(ClientOutput::Timeout)),
                Output::Unreachable => out.extend(user().map(ClientOutput::Unreachable)),
                Output::Terminated => terminated = true,
            }
        }
        if terminated {
            self.remove(id);
            return;
        }
        if !transaction.machine.needs_request() {
            transaction.request = Bytes::new();
        }
        if !transaction.machine.needs_user() {
            transaction.user = None;
        }
        self.send_held_cancel(now, id, out);
        self.schedule(id);
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
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn get(&mut self, id: ClientId) -> Option<&mut Transaction<U, D>> {
        self.transactions.get(*self.by_id.get(&id)?)
    }

    fn remove(&mut self, id: ClientId) {
        if let Some(name) = self.by_id.remove(&id) {
            self.transactions.remove(name);
        }
    }

    /// Makes sure that the wheel holds the transaction for its deadline or earlier.
    fn schedule(&mut self, id: ClientId) {
        let Some(transaction) = self.get(id) else { return };
        let Some(deadline) = transaction.machine.deadline() else { return };
        if transaction.scheduled.is_none_or(|scheduled| deadline < scheduled) {
            transaction.scheduled = Some(deadline);
            self.wheel.insert(deadline, id);
        }
    }
}

/// The method of a request that we wrote: what stands before the first space.
fn method_of(request: &[u8]) -> &[u8] {
    let end = request.iter().position(|b| *b == b' ').unwrap_or(0);
    request.get(..end).unwrap_or_default()
}
