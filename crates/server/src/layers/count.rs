//! Counts and traces every request: the outermost layer, so that what the others refuse is seen too.

use std::sync::Arc;
use std::task::{Context, Poll};

use sip_service::{Answered, DomainRequests, Domains, Metrics, SipRequest};
use tower_service::Service;

#[derive(Clone)]
pub(crate) struct Count<S> {
    inner: S,
    domains: Arc<Domains>,
    /// By `Domain::index`; the last is `other`.
    counters: Arc<[DomainRequests]>,
}

impl<S> Count<S> {
    pub(crate) fn new(inner: S, domains: Arc<Domains>, metrics: &Metrics) -> Self {
        let names = domains.iter().map(|d| &*d.name).chain(["other"]);
        let counters = names.map(|name| metrics.domain(name)).collect();
        Self { inner, domains, counters }
    }
}

impl<S: Service<SipRequest, Response = Answered>> Service<SipRequest> for Count<S> {
    type Response = Answered;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: SipRequest) -> S::Future {
        let message = request.message();
        let other = self.counters.len() - 1;
        let index = self.domains.of(&message.uri()).map_or(other, |domain| domain.index);
        self.counters[index].count(message.method(), request.source().transport);
        let span = tracing::debug_span!(
            "request",
            method = %message.method(),
            call_id = message.call_id(),
            cseq = message.cseq().number,
            transport = request.source().transport.token(),
            peer = %request.source().remote,
        );
        let _entered = span.enter();
        tracing::trace!(text = %String::from_utf8_lossy(&redacted(message.bytes())), "received");
        self.inner.call(request)
    }
}

/// The message without credentials: their lines keep the header field name only.
fn redacted(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len());
    let mut hidden = false;
    for line in message.split_inclusive(|b| *b == b'\n') {
        let folded = line.first().is_some_and(|b| *b == b' ' || *b == b'\t');
        let credentials = [&b"authorization:"[..], b"proxy-authorization:"]
            .iter()
            .any(|name| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
        if credentials {
            let name = line.iter().position(|b| *b == b':').map_or(line, |colon| &line[..=colon]);
            out.extend_from_slice(name);
            out.extend_from_slice(b" (redacted)\r\n");
        } else if !(hidden && folded) {
            out.extend_from_slice(line);
        }
        hidden = credentials || (hidden && folded);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn credentials_are_not_logged_even_when_folded() {
        let text = b"REGISTER sip:a SIP/2.0\r\nauthorization: Digest x,\r\n response=\"secret\"\r\nTo: <sip:a@b>\r\n\r\n";
        let shown = String::from_utf8(super::redacted(text)).expect("text");
        assert!(
            !shown.contains("secret")
                && shown.contains("authorization: (redacted)")
                && shown.contains("To: "),
            "{shown}"
        );
    }
}
