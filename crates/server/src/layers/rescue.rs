//! Turns the error of a service into the response that the server transaction still owes.

use std::pin::Pin;
use std::task::{Context, Poll};

use sip_service::{Answered, Rescue, SipRequest};
use tower_service::Service;

use crate::Error;
use crate::rescue::rescue;

#[derive(Clone)]
pub(crate) struct RescueErrors<S> {
    inner: S,
}

impl<S> RescueErrors<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<SipRequest> for RescueErrors<S>
where
    S: Service<SipRequest, Response = Answered, Error = Error>,
    S::Future: Unpin,
{
    type Response = Answered;
    type Error = std::convert::Infallible;
    type Future = Rescued<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(())) // admission is decided in `call`: UDP knows no back-pressure
    }

    fn call(&mut self, request: SipRequest) -> Self::Future {
        let hold = Some(request.transaction.rescue());
        Rescued { future: self.inner.call(request), hold }
    }
}

pub(crate) struct Rescued<F> {
    future: F,
    hold: Option<Rescue>,
}

impl<F: Future<Output = Result<Answered, Error>> + Unpin> Future for Rescued<F> {
    type Output = Result<Answered, std::convert::Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Poll::Ready(result) = Pin::new(&mut this.future).poll(cx) else { return Poll::Pending };
        let hold = this.hold.take().expect("a future is not polled again once it is ready");
        Poll::Ready(Ok(result.unwrap_or_else(|error| {
            let reply = rescue(&error, &hold);
            tracing::debug!(code = reply.code.as_u16(), %error, "refused");
            hold.finish(&reply)
        })))
    }
}
