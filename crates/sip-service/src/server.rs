//! Requests and the server transactions that answer them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rand::Rng;
use sip_message::{Aor, Hex, Reply, ReplyBuilder, Request, StatusCode, Transport};
use sip_transaction::ServerId;

use crate::{Connection, Endpoint, Flow};

/// Who sent a request, as far as it was proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A user of ours, by digest.
    User(Aor),
    /// A peer that the configuration trusts: it may speak for anyone.
    TrustedPeer,
    /// Nobody was asked: authentication is off.
    Anyone,
}

/// One request on its way through the stack, with the server transaction that answers it.
#[derive(Debug)]
pub struct SipRequest {
    /// Answers it.
    pub transaction: ServerTransaction,
    /// When it was received: the time of all decisions about it.
    pub now: Instant,
    /// Set by authentication; `None` before it, and for requests from elsewhere that need none.
    pub identity: Option<Identity>,
}

impl SipRequest {
    /// The request.
    pub fn message(&self) -> &Request {
        &self.transaction.inner.request
    }

    /// How it came.
    pub fn source(&self) -> &Flow {
        &self.transaction.inner.source
    }
}

/// Sends any number of 1xx, then a final response; a forked INVITE may add further 2xx (RFC 3261 §16.7 step 5). Dropped
/// unfinished, it answers 500 and counts it.
pub struct ServerTransaction {
    inner: Arc<Inner>,
}

/// A second hold on a server transaction, for the layer that turns an error into a response. While it lives, a dropped
/// transaction is not yet answered 500.
pub struct Rescue {
    inner: Arc<Inner>,
}

/// Proof that a request was answered, or that a response context has taken over the transaction that will answer it:
/// only `ServerTransaction` makes one.
#[must_use]
#[derive(Debug)]
pub struct Answered(());

/// Whoever wants to know that a request was cancelled (RFC 3261 §9.2, §16.10).
pub trait CancelUser: Send + Sync + 'static {
    /// A CANCEL came, and was answered 200.
    fn on_cancel(self: Arc<Self>, now: Instant, cancel: &Request);
}

struct Inner {
    endpoint: Arc<Endpoint>,
    stripe: usize,
    id: ServerId,
    request: Request,
    source: Flow,
    reply_to: ReplyPath,
    received: Option<IpAddr>,
    rport: Option<u16>,
    to_tag: u64,
    began: Instant,
    is_final: AtomicBool,
}

