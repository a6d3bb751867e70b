//! The proxy of example.test on a simulated network, with a location service that a test fills.

#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use parking_lot::Mutex;
use proxy::{Config, Error, Metrics, Proxy};
use sip_auth::NodeSecret;
use sip_message::{Aor, HeaderName, Reply, Request, StatusCode, Transport};
use sip_service::{
    Domains, EndpointConfig, Flow, Identity, Rescue, SipRequest, Target, TargetSet, TransactionUser,
};
use testkit::{Bench, Received};
use tower_service::Service;

/// Who exists, and where.
#[derive(Clone, Default)]
pub struct Locations(Arc<Mutex<BTreeMap<Aor, Vec<Target>>>>);

impl Service<Aor> for Locations {
    type Response = TargetSet;
    type Error = Infallible;
    type Future = Ready<Result<TargetSet, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, aor: Aor) -> Self::Future {
        let found = self.0.lock().get(&aor).cloned();
        ready(Ok(TargetSet { known: found.is_some(), targets: found.unwrap_or_default() }))
    }
}

/// The proxy with a layer that answers its errors.
pub struct Stack {
    proxy: Proxy<Locations>,
    locations: Locations,
    /// What authentication says of every request.
    identity: Mutex<Option<Identity>>,
}

impl TransactionUser for Stack {
    fn on_request(&self, mut request: SipRequest) {
        request.identity = self.identity.lock().clone();
        let rescue = request.transaction.rescue();
        if let Err(error) = self.proxy.clone().call(request).into_inner() {
            let reply = reply(&error, &rescue);
            let _answered = rescue.finish(&reply);
        }
    }

    fn on_ack(&self, now: Instant, ack: Request, source: &Flow) {
        self.proxy.ack(now, &ack, source);
    }
}

/// The statuses that [`Error`] documents.
fn reply(error: &Error, rescue: &Rescue) -> Reply {
    let code = match error {
        Error::BadRequest { .. } => StatusCode::BAD_REQUEST,
        Error::RelayingForbidden => StatusCode::FORBIDDEN,
        Error::NotFound => StatusCode::NOT_FOUND,
        Error::UnsupportedScheme => StatusCode::UNSUPPORTED_URI_SCHEME,
        Error::BadExtension { unsupported } => {
            let reply = rescue.reply(StatusCode::BAD_EXTENSION);
            return reply.header(HeaderName::Unsupported, unsupported.join(", ")).finish();
        }
        Error::MaxBreadthExceeded => StatusCode::MAX_BREADTH_EXCEEDED,
        Error::Unavailable => StatusCode::TEMPORARILY_UNAVAILABLE,
        Error::LoopDetected => StatusCode::LOOP_DETECTED,
        Error::TooManyHops => StatusCode::TOO_MANY_HOPS,
    };
    rescue.reply(code).finish()
}

/// The proxy at 192.0.2.1; alice at .10, bob at .20, carol at .30, each registered where she is; dave, who is registered
/// nowhere; `far` at 203.0.113.5, who is nobody of ours.
pub struct Scene {
    pub bench: Bench<Stack>,
}

pub const AGENTS: [(&str, &str); 4] = [
    ("alice", "192.0.2.10:5060"),
    ("bob", "192.0.2.20:5060"),
    ("carol", "192.0.2.30:5060"),
    ("far", "203.0.113.5:5060"),
];

