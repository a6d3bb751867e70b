//! Client transactions (RFC 3261 §17.1, RFC 6026 §7.2): one stripe of the table that matches responses to them.
//!
//! To be split: `client/{table,invite,non_invite,cancel}.rs`.

use std::time::Instant;

use bytes::Bytes;
use sip_message::Response;

use crate::{ClientId, Timers};

/// What the table wants done, in order.
#[derive(Debug)]
pub enum ClientOutput<U, D> {
    /// Send octets.
    Send(ClientId, D, Bytes),
    /// A response for the transaction user: each 1xx (100 too), each final response once, each further 2xx of an INVITE
    /// (RFC 6026 §7.2). The response itself is the one handed to `receive`.
    Deliver(U),
    /// Timer B or F fired: no final response came.
    Timeout(U),
    /// The transport failed (§17.1.4).
    Unreachable(U),
}

/// One stripe. `U` is told of events, `D` is where the request goes (every retransmission, CANCEL and ACK goes there too).
#[derive(Debug)]
pub struct ClientTransactions<U, D> {
    _todo: std::marker::PhantomData<(U, D)>,
}

impl<U: Clone, D: Copy> ClientTransactions<U, D> {
    /// An empty stripe. `transactions_max` bounds it.
    pub fn new(_now: Instant, _timers: Timers, _transactions_max: usize) -> Self {
        todo!()
    }
    /// Begins a transaction for a request whose top Via has `id` in its branch. The caller sends `request` itself, now.
    /// `false` if the table is full or the id is taken: nothing was begun.
    #[must_use]
    pub fn start(
        &mut self, _now: Instant, _id: ClientId, _is_invite: bool, _request: Bytes, _reliable: bool, _to: D, _user: U,
    ) -> bool {
        todo!()
    }
    /// Takes a response whose top Via has `id` in its branch. `false` if it matches no transaction (CSeq method included,
    /// §17.1.3): a stateful proxy drops it (RFC 6026 §7.3).
    pub fn receive(&mut self, _now: Instant, _id: ClientId, _response: &Response, _out: &mut Vec<ClientOutput<U, D>>) -> bool {
        todo!()
    }
    /// Cancels an INVITE (§9.1): now if a provisional response has come, at the first one otherwise, never after a final
    /// one. `reason` becomes a Reason header field (RFC 3326). The transaction goes on; if no final response follows
    /// within 64*T1 of the CANCEL, it ends with `Timeout`.
    pub fn cancel(&mut self, _now: Instant, _id: ClientId, _reason: Option<&str>, _out: &mut Vec<ClientOutput<U, D>>) {
        todo!()
    }
    /// The transport could not send for a transaction.
    pub fn fail(&mut self, _now: Instant, _id: ClientId, _out: &mut Vec<ClientOutput<U, D>>) {
        todo!()
    }
    /// Runs what is due.
    pub fn wake(&mut self, _now: Instant, _out: &mut Vec<ClientOutput<U, D>>) {
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
