//! The shell of the transaction machines: stripes of tables, and the network they send by.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use rand::Rng;
use sip_message::{Framed, Hex, Malformed, Reply, ReplyBuilder, Request, Response, StatusCode};
use sip_transaction::{
    Branch, ClientId, ClientOutput, ClientTransactions, ServerId, ServerMatch, ServerOutput,
    ServerTransactions, Timers, Wheel, stripe_of,
};

use crate::server::ReplyPath;
use crate::{
    CancelUser, ClientFailure, ClientUser, Flow, Metrics, Network, ServerTransaction, SipRequest, Stripe,
    TimerUser, Unreachable,
};

/// Settings of the transaction layer.
#[derive(Clone, Copy, Debug)]
pub struct EndpointConfig {
    /// T1, T2, T4.
    pub timers: Timers,
    /// Server transactions, and client transactions, alive at once; beyond it 503. Default 1,000,000 each.
    pub transactions_max: usize,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self { timers: Timers::default(), transactions_max: 1_000_000 }
    }
}

/// What is above the transactions: the stack of services, and the path of an ACK.
pub trait TransactionUser {
    /// A new request.
    fn on_request(&self, request: SipRequest);

    /// An ACK for a 2xx, or a stray one (RFC 3261 §16.11, §13.2.2.4): it has no transaction and gets no response.
    fn on_ack(&self, now: Instant, ack: Request, source: &Flow);
}

/// A request that could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// The transport refused it at once.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// `transactions_max`.
    #[error("too many client transactions")]
    TooManyTransactions,
}

type Servers = Stripe<ServerTransactions<Arc<dyn CancelUser>, ReplyPath>>;
/// Whom a client transaction is for, and under which number it knows it.
type BranchOf = (Arc<dyn ClientUser>, u32);
type Clients = Stripe<ClientTransactions<BranchOf, Flow>>;
type Alarms = Stripe<Wheel<(Weak<dyn TimerUser>, u64)>>;

/// Transactions over a network. Everything that concerns one transaction is under the lock of its stripe; no two locks
/// are ever held at once, and none while a user is called.
pub struct Endpoint {
    began: Instant,
    network: Arc<dyn Network>,
    servers: Box<[Servers]>,
    clients: Box<[Clients]>,
    alarms: Box<[Alarms]>,
    next_alarm: AtomicUsize,
    /// Server transactions that still owe their final response.
    unanswered: AtomicUsize,
    metrics: Metrics,
}

/// Stripes of each table: enough that two workers seldom meet, few enough that a tick over all costs nothing.
const STRIPES: usize = 32;

impl Endpoint {
    /// An endpoint without transactions.
    pub fn new(
        network: Arc<dyn Network>,
        config: EndpointConfig,
        metrics: Metrics,
        now: Instant,
    ) -> Arc<Self> {
        let per_stripe = config.transactions_max.div_ceil(STRIPES);
        let stripes = || 0..STRIPES;
        Arc::new(Self {
            began: now,
            network,
            servers: stripes()
                .map(|_| ServerTransactions::new(now, config.timers, per_stripe))
                .map(|table| Stripe::new(table.due(), table))
                .collect(),
            clients: stripes()
                .map(|_| ClientTransactions::new(now, config.timers, per_stripe))
                .map(|table| Stripe::new(table.due(), table))
                .collect(),
            alarms: stripes().map(|_| Wheel::new(now)).map(|wheel| Stripe::new(wheel.due(), wheel)).collect(),
            next_alarm: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            metrics,
        })
    }

