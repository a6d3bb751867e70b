//! The stack of one configuration.

use std::future::Ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use presence::{Publish, Subscribe};
use proxy::Proxy;
use registrar::{Locations, Registrar};
use sip_auth::Auth;
use sip_message::Request;
use sip_service::{Domains, Flow, Gated, SipRequest, TransactionUser};
use tower_service::Service;

use crate::config::Config;
use crate::layers::{Admission, Count, Gate, RescueErrors, SourceLimiter};
use crate::local::Local;
use crate::state::State;
use crate::steer::{Destination, Steer, destination};

/// From the outside inwards. Every layer is static: six cost a few nanoseconds.
type Layers = Count<RescueErrors<Admission<BeforeAuth<Auth<Steer>>>>>;

/// One configuration's layers and services over the state that outlives it.
#[derive(Clone)]
pub(crate) struct Stack {
    layers: Layers,
    proxy: Proxy<Locations>,
}

impl Stack {
    /// Builds the stack of a validated configuration.
    pub(crate) fn build(
        config: &Config,
        domains: &Arc<Domains>,
        state: &State,
        draining: &Arc<AtomicBool>,
    ) -> Self {
        let locations = Locations::new(Arc::clone(&state.bindings), state.users() as _);
        let proxy = Proxy::new(
            Arc::clone(&state.endpoint),
            Arc::new(config.proxy),
            Arc::clone(domains),
            Arc::clone(&state.secret),
            locations,
            state.proxy_metrics.clone(),
        );
        let registrar = Registrar::new(
            Arc::clone(&state.bindings),
            Arc::new(config.registrar.clone()),
            Arc::clone(domains),
            state.users() as _,
        );
        let local = Local::new(Arc::clone(&state.presence));
        let steer = Steer {
            domains: Arc::clone(domains),
            registrations: Arc::clone(&state.bindings) as _,
            registrar,
            publish: Publish::new(Arc::clone(&state.presence)),
            subscribe: Subscribe::new(Arc::clone(&state.presence)),
            proxy: proxy.clone(),
            local: local.clone(),
        };
        // Authentication stands right above steering: what is below it may trust `identity`. It comes after admission, so
        // that a flood costs no hash.
        let auth = Auth::new(steer, auth_policy(config, domains, state));
        // OPTIONS to the server itself asks for no credentials: it is how others see that it lives.
        let before_auth = BeforeAuth { inner: auth, local, domains: Arc::clone(domains) };
        // Admission comes before all that costs anything.
        let gate = Gate {
            blocked: config.limits.blocked_sources.clone(),
            unlimited: config.auth.trusted_peers.clone(),
            limiter: SourceLimiter::new(
                config.limits.requests_per_source_per_second,
                config.limits.sources_tracked_max,
            ),
            draining: Arc::clone(draining),
            metrics: state.endpoint.metrics().clone(),
        };
        let admission = Admission::new(before_auth, Arc::new(gate));
        // Errors of everything below become responses here, and only here.
        let rescue = RescueErrors::new(admission);
        // Counting is outermost: it sees what the others refuse.
        let layers = Count::new(rescue, Arc::clone(domains), state.endpoint.metrics());
        Self { layers, proxy }
    }
}

fn auth_policy(config: &Config, domains: &Arc<Domains>, state: &State) -> Arc<sip_auth::Policy> {
    let algorithms = config.domain.iter().map(|d| d.algorithms.clone()).collect();
    Arc::new(sip_auth::Policy::new(
        config.auth.clone(),
        algorithms,
        Arc::clone(domains),
        state.users(),
        Arc::clone(&state.secret),
        |request, domains| {
            matches!(
                destination(request, domains),
                Destination::Registrar | Destination::Publish | Destination::Subscribe | Destination::Local
            )
        },
        Arc::clone(&state.nonces),
    ))
}

/// Answers OPTIONS for the server itself outside authentication.
#[derive(Clone)]
pub(crate) struct BeforeAuth<S> {
    inner: S,
    local: Local,
    domains: Arc<Domains>,
}

impl<S> Service<SipRequest> for BeforeAuth<S>
where
    S: Service<SipRequest, Response = sip_service::Answered, Error = crate::Error>,
    S::Future: Unpin,
{
    type Response = sip_service::Answered;
    type Error = crate::Error;
    type Future = Gated<S::Future, Ready<Result<sip_service::Answered, crate::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), crate::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: SipRequest) -> Self::Future {
        let message = request.message();
        let local = message.method() == sip_message::Method::Options
            && destination(message, &self.domains) == Destination::Local;
        if local { Gated::Now(self.local.call(request)) } else { Gated::Inner(self.inner.call(request)) }
    }
}

/// A worker's own copy of the stack: called on its thread only, so the lock is never waited for but when a reload puts
/// another stack in.
pub(crate) struct WorkerStack {
    stack: Mutex<Stack>,
}

impl WorkerStack {
    pub(crate) fn new(stack: Stack) -> Self {
        Self { stack: Mutex::new(stack) }
    }

    pub(crate) fn replace(&self, stack: Stack) {
        *self.stack.lock() = stack;
    }
}

impl TransactionUser for WorkerStack {
    fn on_request(&self, request: SipRequest) {
        let mut future = self.stack.lock().layers.call(request);
        // Polled in place: nearly every answer is there at once. Only a future that must wait becomes a task.
        let mut cx = Context::from_waker(Waker::noop());
        if Pin::new(&mut future).poll(&mut cx).is_pending() {
            tokio::spawn(future);
        }
    }

    fn on_ack(&self, now: Instant, ack: Request, source: &Flow) {
        let proxy = self.stack.lock().proxy.clone();
        proxy.ack(now, &ack, source);
    }
}
