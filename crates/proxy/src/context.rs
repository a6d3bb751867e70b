//! A response context in its place: the core, the server transaction and the branches under one lock (RFC 3261 §16.2).
//!
//! Events run where they happen, on the thread that received the message or ran the timer. The lock of the context is taken
//! before those of the endpoint's stripes; the endpoint never calls in while it is held.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use sip_message::{Edit, HeaderName, Method, Reply, Request, Response, StatusCode};
use sip_service::{
    CancelUser, ClientFailure, ClientUser, LocateError, ServerTransaction, Target, TimerUser, Unsent,
};
use sip_transaction::{Branch, ClientId};
use smallvec::SmallVec;

use crate::core::{CancelReason, Core, Input, Output, Outputs};
use crate::forward::Copy;
use crate::incoming::Incoming;
use crate::service::Shared;

/// One forwarded request.
pub(crate) struct Context {
    shared: Arc<Shared>,
    incoming: Incoming,
    targets: Vec<Target>,
    state: Mutex<State>,
}

struct State {
    core: Core,
    /// Until nothing more can be sent upstream.
    transaction: Option<ServerTransaction>,
    branches: SmallVec<[BranchState; 2]>,
    /// The Reason of the caller's CANCEL, to be passed on.
    cancel_reason: Option<Box<str>>,
    /// The time for which a timer was set last.
    scheduled: Option<Instant>,
}

struct BranchState {
    /// `None`: it was never sent.
    id: Option<ClientId>,
    /// Whether it was sent on a flow of the binding.
    is_flow: bool,
    /// Its final response, while it may be the best. Boxed: few branches have one, and a context lives for half a minute.
    response: Option<Box<Response>>,
}

impl Context {
    pub(crate) fn new(
        shared: Arc<Shared>,
        incoming: Incoming,
        targets: Vec<Target>,
        core: Core,
    ) -> Arc<Self> {
        shared.metrics.contexts.inc();
        let state = State {
            core,
            transaction: None,
            branches: SmallVec::new(),
            cancel_reason: None,
            scheduled: None,
        };
        Arc::new(Self { shared, incoming, targets, state: Mutex::new(state) })
    }

    /// Takes the server transaction over and forwards to the first targets.
    pub(crate) fn start(self: &Arc<Self>, now: Instant, transaction: ServerTransaction) {
        let mut state = self.state.lock();
        state.transaction = Some(transaction);
        let outputs = state.core.start(now);
        self.perform(now, &mut state, outputs, None);
    }

    fn handle(self: &Arc<Self>, now: Instant, input: Input, response: Option<&Response>) {
        let mut state = self.state.lock();
        let outputs = state.core.handle(now, input);
        self.perform(now, &mut state, outputs, response);
    }

    /// Carries outputs out, in order; what cannot be sent is told to the core, whose outputs follow.
    fn perform(
        self: &Arc<Self>,
        now: Instant,
        state: &mut State,
        outputs: Outputs,
        response: Option<&Response>,
    ) {
        let mut queue: VecDeque<Output> = outputs.into_iter().collect();
        while let Some(output) = queue.pop_front() {
            match output {
                Output::Trying => state.answer_provisionally(now),
                Output::Forward { branch, candidate, max_breadth } => {
                    if let Err(code) = self.forward(now, state, branch, candidate, max_breadth) {
                        queue.extend(state.core.handle(now, Input::Failure { branch, code }));
                    }
                }
                Output::Relay => state.relay(now, response),
                Output::Final { branch, challenges } => state.relay_final(now, branch, &challenges),
                Output::Answer(code) => state.answer(now, code),
                Output::Abandon => {
                    if let Some(transaction) = state.transaction.take() {
                        let _abandoned = transaction.abandon();
                    }
                }
                Output::CancelBranch { branch, reason } => self.cancel_branch(now, state, branch, reason),
                Output::Done => {
                    // The last hold on the server transaction: nothing more can go upstream.
                    state.transaction = None;
                    state.branches.iter_mut().for_each(|b| b.response = None);
                }
            }
        }
        self.schedule(state);
    }

    /// §16.6 steps 7 to 10.
    fn forward(
        self: &Arc<Self>,
        now: Instant,
        state: &mut State,
        branch: u32,
        candidate: usize,
        max_breadth: u32,
    ) -> Result<(), StatusCode> {
        debug_assert_eq!(branch as usize, state.branches.len(), "branches are numbered in order");
        state.branches.push(BranchState { id: None, is_flow: false, response: None });
        let (Some(transaction), Some(target)) = (&state.transaction, self.targets.get(candidate)) else {
            return Err(StatusCode::SERVER_INTERNAL_ERROR);
        };
        let Shared { endpoint, domains, secret, config, metrics, .. } = &*self.shared;
        let request = transaction.request();
        let copy = Copy {
            request,
            incoming: &self.incoming,
            source: transaction.source(),
            via_source: transaction.via_source(),
            domains,
            secret,
            network: &**endpoint.network(),
            record_route: config.record_route,
        };
        // RFC 5626 §7: a binding whose flow is gone, and whose URI leads nowhere (that of a phone behind a WebSocket or a
        // NAT), is a flow that failed, be it found now or when sending.
        let has_flow = target.flow.is_some();
        let unlocated = |error| if has_flow { StatusCode::FLOW_FAILED } else { unlocated(&error) };
        let hop = copy.locate(target).map_err(unlocated)?;
        let id = endpoint.new_client();
        let bytes = copy.write(target, &hop, Branch { id, loop_hash: self.incoming.loop_hash }, max_breadth);
        let method = request.method();
        let is_invite = method == Method::Invite;
        let is_flow = target.flow == Some(hop.flow);
        let user: Arc<dyn ClientUser> = Arc::<Self>::clone(self);
        endpoint.request(now, id, is_invite, bytes, &hop.flow, user, branch).map_err(
            |error| match error {
                Unsent::Unreachable(_) if is_flow => StatusCode::FLOW_FAILED,
                Unsent::Unreachable(_) | Unsent::TooManyTransactions => StatusCode::SERVICE_UNAVAILABLE,
            },
        )?;
        metrics.forwarded(method);
        if let Some(b) = state.branches.last_mut() {
            b.id = Some(id);
            b.is_flow = is_flow;
        }
        Ok(())
    }

