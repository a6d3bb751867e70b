//! Counters of requests, responses and drops. Handles are resolved once: counting costs an atomic add.

use std::sync::{Arc, OnceLock};

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use sip_message::{Method, StatusCode, Transport};

/// `rollcall_requests_total{method,transport,domain}`: requests given to the stack; `domain` is one of ours or `other`.
pub const REQUESTS: &str = "rollcall_requests_total";
/// `rollcall_responses_total{method,code}`: responses sent; a code that we do not know is its class (`4xx`).
pub const RESPONSES: &str = "rollcall_responses_total";
/// `rollcall_dropped_total{reason}`: messages that went no further.
pub const DROPPED: &str = "rollcall_dropped_total";

const METHODS: [&str; 15] = [
    "ACK",
    "BYE",
    "CANCEL",
    "INFO",
    "INVITE",
    "MESSAGE",
    "NOTIFY",
    "OPTIONS",
    "PRACK",
    "PUBLISH",
    "REFER",
    "REGISTER",
    "SUBSCRIBE",
    "UPDATE",
    "other",
];
const TRANSPORTS: [Transport; 5] =
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];
const CODES: usize = 700;

/// The counters of the transaction layer.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    requests: IntCounterVec,
    responses: IntCounterVec,
    dropped: IntCounterVec,
    unanswered: IntCounter,
    no_ack: IntCounter,
    /// By method and code, resolved at first use.
    response: Box<[OnceLock<IntCounter>]>,
}

/// The counters of requests for one domain, resolved: `[method][transport]`.
#[derive(Clone, Debug)]
pub struct DomainRequests {
    counters: Arc<[IntCounter]>,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If one of them is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new(REQUESTS, "Requests received, retransmissions not counted."),
            &["method", "transport", "domain"],
        )?;
        let responses = IntCounterVec::new(
            Opts::new(RESPONSES, "Responses sent, retransmissions not counted."),
            &["method", "code"],
        )?;
        let dropped =
            IntCounterVec::new(Opts::new(DROPPED, "Messages that went no further, by reason."), &["reason"])?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(responses.clone()))?;
        registry.register(Box::new(dropped.clone()))?;
        let unanswered = dropped.with_label_values(&["unanswered"]);
        let no_ack = dropped.with_label_values(&["no_ack"]);
        let response = (0..METHODS.len() * CODES).map(|_| OnceLock::new()).collect();
        Ok(Self { inner: Arc::new(Inner { requests, responses, dropped, unanswered, no_ack, response }) })
    }

    /// The request counters of a domain (`other` for requests that are for none of ours).
    pub fn domain(&self, domain: &str) -> DomainRequests {
        let counters = METHODS
            .iter()
            .flat_map(|method| TRANSPORTS.iter().map(move |transport| (method, transport)))
            .map(|(method, transport)| {
                self.inner.requests.with_label_values(&[method, transport.token(), domain])
            })
            .collect();
        DomainRequests { counters }
    }

    /// Counts a response that was sent.
    pub fn response(&self, method: Method<'_>, code: StatusCode) {
        let index = method_index(method) * CODES + usize::from(code.as_u16());
        let Some(cell) = self.inner.response.get(index) else { return };
        cell.get_or_init(|| {
            let class = format!("{}xx", code.class());
            let number = code.to_string();
            let label = if code.reason().is_empty() { &class } else { &number };
            self.inner.responses.with_label_values(&[method.label(), label.as_str()])
        })
        .inc();
    }

    /// Counts a message that went no further. `reason` comes from a small closed set.
    pub fn dropped(&self, reason: &'static str) {
        self.inner.dropped.with_label_values(&[reason]).inc();
    }

    pub(crate) fn unanswered(&self) {
        self.inner.unanswered.inc();
    }

    pub(crate) fn no_ack(&self) {
        self.inner.no_ack.inc();
    }
}

impl DomainRequests {
    /// Counts a request.
    pub fn count(&self, method: Method<'_>, transport: Transport) {
        let transport = TRANSPORTS.iter().position(|t| *t == transport).unwrap_or(0);
        if let Some(counter) = self.counters.get(method_index(method) * TRANSPORTS.len() + transport) {
            counter.inc();
        }
    }
}

fn method_index(method: Method<'_>) -> usize {
    METHODS.iter().position(|m| *m == method.label()).unwrap_or(METHODS.len() - 1)
}