impl ServerTransaction {
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        stripe: usize,
        id: ServerId,
        request: Request,
        source: Flow,
        reply_to: ReplyPath,
        now: Instant,
    ) -> Self {
        let (received, rport) = request.via().received_for(source.remote);
        let to_tag = rand::rng().next_u64();
        endpoint.count_unanswered().fetch_add(1, Ordering::Relaxed);
        let inner = Inner {
            endpoint,
            stripe,
            id,
            request,
            source,
            reply_to,
            received,
            rport,
            to_tag,
            began: now,
            is_final: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The request.
    pub fn request(&self) -> &Request {
        &self.inner.request
    }

    /// How it came.
    pub fn source(&self) -> &Flow {
        &self.inner.source
    }

    /// What our copy of the top Via must carry (RFC 3261 §18.2.1, RFC 3581 §4): `received` and `rport`.
    pub fn via_source(&self) -> (Option<IpAddr>, Option<u16>) {
        (self.inner.received, self.inner.rport)
    }

    /// The tag of our responses to this request (§19.3); the same in all of them.
    pub fn to_tag(&self) -> String {
        Hex(self.inner.to_tag).to_string()
    }

    /// Begins a response.
    pub fn reply(&self, code: StatusCode) -> ReplyBuilder {
        self.inner.reply(code)
    }

    /// Sends a provisional response.
    pub fn provisional(&self, now: Instant, reply: &Reply) {
        debug_assert!(reply.code.is_provisional(), "a final response goes through `finish`");
        self.inner.send(now, reply);
    }

    /// Sends the final response.
    pub fn finish(self, reply: &Reply) -> Answered {
        self.respond(self.inner.began, reply);
        Answered(())
    }

    /// Sends a final response later than the request came; a 2xx to an INVITE may follow another 2xx.
    pub fn respond(&self, now: Instant, reply: &Reply) {
        if reply.code.is_final() {
            self.inner.conclude();
        }
        self.inner.send(now, reply);
    }

    /// Gives the transaction to a response context that will finish it, and tells the table whom a CANCEL concerns. The
    /// caller keeps the transaction (`self` is handed to `keep`).
    pub fn hand_over(self, user: Arc<dyn CancelUser>, keep: impl FnOnce(ServerTransaction)) -> Answered {
        self.inner.endpoint.set_cancel_user(self.inner.stripe, self.inner.id, user);
        keep(self);
        Answered(())
    }

    /// Ends the transaction without a response: RFC 4320 §4.2 forbids a 408 to a non-INVITE request, and who is blocked
    /// is not answered. For 64*T1 from when the request came its retransmissions are absorbed.
    pub fn abandon(self) -> Answered {
        self.inner.conclude();
        self.inner.endpoint.abandon(self.inner.began, self.inner.stripe, self.inner.id);
        Answered(())
    }

    /// A second hold, for the layer that turns errors into responses.
    pub fn rescue(&self) -> Rescue {
        Rescue { inner: Arc::clone(&self.inner) }
    }
}

impl Rescue {
    /// The request.
    pub fn request(&self) -> &Request {
        &self.inner.request
    }

    /// Begins a response.
    pub fn reply(&self, code: StatusCode) -> ReplyBuilder {
        self.inner.reply(code)
    }

    /// Sends the final response.
    pub fn finish(self, reply: &Reply) -> Answered {
        self.inner.conclude();
        self.inner.send(self.inner.began, reply);
        Answered(())
    }
}

impl Inner {
    fn reply(&self, code: StatusCode) -> ReplyBuilder {
        let mut tag = [0u8; 16];
        let tag = hex16(self.to_tag, &mut tag);
        ReplyBuilder::with_source(&self.request, code, tag, self.received, self.rport)
    }

    /// The final response is owed no longer. Further 2xx to an INVITE come after the first.
    fn conclude(&self) {
        if !self.is_final.swap(true, Ordering::AcqRel) {
            self.endpoint.count_unanswered().fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn send(&self, now: Instant, reply: &Reply) {
        self.endpoint.respond(now, self.stripe, self.id, &self.request, &self.reply_to, reply);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !*self.is_final.get_mut() {
            self.conclude();
            self.endpoint.metrics().unanswered();
            tracing::error!(method = %self.request.method(), "a request was dropped unanswered: 500");
            let reply = self.reply(StatusCode::SERVER_INTERNAL_ERROR).finish();
            self.send(self.began, &reply);
        }
    }
}

impl fmt::Debug for ServerTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTransaction").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Rescue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rescue").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

fn hex16(value: u64, out: &mut [u8; 16]) -> &str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (i, digit) in out.iter_mut().enumerate() {
        *digit = DIGITS[(value >> (60 - 4 * i)) as usize & 15];
    }
    std::str::from_utf8(out).unwrap_or("0")
}

/// Where responses to a request go (RFC 3261 §18.2.2, RFC 3581 §4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyPath {
    /// Back on the connection; for a datagram to the source address, and to the source port if `rport` was asked for, else
    /// to the port of sent-by. A `maddr` is not honoured: it would let anyone aim our responses at a third party (departs
    /// from §18.2.2; multicast is not supported).
    pub(crate) flow: Flow,
    /// The port of sent-by, or the transport's default.
    sent_by_port: u16,
}

impl ReplyPath {
    pub(crate) fn of(request: &Request, source: &Flow) -> Self {
        let via = request.via();
        let sent_by_port = via.port.unwrap_or(source.transport.default_port());
        let is_back = source.transport.is_reliable() || via.asks_rport();
        let remote = if is_back { source.remote } else { SocketAddr::new(source.remote.ip(), sent_by_port) };
        Self { flow: Flow { remote, ..*source }, sent_by_port }
    }

    /// Where a response goes once the connection of its request is closed: to the source address and the port of sent-by,
    /// on whatever connection leads there (§18.2.2). `None` for a datagram, and for a WebSocket, whose client cannot be
    /// connected to (RFC 7118 appendix B).
    pub(crate) fn after_close(&self) -> Option<Flow> {
        let remote = SocketAddr::new(self.flow.remote.ip(), self.sent_by_port);
        match self.flow.transport {
            Transport::Tcp | Transport::Tls => {
                Some(Flow { remote, connection: Connection::NONE, ..self.flow })
            }
            Transport::Udp | Transport::Ws | Transport::Wss => None,
        }
    }
}