    fn cancel_branch(&self, now: Instant, state: &State, branch: u32, reason: CancelReason) {
        let Some(id) = state.branches.get(branch as usize).and_then(|b| b.id) else { return };
        // RFC 3326 §3.1: the reason tells a phone whether to show a missed call.
        let text = match reason {
            CancelReason::CompletedElsewhere => {
                Some("SIP;cause=200;text=\"Call completed elsewhere\"".into())
            }
            CancelReason::Declined(code) => Some(format!("SIP;cause={code};text=\"{}\"", code.reason())),
            CancelReason::Upstream => state.cancel_reason.as_deref().map(str::to_owned),
            CancelReason::TimerC => Some("SIP;cause=408;text=\"Request Timeout\"".into()),
        };
        self.shared.endpoint.cancel(now, id, text.as_deref());
    }

    fn schedule(self: &Arc<Self>, state: &mut State) {
        let Some(deadline) = state.core.deadline() else { return };
        if state.scheduled.is_none_or(|scheduled| deadline < scheduled) {
            state.scheduled = Some(deadline);
            let user: Weak<dyn TimerUser> = Arc::<Self>::downgrade(self);
            self.shared.endpoint.schedule(deadline, user, 0);
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.shared.metrics.contexts.dec();
    }
}

/// What a next hop that cannot be found counts as.
fn unlocated(error: &LocateError) -> StatusCode {
    match error {
        LocateError::Scheme => StatusCode::UNSUPPORTED_URI_SCHEME,
        LocateError::Unresolved { .. } => StatusCode::BAD_GATEWAY,
        LocateError::Transport => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl State {
    fn answer_provisionally(&self, now: Instant) {
        if let Some(transaction) = &self.transaction {
            transaction.provisional(now, &transaction.reply(StatusCode::TRYING).finish());
        }
    }

    fn answer(&self, now: Instant, code: StatusCode) {
        if let Some(transaction) = &self.transaction {
            transaction.respond(now, &transaction.reply(code).finish());
        }
    }

    /// §16.7 step 9: as it came, without our Via.
    fn relay(&self, now: Instant, response: Option<&Response>) {
        let (Some(transaction), Some(response)) = (&self.transaction, response) else { return };
        let bytes = Edit::new(response).pop(HeaderName::Via).finish();
        let reply = Reply { code: response.status(), bytes };
        if reply.code.is_final() {
            transaction.respond(now, &reply);
        } else {
            transaction.provisional(now, &reply);
        }
    }

    /// §16.7 steps 6 to 9: the best response, with the challenges of the others.
    fn relay_final(&self, now: Instant, branch: u32, challenges: &[u32]) {
        let response_of =
            |branch: u32| self.branches.get(branch as usize).and_then(|b| b.response.as_deref());
        let (Some(transaction), Some(best)) = (&self.transaction, response_of(branch)) else { return };
        let mut edit = Edit::new(best);
        edit.pop(HeaderName::Via);
        for other in challenges.iter().filter_map(|branch| response_of(*branch)) {
            for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
                for challenge in other.lines(name).filter_map(|line| std::str::from_utf8(line).ok()) {
                    edit.append(name, format_args!("{challenge}"));
                }
            }
        }
        transaction.respond(now, &Reply { code: best.status(), bytes: edit.finish() });
    }
}

impl ClientUser for Context {
    fn on_response(self: Arc<Self>, now: Instant, branch: u32, response: Response) {
        let code = response.status();
        // §16.7 step 3: with our Via alone it is for us, and nothing can be sent on.
        if response.values(HeaderName::Via).nth(1).is_none() {
            if code.is_final() {
                self.handle(now, Input::Failure { branch, code: StatusCode::BAD_GATEWAY }, None);
            }
            return;
        }
        if code.is_final() && !code.is_success() {
            let mut state = self.state.lock();
            if let Some(b) = state.branches.get_mut(branch as usize) {
                b.response = Some(Box::new(response));
            }
            let outputs = state.core.handle(now, Input::Response { branch, code });
            self.perform(now, &mut state, outputs, None);
        } else {
            self.handle(now, Input::Response { branch, code }, Some(&response));
        }
    }

    fn on_failure(self: Arc<Self>, now: Instant, branch: u32, failure: ClientFailure) {
        let is_flow = self.state.lock().branches.get(branch as usize).is_some_and(|b| b.is_flow);
        let code = match failure {
            ClientFailure::Timeout => StatusCode::REQUEST_TIMEOUT,
            // RFC 5626 §7.
            ClientFailure::Unreachable if is_flow => StatusCode::FLOW_FAILED,
            ClientFailure::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
        };
        self.handle(now, Input::Failure { branch, code }, None);
    }
}

impl CancelUser for Context {
    fn on_cancel(self: Arc<Self>, now: Instant, cancel: &Request) {
        self.state.lock().cancel_reason = cancel.text(HeaderName::Reason).map(Into::into);
        self.handle(now, Input::Cancel, None);
    }
}

impl TimerUser for Context {
    fn on_timer(self: Arc<Self>, now: Instant, _: u64) {
        self.state.lock().scheduled = None;
        self.handle(now, Input::Wake, None);
    }
}
