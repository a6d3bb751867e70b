//! Authentication as a tower service around another.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use sip_service::{Answered, Gated, SipRequest};
use tower_service::Service;

use crate::{Error, Policy};

/// Sets the identity of each request, or refuses it.
#[derive(Clone, Debug)]
pub struct Auth<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S> Auth<S> {
    /// Wraps `inner`, which may trust [`SipRequest::identity`].
    pub fn new(inner: S, policy: Arc<Policy>) -> Self {
        Self { inner, policy }
    }
}

impl<S> Service<SipRequest> for Auth<S>
where
    S: Service<SipRequest, Response = Answered>,
    S::Error: From<Error> + Unpin,
    S::Future: Unpin,
{
    type Response = Answered;
    type Error = S::Error;
    type Future = Gated<S::Future, Ready<Result<Answered, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: SipRequest) -> Self::Future {
        match self.policy.identify(&request) {
            Ok(identity) => {
                request.identity = identity;
                Gated::Inner(self.inner.call(request))
            }
            Err(error) => Gated::Now(ready(Err(error.into()))),
        }
    }
}