impl Scene {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        let domains = Domains::new([("example.test", true)], [("192.0.2.1".to_owned(), 5060)]);
        let bench = Bench::new("example.test", EndpointConfig::default(), |endpoint, registry| {
            let locations = Locations::default();
            let proxy = Proxy::new(
                Arc::clone(endpoint),
                Arc::new(config),
                Arc::new(domains),
                Arc::new(NodeSecret::from_bytes([7; 32])),
                locations.clone(),
                Metrics::register(registry).expect("metrics"),
            );
            Stack { proxy, locations, identity: Mutex::new(None) }
        });
        bench.network.add_host("example.test", "192.0.2.1");
        let mut scene = Self { bench };
        for (name, address) in AGENTS {
            scene.bench.add_agent(name, Transport::Udp, address);
        }
        scene.register("dave", []);
        for name in ["alice", "bob", "carol"] {
            let contact = scene.bench.agent(name).contact();
            scene.register(name, [target(&contact)]);
        }
        scene
    }

    /// Gives a user these targets, and no others.
    pub fn register(&mut self, name: &str, targets: impl IntoIterator<Item = Target>) {
        let aor = Aor::parse(&format!("{name}@example.test")).expect("an AOR");
        self.bench.user.locations.0.lock().insert(aor, targets.into_iter().collect());
    }

    /// From now on every request comes from somebody whom we know.
    pub fn trust(&mut self) {
        *self.bench.user.identity.lock() = Some(Identity::TrustedPeer);
    }

    /// Alice sends a request; what comes back to her, in short.
    pub fn outcome(&mut self, request: &str) -> Vec<String> {
        self.bench.send("alice", request);
        self.bench.take("alice").iter().map(Received::summary).collect()
    }

    /// Alice sends the first message; `to` gets the second one, octet for octet but for what is ours alone: `BRANCH` is the
    /// branch of our Via, `TOKEN` the user part of our Record-Route.
    pub fn check_forwarded(&mut self, sent: &str, to: &str, expected: &str) {
        self.check_forwarded_from("alice", sent, to, expected);
    }

    pub fn check_forwarded_from(&mut self, from: &str, sent: &str, to: &str, expected: &str) {
        self.bench.send(from, sent);
        let received = self.bench.take(to);
        let [received] = &received[..] else {
            let answers: Vec<String> = self.bench.take(from).iter().map(Received::summary).collect();
            panic!("{} messages for {to}; {from} got {answers:?}", received.len())
        };
        let expected = String::from_utf8(testkit::message(expected).to_vec()).expect("text");
        let received = mask(&String::from_utf8_lossy(received.message().bytes()));
        assert_eq!(received, expected, "received:\n{received}\nexpected:\n{expected}");
    }

    /// Lets all timers run out: nothing may be left of what was.
    pub fn settle(&mut self, ms: u64) {
        self.bench.run_to(ms);
        assert_eq!(self.bench.endpoint.transactions(), (0, 0), "transactions that never end");
        assert_eq!(self.bench.endpoint.unanswered(), 0, "requests without a final response");
        assert_eq!(self.bench.metric("rollcall_proxy_contexts", ""), 0.0, "response contexts that never end");
        assert_eq!(self.bench.metric(sip_service::DROPPED, "reason=\"unanswered\""), 0.0);
    }
}

/// A target with nothing but its URI.
pub fn target(uri: &str) -> Target {
    Target { uri: uri.into(), q_milli: 1000, path: Vec::new(), flow: None, instance: None }
}

/// A target behind proxies, nearest to us first.
pub fn target_by(uri: &str, path: &[&str]) -> Target {
    Target { path: path.iter().map(|path| (*path).into()).collect(), ..target(uri) }
}

/// Replaces each run of hexadecimal digits that follows `before` and has that length.
fn replace_hex(text: &str, before: &str, length: usize, with: &str) -> String {
    let mut parts = text.split(before);
    let mut out = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        out.push_str(before);
        match part.split_at_checked(length).filter(|_| digits == length) {
            Some((_, rest)) => {
                out.push_str(with);
                out.push_str(rest);
            }
            None => out.push_str(part),
        }
    }
    out
}

fn mask(text: &str) -> String {
    let token = NodeSecret::from_bytes([0; 32]).dialog_token("", "").len();
    let text = replace_hex(text, "branch=z9hG4bK", 32, "");
    replace_hex(&text, "<sip:", token, "TOKEN")
        .replace("branch=z9hG4bK;", "branch=BRANCH;")
        .replace("branch=z9hG4bK\r\n", "branch=BRANCH\r\n")
}
