//! The proxy as a tower service.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use sip_auth::NodeSecret;
use sip_message::{Aor, Method, Request};
use sip_service::{Answered, Domains, Endpoint, Flow, SipRequest, Target, TargetSet};
use tower_service::Service;

use crate::context::Context;
use crate::core::{Candidate, Core, Limits};
use crate::incoming::Incoming;
use crate::targets::targets;
use crate::{Config, Error, Metrics, ack};

/// Forwards requests. `L` is the location service.
#[derive(Clone)]
pub struct Proxy<L> {
    shared: Arc<Shared>,
    locations: L,
}

/// What every response context needs.
pub(crate) struct Shared {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) config: Arc<Config>,
    pub(crate) domains: Arc<Domains>,
    pub(crate) secret: Arc<NodeSecret>,
    pub(crate) metrics: Metrics,
}

impl<L> Proxy<L>
where
    L: Service<Aor, Response = TargetSet, Error = Infallible, Future = Ready<Result<TargetSet, Infallible>>>
        + Clone,
{
    /// A proxy for one configuration; contexts that are under way keep the one that they began with.
    pub fn new(
        endpoint: Arc<Endpoint>,
        config: Arc<Config>,
        domains: Arc<Domains>,
        secret: Arc<NodeSecret>,
        locations: L,
        metrics: Metrics,
    ) -> Self {
        Self { shared: Arc::new(Shared { endpoint, config, domains, secret, metrics }), locations }
    }

    /// An ACK for a 2xx, or a stray one: forwarded once along its route, never answered (RFC 3261 §16.11, §13.2.2.4).
    pub fn ack(&self, now: Instant, ack: &Request, source: &Flow) {
        if let Err(error) = ack::forward(&self.shared, &mut self.locations.clone(), ack, source) {
            tracing::debug!(%error, call_id = ack.call_id(), ?now, "ACK not forwarded");
            self.shared.endpoint.metrics().dropped("stray_ack");
        }
    }

    fn forward(&mut self, request: SipRequest) -> Result<Answered, Error> {
        let Shared { config, domains, secret, .. } = &*self.shared;
        let message = request.message();
        let incoming = Incoming::read(message, config, domains, secret)?;
        let targets = targets(&incoming, request.identity.is_some(), domains, &mut self.locations)?;
        let limits = Limits {
            timer_c: Duration::from_secs(config.timer_c_seconds.into()),
            max_breadth: incoming.max_breadth,
            branches_max: config.branches_max.max(1),
        };
        let core = Core::new(message.method() == Method::Invite, limits, candidates(&targets));
        let context = Context::new(Arc::clone(&self.shared), incoming, targets, core);
        let SipRequest { transaction, now, .. } = request;
        let cancel_user = Arc::clone(&context);
        Ok(transaction.hand_over(cancel_user, |transaction| context.start(now, transaction)))
    }
}

/// The targets as far as their turn is concerned: bindings of one instance have one number (RFC 5626).
fn candidates(targets: &[Target]) -> Vec<Candidate> {
    let mut instances: Vec<&str> = Vec::new();
    let mut number = |instance| {
        let found = instances.iter().position(|known| *known == instance);
        let index = found.unwrap_or(instances.len());
        if found.is_none() {
            instances.push(instance);
        }
        index as u32
    };
    targets
        .iter()
        .map(|t| Candidate { q_milli: t.q_milli, instance: t.instance.as_deref().map(&mut number) })
        .collect()
}

impl<L> Service<SipRequest> for Proxy<L>
where
    L: Service<Aor, Response = TargetSet, Error = Infallible, Future = Ready<Result<TargetSet, Infallible>>>
        + Clone,
{
    type Response = Answered;
    type Error = Error;
    type Future = Ready<Result<Answered, Error>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(())) // admission is decided in `call`
    }

    fn call(&mut self, request: SipRequest) -> Self::Future {
        ready(self.forward(request))
    }
}
