//! What is decided before anything is spent on a request: blocked sources, the rate of a source, draining.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use ipnet::IpNet;
use sip_service::{Answered, Gated, Metrics, SipRequest};
use tower_service::Service;

use super::SourceLimiter;

/// Why a request was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The source sends more than `requests_per_source_per_second` (503 with Retry-After).
    #[error("too many requests from this source")]
    TooManyRequests,
    /// The server is stopping: no new dialogs, registrations or publications (503 with Retry-After).
    #[error("the server is stopping")]
    Draining,
}

#[derive(Clone)]
pub(crate) struct Admission<S> {
    inner: S,
    gate: Arc<Gate>,
}

pub(crate) struct Gate {
    pub(crate) blocked: Vec<IpNet>,
    pub(crate) unlimited: Vec<IpNet>,
    pub(crate) limiter: SourceLimiter,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) metrics: Metrics,
}

impl<S> Admission<S> {
    pub(crate) fn new(inner: S, gate: Arc<Gate>) -> Self {
        Self { inner, gate }
    }
}

enum Verdict {
    Admitted,
    Dropped,
    Refused(AdmissionError),
}

impl Gate {
    fn judge(&self, request: &SipRequest) -> Verdict {
        let source = request.source().remote.ip();
        if self.blocked.iter().any(|net| net.contains(&source)) {
            self.metrics.dropped("blocked_source");
            return Verdict::Dropped;
        }
        let unlimited = self.unlimited.iter().any(|net| net.contains(&source));
        if !unlimited && !self.limiter.admit(request.now, source) {
            self.metrics.dropped("requests_per_source");
            return Verdict::Refused(AdmissionError::TooManyRequests);
        }
        // Requests within a dialog are let through to the end: they finish what is under way.
        if self.draining.load(Ordering::Relaxed) && request.message().to().tag().is_none() {
            return Verdict::Refused(AdmissionError::Draining);
        }
        Verdict::Admitted
    }
}

impl<S> Service<SipRequest> for Admission<S>
where
    S: Service<SipRequest, Response = Answered>,
    S::Error: From<AdmissionError> + Unpin,
    S::Future: Unpin,
{
    type Response = Answered;
    type Error = S::Error;
    type Future = Gated<S::Future, Ready<Result<Answered, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: SipRequest) -> Self::Future {
        match self.gate.judge(&request) {
            Verdict::Admitted => Gated::Inner(self.inner.call(request)),
            Verdict::Dropped => Gated::Now(ready(Ok(request.transaction.abandon()))),
            Verdict::Refused(error) => Gated::Now(ready(Err(error.into()))),
        }
    }
}
