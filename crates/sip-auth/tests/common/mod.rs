//! The layer above a service that records whom it was told, over a real endpoint and a network of a vector.

use std::future::{Ready, ready};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use prometheus::Registry;
use provisioning::{Algorithm, UserConfig, Users};
use sip_auth::{Auth, Config, Error, Metrics, NodeSecret, Nonces, Policy, digest};
use sip_message::{Framed, Limits, Method, Request, StatusCode, Uri};
use sip_service::{
    Answered, Connection, Domains, Endpoint, EndpointConfig, Flow, Hop, Identity, LocateError, Network,
    SipRequest, TransactionUser, Unreachable,
};
use sip_transaction::ClientId;
use tower_service::Service;

/// A network that goes nowhere.
struct Nowhere;

impl Network for Nowhere {
    fn send(&self, _: &Flow, _: Bytes, _: Option<ClientId>) -> Result<(), Unreachable> {
        Ok(())
    }

    fn locate(&self, _: &Uri<'_>, _: usize) -> Result<Hop, LocateError> {
        Err(LocateError::Transport)
    }

    fn sent_by(&self, _: &Flow) -> Arc<str> {
        "198.51.100.1".into()
    }

    fn is_alive(&self, _: &Flow) -> bool {
        true
    }
}

/// What became of a request.
pub(crate) type Verdict = Result<Option<Identity>, Error>;

/// The innermost service: says whom it was told.
#[derive(Clone)]
struct Record(Arc<Mutex<Option<Verdict>>>);

impl Service<SipRequest> for Record {
    type Response = Answered;
    type Error = Error;
    type Future = Ready<Result<Answered, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: SipRequest) -> Self::Future {
        *self.0.lock().unwrap() = Some(Ok(request.identity.clone()));
        let reply = request.transaction.reply(StatusCode::OK).finish();
        ready(Ok(request.transaction.finish(&reply)))
    }
}

struct User(Mutex<Auth<Record>>, Arc<Mutex<Option<Verdict>>>);

impl TransactionUser for User {
    fn on_request(&self, request: SipRequest) {
        let hold = request.transaction.rescue();
        let mut future = self.0.lock().unwrap().call(request);
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(answer) = std::pin::Pin::new(&mut future).poll(&mut cx) else { panic!("not ready") };
        if let Err(error) = answer {
            *self.1.lock().unwrap() = Some(Err(error));
            let reply = hold.reply(StatusCode::FORBIDDEN).finish();
            let _answered = hold.finish(&reply);
        }
    }

    fn on_ack(&self, _: Instant, _: Request, _: &Flow) {}
}

/// A policy for `example.test` (alice, bob, and sha, who may answer with SHA-256 only) and `other.test` (carol), and a
/// clock.
pub(crate) struct Bench {
    endpoint: Arc<Endpoint>,
    user: User,
    pub(crate) secret: Arc<NodeSecret>,
    seconds: Arc<AtomicU64>,
    branch: AtomicU64,
    registry: Registry,
}

impl Bench {
    pub(crate) fn new(config: Config) -> Self {
        let user = |aor: &str, algorithms| UserConfig {
            aor: aor.into(),
            password: Some(format!("secret of {aor}")),
            ha1: None,
            algorithms,
        };
        let users = [
            user("alice@example.test", None),
            user("bob@example.test", None),
            user("sha@example.test", Some(vec![Algorithm::Sha256])),
            user("carol@other.test", None),
        ];
        let registry = Registry::new();
        let seconds = Arc::new(AtomicU64::new(1_800_000_000));
        let clock = Arc::clone(&seconds);
        let metrics = Metrics::register(&registry).expect("metrics");
        let nonces = Nonces::new(&config, metrics, Arc::new(move || clock.load(Ordering::Relaxed)));
        let secret = Arc::new(NodeSecret::from_bytes([9; 32]));
        let policy = Policy::new(
            config,
            vec![None, Some(vec![Algorithm::Sha512_256, Algorithm::Md5])],
            Arc::new(Domains::new(
                [("example.test", true), ("other.test", true)],
                [("198.51.100.1".into(), 5060)],
            )),
            Arc::new(Users::load(&users).expect("users")),
            Arc::clone(&secret),
            |request, domains| {
                domains.of(&request.uri()).is_some()
                    && matches!(request.method(), Method::Register | Method::Publish | Method::Subscribe)
            },
            nonces,
        );
        let verdict = Arc::default();
        let auth = Auth::new(Record(Arc::clone(&verdict)), Arc::new(policy));
        let transactions = sip_service::Metrics::register(&registry).expect("metrics");
        let endpoint =
            Endpoint::new(Arc::new(Nowhere), EndpointConfig::default(), transactions, Instant::now());
        Self {
            endpoint,
            user: User(Mutex::new(auth), verdict),
            secret,
            seconds,
            branch: AtomicU64::new(0),
            registry,
        }
    }

