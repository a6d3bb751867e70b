//! Server transactions (RFC 3261 §17.2, RFC 6026 §7.1): one stripe of the table that matches requests to them.
//!
//! To be split: `server/{table,invite,non_invite,key}.rs`.

use std::time::Instant;

use bytes::Bytes;
use sip_message::{Reply, Request};

use crate::Timers;

/// Names a server transaction within its stripe. Stale ids are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerId {
    slot: u32,
    generation: u32,
}

/// Chooses the stripe of a request: equal for a request, its retransmissions, its CANCEL and its ACK (§17.2.3).
pub fn stripe_of(_request: &Request) -> u64 {
    todo!()
}

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
    /// A CANCEL. `own` is its own transaction, to be answered 200 if `invite` is there, else 481 or forwarded (§9.2,
    /// §16.10); `invite` is what it cancels, with what the transaction user left there.
    Cancel { /// The CANCEL's own transaction.
        own: ServerId, /// The transaction to cancel.
        cancels: Option<(ServerId, Option<U>)> },
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

/// One stripe. `U` is what the transaction user leaves with a transaction to be told of its CANCEL; `D` is where its
/// responses go.
#[derive(Debug)]
pub struct ServerTransactions<U, D> {
    _todo: std::marker::PhantomData<(U, D)>,
}

impl<U: Clone, D: Copy> ServerTransactions<U, D> {
    /// An empty stripe. `transactions_max` bounds it.
    pub fn new(_now: Instant, _timers: Timers, _transactions_max: usize) -> Self {
        todo!()
    }
    /// Matches a request (§17.2.3; RFC 2543 rules for a branch without the magic cookie).
    pub fn receive(&mut self, _now: Instant, _request: &Request, _reliable: bool, _to: D) -> ServerMatch<U, D> {
        todo!()
    }
    /// Leaves with a transaction whom to tell of its CANCEL.
    pub fn set_user(&mut self, _id: ServerId, _user: U) {
        todo!()
    }
    /// Passes a response of the transaction user through the machine; `true` if it is to be sent now (the caller sends
    /// `reply.bytes`; the machine keeps what it must repeat). A second final response is refused, but for further 2xx of an
    /// INVITE (RFC 6026 §7.1 Accepted).
    pub fn respond(&mut self, _now: Instant, _id: ServerId, _reply: &Reply) -> bool {
        todo!()
    }
    /// Runs what is due.
    pub fn wake(&mut self, _now: Instant, _out: &mut Vec<ServerOutput<D>>) {
        todo!()
    }
    /// When `wake` is due next.
    pub fn deadline(&self) -> Option<Instant> {
        todo!()
    }
    /// Live transactions.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