    /// The transports.
    pub fn network(&self) -> &Arc<dyn Network> {
        &self.network
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes what a transport framed.
    pub fn receive(
        self: &Arc<Self>,
        now: Instant,
        framed: Framed,
        source: &Flow,
        user: &impl TransactionUser,
    ) {
        match framed {
            Framed::Request(request) => self.receive_request(now, request, source, user),
            Framed::Response(response) => self.receive_response(now, response),
            Framed::Malformed(malformed) => self.receive_malformed(&malformed, source),
            Framed::Ping | Framed::Pong => {}
        }
    }

    fn receive_request(
        self: &Arc<Self>,
        now: Instant,
        request: Request,
        source: &Flow,
        user: &impl TransactionUser,
    ) {
        let stripe = stripe_of(&request) as usize % STRIPES;
        let reply_to = ReplyPath::of(&request, source);
        let matched =
            self.servers[stripe].lock().receive(now, &request, source.transport.is_reliable(), reply_to);
        match matched {
            ServerMatch::New(id) => {
                let transaction =
                    ServerTransaction::new(Arc::clone(self), stripe, id, request, *source, reply_to, now);
                user.on_request(SipRequest { transaction, now, identity: None });
            }
            ServerMatch::Retransmission(Some((path, bytes))) => self.send_response(&path, bytes),
            ServerMatch::Retransmission(None) | ServerMatch::AckAbsorbed => {}
            ServerMatch::Ack => user.on_ack(now, request, source),
            ServerMatch::Cancel { own, cancels } => {
                self.receive_cancel(now, request, source, reply_to, stripe, own, cancels);
            }
            ServerMatch::Full => {
                self.metrics.dropped("transactions_max");
                let (received, rport) = request.via().received_for(source.remote);
                let reply = ReplyBuilder::with_source(
                    &request,
                    StatusCode::SERVICE_UNAVAILABLE,
                    &new_tag(),
                    received,
                    rport,
                )
                .header(sip_message::HeaderName::RetryAfter, 10)
                .finish();
                self.send_response(&reply_to, reply.bytes);
            }
        }
    }

    /// RFC 3261 §9.2 and §16.10: a CANCEL is answered hop by hop; one that matches nothing is answered 481, since a
    /// stateful proxy that lost the transaction cannot cancel its branches either.
    #[allow(clippy::too_many_arguments)] // the parts of one received message
    fn receive_cancel(
        self: &Arc<Self>,
        now: Instant,
        cancel: Request,
        source: &Flow,
        reply_to: ReplyPath,
        stripe: usize,
        own: ServerId,
        cancels: Option<(ServerId, Option<Arc<dyn CancelUser>>)>,
    ) {
        let user = cancels.as_ref().and_then(|(_, user)| user.clone());
        let code = if cancels.is_some() { StatusCode::OK } else { StatusCode::CALL_DOES_NOT_EXIST };
        let transaction =
            ServerTransaction::new(Arc::clone(self), stripe, own, cancel, *source, reply_to, now);
        let request = transaction.request().clone();
        let reply = transaction.reply(code).finish();
        let _answered = transaction.finish(&reply);
        if let Some(user) = user {
            user.on_cancel(now, &request);
        }
    }

    fn receive_response(self: &Arc<Self>, now: Instant, response: Response) {
        let Some(Branch { id, .. }) = Branch::parse(response.via().branch()) else {
            self.metrics.dropped("stray_response");
            return;
        };
        let mut out = Vec::new();
        // RFC 6026 §7.3: a response that matches no transaction is not forwarded.
        if !self.client_stripe(id).lock().receive(now, id, &response, &mut out) {
            self.metrics.dropped("stray_response");
            return;
        }
        self.client_outputs(now, out, Some(response));
    }

    /// Answers a request that could not be read, if it can be answered: without a transaction, so that garbage costs
    /// no state; a retransmission gets the same answer again.
    fn receive_malformed(&self, malformed: &Malformed, source: &Flow) {
        self.metrics.dropped("malformed");
        tracing::debug!(peer = %source.remote, error = %malformed.error, "malformed message");
        let Some(request) = malformed.request.as_deref() else { return };
        let (received, rport) = request.via().received_for(source.remote);
        let reply = ReplyBuilder::with_source(request, malformed.error.code, &new_tag(), received, rport)
            .reason(&reason_phrase(malformed))
            .finish();
        self.metrics.response(request.method(), reply.code);
        self.send_response(&ReplyPath::of(request, source), reply.bytes);
    }

    /// A name for a new client transaction, to be written into the branch of the request before [`Endpoint::request`].
    pub fn new_client(&self) -> ClientId {
        ClientId(rand::rng().next_u64())
    }

    /// Sends a request and begins its client transaction. `user` is told of what comes back under `branch`.
    ///
    /// # Errors
    /// Nothing was sent, and `user` will not be told of it.
    #[allow(clippy::too_many_arguments)] // one request, one flow, one user
    pub fn request(
        &self,
        now: Instant,
        id: ClientId,
        is_invite: bool,
        bytes: Bytes,
        flow: &Flow,
        user: Arc<dyn ClientUser>,
        branch: u32,
    ) -> Result<(), Unsent> {
        let reliable = flow.transport.is_reliable();
        // Begun before it is sent: over loopback the response may come before `send` returns.
        let begun = self.client_stripe(id).lock().start(
            now,
            id,
            is_invite,
            bytes.clone(),
            reliable,
            *flow,
            (user, branch),
        );
        if !begun {
            return Err(Unsent::TooManyTransactions);
        }
        self.network.send(flow, bytes, Some(id)).map_err(|error| {
            self.client_stripe(id).lock().fail(now, id, &mut Vec::new());
            Unsent::Unreachable(error)
        })
    }

    /// Cancels an INVITE that was sent (§9.1); `reason` is the value of a Reason header field (RFC 3326).
    pub fn cancel(&self, now: Instant, id: ClientId, reason: Option<&str>) {
        let mut out = Vec::new();
        self.client_stripe(id).lock().cancel(now, id, reason, &mut out);
        // Only sends come of it: the transaction itself goes on.
        self.client_outputs(now, out, None);
    }

    /// Sends octets outside any transaction: an ACK for a 2xx.
    pub fn send(&self, flow: &Flow, bytes: Bytes, client: Option<ClientId>) {
        if let Err(error) = self.network.send(flow, bytes, client) {
            self.not_sent(flow, error);
        }
    }

    fn not_sent(&self, flow: &Flow, error: Unreachable) {
        self.metrics.dropped("unreachable");
        tracing::debug!(peer = %flow.remote, transport = %flow.transport, %error, "not sent");
    }

    /// The transport could not deliver what was sent for a client transaction (§17.1.4).
    pub fn unreachable(&self, now: Instant, id: ClientId) {
        let mut out = Vec::new();
        self.client_stripe(id).lock().fail(now, id, &mut out);
        self.client_outputs(now, out, None);
    }

    /// Wakes `user` at `due` with `token`, unless it is gone by then.
    pub fn schedule(&self, due: Instant, user: Weak<dyn TimerUser>, token: u64) {
        let stripe = self.next_alarm.fetch_add(1, Ordering::Relaxed) % STRIPES;
        self.alarms[stripe].lock().insert(due, (user, token));
    }

    /// Runs the timers of every `of`th stripe from `share` on: each worker has its share, and calls this every tick.
    pub fn tick(&self, now: Instant, share: usize, of: usize) {
        let mut replies = Vec::new();
        let mut requests = Vec::new();
        let mut alarms = Vec::new();
        let now_ms = now.saturating_duration_since(self.began).as_millis() as u64;
        for stripe in (share..STRIPES).step_by(of.max(1)) {
            if let Some(mut servers) = self.servers[stripe].if_due(now_ms) {
                servers.wake(now, &mut replies);
            }
            if let Some(mut clients) = self.clients[stripe].if_due(now_ms) {
                clients.wake(now, &mut requests);
            }
            if let Some(mut wheel) = self.alarms[stripe].if_due(now_ms) {
                wheel.advance(now, |alarm| alarms.push(alarm));
            }
        }
        for output in replies {
            match output {
                ServerOutput::Send(path, bytes) => self.send_response(&path, bytes),
                ServerOutput::NoAck(_) => self.metrics.no_ack(),
                ServerOutput::Terminated(_) => {}
            }
        }
        self.client_outputs(now, requests, None);
        for (user, token) in alarms {
            if let Some(user) = user.upgrade() {
                user.on_timer(now, token);
            }
        }
    }

    /// Live (server, client) transactions: for the metrics, read when scraped.
    pub fn transactions(&self) -> (usize, usize) {
        let servers = self.servers.iter().map(|s| s.lock().len()).sum();
        let clients = self.clients.iter().map(|c| c.lock().len()).sum();
        (servers, clients)
    }

    /// Server transactions whose user has not let go of them: what a drain waits for.
    pub fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::Relaxed)
    }

    pub(crate) fn count_unanswered(&self) -> &AtomicUsize {
        &self.unanswered
    }

    pub(crate) fn set_cancel_user(&self, stripe: usize, id: ServerId, user: Arc<dyn CancelUser>) {
        self.servers[stripe].lock().set_user(id, user);
    }

    pub(crate) fn respond(
        &self,
        now: Instant,
        stripe: usize,
        id: ServerId,
        request: &Request,
        to: &ReplyPath,
        reply: &Reply,
    ) {
        if self.servers[stripe].lock().respond(now, id, reply) {
            self.metrics.response(request.method(), reply.code);
            self.send_response(to, reply.bytes.clone());
        }
    }

    /// Ends a server transaction without a response.
    pub(crate) fn abandon(&self, now: Instant, stripe: usize, id: ServerId) {
        self.servers[stripe].lock().abandon(now, id);
    }

    /// Sends a response (RFC 3261 §18.2.2): if the connection of its request is closed, once more, on one to the sender's
    /// sent-by.
    fn send_response(&self, path: &ReplyPath, bytes: Bytes) {
        let Some(after_close) = path.after_close() else { return self.send(&path.flow, bytes, None) };
        match self.network.send(&path.flow, bytes.clone(), None) {
            Ok(()) => {}
            Err(Unreachable::Closed) => self.send(&after_close, bytes, None),
            Err(error) => self.not_sent(&path.flow, error),
        }
    }

    fn client_stripe(&self, id: ClientId) -> &Clients {
        &self.clients[id.0 as usize % STRIPES]
    }

    fn client_outputs(
        &self,
        now: Instant,
        outputs: Vec<ClientOutput<BranchOf, Flow>>,
        mut response: Option<Response>,
    ) {
        for output in outputs {
            match output {
                ClientOutput::Send(id, flow, bytes) => self.send(&flow, bytes, Some(id)),
                ClientOutput::Deliver((user, branch)) => {
                    // One response is delivered at most once.
                    if let Some(response) = response.take() {
                        user.on_response(now, branch, response);
                    }
                }
                ClientOutput::Timeout((user, branch)) => user.on_failure(now, branch, ClientFailure::Timeout),
                ClientOutput::Unreachable((user, branch)) => {
                    user.on_failure(now, branch, ClientFailure::Unreachable);
                }
            }
        }
    }
}

fn new_tag() -> String {
    Hex(rand::rng().next_u64()).to_string()
}

/// The code's phrase with what was wrong, as RFC 3261 §21.4.1 suggests.
fn reason_phrase(malformed: &Malformed) -> String {
    format!("{} - {}", malformed.error.code.reason(), malformed.error)
}