    pub(crate) fn later(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Sends `METHOD URI FROM TO` with further header fields, one a line, from an address.
    pub(crate) fn send_from(&self, source: &str, start: &str, headers: &str) -> Verdict {
        let [method, uri, from, to] = start.split(' ').collect::<Vec<_>>()[..] else { panic!("{start}") };
        let branch = self.branch.fetch_add(1, Ordering::Relaxed);
        let tagged = |text: &str| match text.split_once('#') {
            Some((uri, tag)) => format!("<{uri}>;tag={tag}"),
            None => format!("<{text}>"),
        };
        let more: String = headers.lines().map(|line| format!("{}\r\n", line.trim())).collect();
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
             From: {}\r\nTo: {}\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n{more}Content-Length: 0\r\n\r\n",
            tagged(from),
            tagged(to),
        );
        let Framed::Request(request) = Framed::datagram(Bytes::from(text.clone()), &Limits::default()) else {
            panic!("{text}")
        };
        let flow = Flow {
            transport: sip_message::Transport::Udp,
            local: "198.51.100.1:5060".parse().unwrap(),
            remote: source.parse().unwrap(),
            connection: Connection::NONE,
        };
        self.endpoint.receive(Instant::now(), Framed::Request(request), &flow, &self.user);
        self.user.1.lock().unwrap().take().expect("a verdict")
    }

    pub(crate) fn send(&self, start: &str, headers: &str) -> Verdict {
        self.send_from("192.0.2.1:5060", start, headers)
    }

    pub(crate) fn outcomes(&self, outcome: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|f| f.name() == "rollcall_auth_total").expect("the metric");
        let of = |m: &&prometheus::proto::Metric| m.get_label().iter().any(|l| l.value() == outcome);
        family.get_metric().iter().find(of).map_or(0, |m| m.get_counter().get_value() as u64)
    }
}

/// The challenges of a refusal, and whether they were a proxy's.
pub(crate) fn challenges(verdict: Verdict) -> (bool, Vec<String>) {
    match verdict {
        Err(Error::Challenge { proxy, challenges }) => (proxy, challenges),
        other => panic!("no challenge: {other:?}"),
    }
}

pub(crate) fn parameter(challenge: &str, name: &str) -> Option<String> {
    sip_message::AuthParams::parse(challenge.as_bytes(), "WWW-Authenticate")
        .unwrap()
        .value(name)
        .map(Into::into)
}

/// Digest credentials.
#[derive(Clone)]
pub(crate) struct Answer<'a> {
    pub(crate) header: &'a str,
    pub(crate) user: &'a str,
    pub(crate) password: String,
    pub(crate) method: &'a str,
    pub(crate) count: Option<u32>,
}

impl<'a> Answer<'a> {
    pub(crate) fn of(user: &'a str, method: &'a str) -> Self {
        Self { header: "Authorization", user, password: String::new(), method, count: Some(1) }
    }

    /// The header field that answers a challenge.
    pub(crate) fn to(&self, challenge: &str) -> String {
        let get = |name| parameter(challenge, name).unwrap_or_else(|| panic!("no {name}: {challenge}"));
        let (realm, nonce) = (get("realm"), get("nonce"));
        let algorithm = Algorithm::from_token(&get("algorithm")).unwrap();
        let right = format!("secret of {}@{realm}", self.user);
        let password = if self.password.is_empty() { &right } else { &self.password };
        let ha1 = provisioning::Ha1::new(algorithm, self.user, &realm, password);
        let nc = self.count.map(|count| format!("{count:08x}"));
        let auth = nc.as_deref().map(|nc| digest::Auth { nc, cnonce: "c0" });
        let request = digest::Request { method: self.method, uri: "sip:example.test", nonce: &nonce, auth };
        let response = digest::response(algorithm, ha1.as_hex(), &request);
        let qop = nc.map_or(String::new(), |nc| format!(", qop=auth, nc={nc}, cnonce=\"c0\""));
        format!(
            "{}: Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"sip:example.test\", \
             response=\"{response}\", algorithm={algorithm}{qop}",
            self.header, self.user
        )
    }
}
