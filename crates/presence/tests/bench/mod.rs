//! A presence server on a virtual network and under a virtual clock: the services over a real endpoint, with scripted
//! publishers and watchers around it.
//!
//! Whatever a test does, every NOTIFY is checked: CSeq rises by one, and no second one is sent while a first is unanswered.

#![allow(dead_code, unreachable_pub)] // each test file uses its part
#![allow(clippy::disallowed_methods)] // virtual time begins somewhere

use std::cell::Cell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use presence::{Clock, Config, DomainConfig, Error, Kept, Metrics, Presence, Publish, Settings, Subscribe};
use prometheus::Registry;
use replication::{Journal, Options, Persistence};
use sip_message::{Aor, Framed, HeaderName, Limits, Method, Request, Response, StatusCode, Transport, Uri};
use sip_service::{
    Connection, Directory, Domains, Endpoint, EndpointConfig, Flow, Hop, Identity, LocateError, Network,
    Registrations, SipRequest, TransactionUser, Unreachable,
};
use sip_transaction::ClientId;
use tower_service::Service;

pub const SERVER: &str = "192.0.2.1:5060";
const EPOCH_UNIX_MS: i64 = 1_760_000_000_000;

thread_local! {
    static UNIX_MS: Cell<i64> = const { Cell::new(EPOCH_UNIX_MS) };
}

/// Where a phone is, by its name.
pub fn address_of(name: &str) -> SocketAddr {
    let host = 10 + name.bytes().map(u32::from).sum::<u32>() % 200;
    format!("192.0.2.{host}:5060").parse().expect("an address")
}

/// One octet string that left the server.
#[derive(Clone, Debug)]
pub struct Sent {
    pub flow: Flow,
    pub bytes: Bytes,
}

#[derive(Default)]
pub struct FakeNetwork {
    sent: Mutex<Vec<Sent>>,
    pub dead: Mutex<HashSet<Connection>>,
    /// Remote addresses that nothing can be sent to.
    pub unreachable: Mutex<HashSet<SocketAddr>>,
    refused: AtomicU64,
}

impl Network for FakeNetwork {
    fn send(&self, flow: &Flow, bytes: Bytes, _: Option<ClientId>) -> Result<(), Unreachable> {
        if self.unreachable.lock().contains(&flow.remote) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Unreachable::Closed);
        }
        self.sent.lock().push(Sent { flow: *flow, bytes });
        Ok(())
    }

    fn locate(&self, uri: &Uri<'_>, octets: usize) -> Result<Hop, LocateError> {
        let Some(ip) = uri.ip() else { return Err(LocateError::Unresolved { host: uri.host().to_owned() }) };
        let transport =
            uri.transport().unwrap_or(if octets > 1300 { Transport::Tcp } else { Transport::Udp });
        let remote = SocketAddr::new(ip, uri.port().unwrap_or(5060));
        Ok(Hop { flow: flow(transport, remote, Connection::NONE), sent_by: Arc::from(SERVER) })
    }

    fn sent_by(&self, _: &Flow) -> Arc<str> {
        Arc::from(SERVER)
    }

    fn is_alive(&self, flow: &Flow) -> bool {
        !self.dead.lock().contains(&flow.connection)
    }
}

pub fn flow(transport: Transport, remote: SocketAddr, connection: Connection) -> Flow {
    Flow { transport, local: SERVER.parse().expect("an address"), remote, connection }
}

#[derive(Default)]
struct FakeRegistrations(Mutex<HashSet<Aor>>);

impl Registrations for FakeRegistrations {
    fn is_registered(&self, aor: &Aor, _: Instant) -> bool {
        self.0.lock().contains(aor)
    }
}

/// Everybody exists, but for whoever's name begins with `nobody`.
struct Everybody;

impl Directory for Everybody {
    fn exists(&self, aor: &Aor) -> bool {
        !aor.user().starts_with("nobody")
    }
}

/// What the server does with a request: authentication that believes From, steering, and errors as responses.
struct Stack {
    publish: Publish,
    subscribe: Subscribe,
    identity: Mutex<Option<Identity>>,
    errors: Mutex<Vec<Error>>,
}

impl TransactionUser for Stack {
    fn on_request(&self, mut request: SipRequest) {
        let message = request.message();
        request.identity = self.identity.lock().clone().or_else(|| {
            let from = message.from();
            Some(Identity::User(Aor::of(&from.uri().ok()?)?))
        });
        let rescue = request.transaction.rescue();
        let answer = match request.message().method() {
            Method::Publish => self.publish.clone().call(request).into_now().expect("an answer at once"),
            Method::Subscribe => self.subscribe.clone().call(request).into_now().expect("an answer at once"),
            other => panic!("{other}"),
        };
        if let Err(error) = answer {
            let reply = rescue.reply(code_of(&error)).finish();
            let _answered = rescue.finish(&reply);
            self.errors.lock().push(error);
        }
    }

    fn on_ack(&self, _: Instant, _: Request, _: &Flow) {}
}

/// The statuses that [`Error`] documents.
pub fn code_of(error: &Error) -> StatusCode {
    match error {
        Error::Malformed { .. } | Error::NoBody | Error::Document(_) => StatusCode::BAD_REQUEST,
        Error::TooLarge(_) => StatusCode::REQUEST_ENTITY_TOO_LARGE,
        Error::Forbidden { .. }
        | Error::TooManyPublicationsOfAor { .. }
        | Error::TooManySubscriptionsInDialog { .. } => StatusCode::FORBIDDEN,
        Error::NotFound => StatusCode::NOT_FOUND,
        Error::NotAcceptable { .. } => StatusCode::NOT_ACCEPTABLE,
        Error::ConditionFailed => StatusCode::CONDITIONAL_REQUEST_FAILED,
        Error::UnsupportedMediaType { .. } | Error::UnsupportedEncoding { .. } => {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        }
        Error::BadExtension { .. } => StatusCode::BAD_EXTENSION,
        Error::IntervalTooBrief { .. } => StatusCode::INTERVAL_TOO_BRIEF,
        Error::NothingPublished | Error::TooManyWatchers { .. } => StatusCode::TEMPORARILY_UNAVAILABLE,
        Error::NoSubscription => StatusCode::CALL_DOES_NOT_EXIST,
        Error::MergedRequest => StatusCode::LOOP_DETECTED,
        Error::BadEvent { .. } => StatusCode::BAD_EVENT,
        Error::OutOfOrder { .. } => StatusCode::SERVER_INTERNAL_ERROR,
        Error::TooManyPublications { .. } | Error::TooManySubscriptions { .. } | Error::Storage(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// How a watcher answers NOTIFYs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Code(u16),
    /// 503 with Retry-After.
    Later(u32),
    Never,
}

/// One NOTIFY as a watcher got it.
#[derive(Clone, Debug)]
pub struct Notify {
    pub at: Duration,
    pub cseq: u32,
    pub state: String,
    pub event: String,
    pub body: String,
    pub flow: Flow,
    pub request: Request,
}

impl Notify {
    /// `active`, `pending` or `terminated`.
    pub fn state_word(&self) -> &str {
        self.state.split(';').next().unwrap_or("")
    }

    /// The seconds that Subscription-State promises.
    pub fn expires(&self) -> Option<u32> {
        self.state.split(";expires=").nth(1)?.parse().ok()
    }

    /// What the document says in short: the ids of its tuples, each with its basic status.
    pub fn summary(&self) -> String {
        summary(&self.body)
    }
}

/// `desk=open mobile=closed`: what a document says, sorted; a synthetic one has the name `-`.
pub fn summary(body: &str) -> String {
    let mut tuples: Vec<String> = body
        .split("<tuple ")
        .skip(1)
        .map(|t| {
            let id = t.split("id=\"").nth(1).and_then(|t| t.split('"').next()).unwrap_or("?");
            let basic = t.split("basic>").nth(1).and_then(|t| t.split('<').next()).unwrap_or("?");
            // Publishers in tests give their tuples names; those of our own documents are hashes.
            let name = id.strip_prefix("t-").unwrap_or(id);
            let is_hash = name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit());
            let name = if is_hash { "-" } else { name };
            format!("{name}={}", basic.trim())
        })
        .collect();
    tuples.sort();
    tuples.join(" ")
}

/// A subscription as the watcher sees it.
pub struct Watcher {
    pub name: String,
    pub presentity: String,
    pub call_id: String,
    pub from_tag: String,
    pub to_tag: Option<String>,
    pub cseq: u32,
    pub target: String,
    pub source: Flow,
    pub contact: String,
    pub answer: Answer,
    pub notifies: Vec<Notify>,
    /// Branches answered or deliberately not, to tell retransmissions.
    seen: HashSet<String>,
}

pub struct Bench {
    pub network: Arc<FakeNetwork>,
    pub endpoint: Arc<Endpoint>,
    pub presence: Arc<Presence>,
    pub registry: Registry,
    pub now: Instant,
    pub start: Instant,
    pub config: Config,
    pub domain: DomainConfig,
    registrations: Arc<FakeRegistrations>,
    stack: Arc<Stack>,
    serial: u64,
    pub watchers: BTreeMap<String, Watcher>,
    responses: Vec<Response>,
    /// Delay of everything a watcher answers.
    pub answer_delay: Duration,
    pending: Vec<(Instant, String, Request)>,
    /// The chance, in thousandths, that a datagram is lost, and the state of its dice.
    pub loss_milli: u64,
    dice: AtomicU64,
    /// The last NOTIFY of each dialog, lost ones included.
    flights: HashMap<String, Flight>,
    /// Where state is kept, if it is, and the journal there.
    kept: Option<(tempfile::TempDir, Arc<Journal>)>,
}

struct Flight {
    branch: String,
    cseq: u32,
    sent: Instant,
    is_concluded: bool,
    /// The process that sent it has ended: numbers that it had reserved are skipped.
    is_of_before: bool,
}

pub fn settings(config: Config, domain: DomainConfig) -> Settings {
    let domains = Domains::new([("example.test", domain.enabled)], [("192.0.2.1".to_owned(), 5060)]);
    Settings { config, domains: Arc::new(domains), per_domain: vec![domain], directory: Arc::new(Everybody) }
}

impl Bench {
    pub fn new(domain: DomainConfig) -> Self {
        Self::with(Config::default(), domain)
    }

    pub fn with(config: Config, domain: DomainConfig) -> Self {
        UNIX_MS.set(EPOCH_UNIX_MS);
        Self::begin(config, domain, Instant::now(), Arc::default(), 7)
    }

    /// A server without state.
    fn begin(
        config: Config,
        domain: DomainConfig,
        now: Instant,
        registrations: Arc<FakeRegistrations>,
        seed: u64,
    ) -> Self {
        let (network, registry) = (Arc::new(FakeNetwork::default()), Registry::new());
        let service_metrics = sip_service::Metrics::register(&registry).expect("metrics");
        let endpoint = Endpoint::new(
            Arc::<FakeNetwork>::clone(&network),
            EndpointConfig::default(),
            service_metrics,
            now,
        );
        let clock = Clock { unix_ms: || UNIX_MS.get(), monotonic: Instant::now };
        let metrics = Metrics::register(&registry).expect("metrics");
        let presence = Presence::new(
            Arc::clone(&endpoint),
            Arc::<FakeRegistrations>::clone(&registrations),
            settings(config, domain),
            metrics,
            clock,
            seed,
            now,
        );
        let stack = Stack {
            publish: Publish::new(Arc::clone(&presence)),
            subscribe: Subscribe::new(Arc::clone(&presence)),
            identity: Mutex::new(None),
            errors: Mutex::new(Vec::new()),
        };
        Self {
            network,
            endpoint,
            presence,
            registry,
            now,
            start: now,
            config,
            domain,
            registrations,
            stack: Arc::new(stack),
            serial: 0,
            watchers: BTreeMap::new(),
            responses: Vec::new(),
            answer_delay: Duration::ZERO,
            pending: Vec::new(),
            loss_milli: 0,
            dice: AtomicU64::new(1),
            flights: HashMap::new(),
            kept: None,
        }
    }

    /// From now on state is written to a journal; what is there already is taken back.
    pub fn keep(&mut self) {
        let folder = tempfile::tempdir().expect("a directory");
        self.recover(folder);
    }

    fn recover(&mut self, folder: tempfile::TempDir) {
        let options = Options { segment_bytes: 1 << 20, ..Options::default() };
        let metrics = replication::Metrics::register(&Registry::new()).expect("metrics");
        let (presence, now) = (Arc::clone(&self.presence), self.now);
        let (journal, _) = Journal::open(folder.path(), options, metrics, UNIX_MS.get(), |record| {
            assert!(matches!(presence.restore(now, &record, None), Ok(Some(_))), "{record:?}");
        })
        .expect("a journal");
        let persistence = Persistence::on_disk(Arc::clone(&journal), false, || UNIX_MS.get());
        let kept = Kept { publications: Some(persistence.clone()), subscriptions: Some(persistence) };
        self.presence.keep(kept);
        self.presence.resume(now);
        self.kept = Some((folder, journal));
        self.deliver();
    }

    /// The process ends and, `down` later, another begins over the same journal. What was under way is lost; watchers and
    /// registrations are where they were, but that those named in `registered` are there meanwhile.
    pub fn restart(&mut self, down: Duration, registered: &[(&str, bool)]) {
        let (folder, journal) = self.kept.take().expect("`keep` was called");
        journal.close();
        for (name, is_registered) in registered {
            let aor = Aor::parse(&format!("{name}@example.test")).expect("an AOR");
            let mut registrations = self.registrations.0.lock();
            if *is_registered {
                registrations.insert(aor)
            } else {
                registrations.remove(&aor)
            };
        }
        UNIX_MS.set(UNIX_MS.get() + down.as_millis() as i64);
        // Another than that of any life before.
        let seed = 1000 + self.next();
        let registrations = Arc::clone(&self.registrations);
        let mut new = Self::begin(self.config, self.domain, self.now + down, registrations, seed);
        std::mem::swap(self, &mut new);
        (self.start, self.serial, self.watchers) = (new.start, new.serial, new.watchers);
        self.flights = new.flights;
        for flight in self.flights.values_mut() {
            (flight.is_concluded, flight.is_of_before) = (true, true);
        }
        self.recover(folder);
    }

    /// From now on every request comes from this identity, not from whoever From names.
    pub fn identify(&mut self, identity: Option<Identity>) {
        *self.stack.identity.lock() = identity;
    }

    /// The error behind the last refusal.
    pub fn last_error(&self) -> Error {
        self.stack.errors.lock().last().cloned().expect("a request was refused")
    }

    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn is_lost(&self) -> bool {
        let x = self
            .dice
            .load(Ordering::Relaxed)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.dice.store(x, Ordering::Relaxed);
        (x >> 33) % 1000 < self.loss_milli
    }

    pub fn seed_loss(&mut self, seed: u64) {
        self.dice.store(seed, Ordering::Relaxed);
    }

    /// Gives octets to the server.
    pub fn receive(&mut self, text: &str, source: Flow) {
        let framed = Framed::datagram(Bytes::copy_from_slice(text.as_bytes()), &Limits::default());
        assert!(!matches!(framed, Framed::Malformed(_)), "{framed:?}: {text}");
        self.endpoint.receive(self.now, framed, &source, &*self.stack);
        self.deliver();
    }

    /// Sends a request and returns its final response.
    pub fn transact(&mut self, text: &str, source: Flow) -> Response {
        self.responses.clear();
        self.receive(text, source);
        assert_eq!(self.responses.len(), 1, "one response to: {text}");
        self.responses.remove(0)
    }

    /// Takes what the server sent: responses are kept, NOTIFYs reach their watchers.
    fn deliver(&mut self) {
        loop {
            let sent = std::mem::take(&mut *self.network.sent.lock());
            if sent.is_empty() {
                return;
            }
            for Sent { flow, bytes } in sent {
                match Framed::datagram(bytes, &Limits::default()) {
                    Framed::Response(response) => self.responses.push(response),
                    Framed::Request(request) => {
                        self.check_flight(&request);
                        if !self.is_lost() {
                            self.notified(request, flow);
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// No NOTIFY is sent while another of its dialog is unanswered; Timer F (RFC 3261 §17.1.2.2) concludes what stays so.
    fn check_flight(&mut self, request: &Request) {
        let branch = request.via().branch().to_owned();
        let cseq = request.cseq().number;
        let new = Flight { branch, cseq, sent: self.now, is_concluded: false, is_of_before: false };
        match self.flights.entry(request.call_id().to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(new);
            }
            Entry::Occupied(mut entry) if entry.get().branch != new.branch => {
                let last = entry.get();
                let is_over = last.is_concluded || self.now - last.sent >= Duration::from_secs(32);
                assert!(is_over, "two NOTIFYs in flight in dialog {}", request.call_id());
                // RFC 3261 §12.2.1.1: by one, but for those that the transport refused.
                let is_perfect = self.network.refused.load(Ordering::Relaxed) == 0 && !last.is_of_before;
                assert!(!is_perfect || new.cseq == last.cseq + 1, "CSeq {} after {}", new.cseq, last.cseq);
                entry.insert(new);
            }
            Entry::Occupied(_) => {} // a retransmission
        }
    }

    fn notified(&mut self, request: Request, flow: Flow) {
        assert_eq!(request.method(), Method::Notify);
        let at = self.now - self.start;
        let key = request.call_id().to_owned();
        let watcher = self.watchers.get_mut(&key).unwrap_or_else(|| panic!("a NOTIFY for nobody: {key}"));
        assert_eq!(request.to().tag(), Some(&*watcher.from_tag), "RFC 3261 §12.2.1.1");
        if let Some(tag) = &watcher.to_tag {
            assert_eq!(request.from().tag(), Some(&**tag), "RFC 3261 §12.2.1.1");
        }
        if watcher.seen.insert(request.via().branch().to_owned()) {
            let text = |name| request.text(name).unwrap_or("").to_owned();
            let cseq = request.cseq().number;
            if let Some(last) = watcher.notifies.last() {
                assert!(cseq > last.cseq, "CSeq {cseq} after {}", last.cseq);
            }
            watcher.notifies.push(Notify {
                at,
                cseq,
                state: text(HeaderName::SubscriptionState),
                event: text(HeaderName::Event),
                body: String::from_utf8_lossy(request.body()).into_owned(),
                flow,
                request: request.clone(),
            });
        }
        if watcher.answer != Answer::Never {
            self.pending.push((self.now + self.answer_delay, key, request));
            if self.answer_delay.is_zero() {
                self.answer_due();
            }
        }
    }

    fn answer_due(&mut self) {
        let (due, later) =
            std::mem::take(&mut self.pending).into_iter().partition(|(at, _, _)| *at <= self.now);
        self.pending = later;
        let due: Vec<(Instant, String, Request)> = due;
        for (_, key, request) in due {
            self.answer(&key, &request);
        }
    }

    /// A watcher answers a NOTIFY, as it is set to.
    pub fn answer(&mut self, key: &str, request: &Request) {
        let Some(watcher) = self.watchers.get_mut(key) else { return };
        let (code, extra) = match watcher.answer {
            Answer::Code(code) => (code, String::new()),
            Answer::Later(seconds) => (503, format!("Retry-After: {seconds} (busy)\r\n")),
            Answer::Never => return,
        };
        let source = watcher.source;
        let via = String::from_utf8_lossy(request.header(HeaderName::Via).expect("a Via")).into_owned();
        let copy = |name: HeaderName| {
            format!("{}: {}\r\n", name.as_str(), request.text(name).expect("a header field"))
        };
        let text = format!(
            "SIP/2.0 {code} X\r\nVia: {via}\r\n{}{}{}{}{extra}Content-Length: 0\r\n\r\n",
            copy(HeaderName::From),
            copy(HeaderName::To),
            copy(HeaderName::CallId),
            copy(HeaderName::CSeq)
        );
        if !self.is_lost() {
            let branch = request.via().branch();
            if let Some(flight) = self.flights.get_mut(key).filter(|flight| flight.branch == branch) {
                flight.is_concluded = true;
            }
            self.receive(&text, source);
        }
    }

    /// Lets time pass, in ticks as the server has them.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while self.now < end {
            let step = Duration::from_millis(10).min(end - self.now);
            self.now += step;
            UNIX_MS.set(UNIX_MS.get() + step.as_millis() as i64);
            self.endpoint.tick(self.now, 0, 1);
            self.presence.tick(self.now, 0, 1);
            self.presence.send_held(self.now);
            self.deliver();
            self.answer_due();
        }
    }

    pub fn advance_ms(&mut self, ms: u64) {
        self.advance(Duration::from_millis(ms));
    }

    // ------------------------------------------------------------------ publishing

    /// A PUBLISH by `name` for itself. `extra` are further header field lines.
    pub fn publish_with(&mut self, name: &str, extra: &str, body: &str) -> Response {
        self.publish_to(name, &format!("sip:{name}@example.test"), extra, body)
    }

    pub fn publish_to(&mut self, name: &str, uri: &str, extra: &str, body: &str) -> Response {
        let text = self.publish_text(name, uri, extra, body);
        self.transact(&text, flow(Transport::Udp, address_of(name), Connection::NONE))
    }

    /// The text of a PUBLISH; Event and Content-Type are added unless `extra` has them.
    pub fn publish_text(&mut self, name: &str, uri: &str, extra: &str, body: &str) -> String {
        let n = self.next();
        let mut lines = String::new();
        for line in extra.lines().map(str::trim).filter(|l| !l.is_empty()) {
            lines.push_str(line);
            lines.push_str("\r\n");
        }
        if !lines.contains("Event:") {
            lines.push_str("Event: presence\r\n");
        }
        if !body.is_empty() && !lines.contains("Content-Type:") {
            lines.push_str("Content-Type: application/pidf+xml\r\n");
        }
        let lines = lines.replace("Event: -\r\n", "").replace("Content-Type: -\r\n", "");
        format!(
            "PUBLISH {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKp{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:{name}@example.test>;tag=f{n}\r\nTo: <{uri}>\r\nCall-ID: pub-{n}\r\nCSeq: 1 PUBLISH\r\n\
             {lines}Content-Length: {}\r\n\r\n{body}",
            address_of(name),
            body.len()
        )
    }

    /// An initial publication that is accepted; returns its entity-tag.
    pub fn publish(&mut self, name: &str, expires: u32, body: &str) -> String {
        let response = self.publish_with(name, &format!("Expires: {expires}"), body);
        assert_eq!(response.status(), StatusCode::OK);
        etag(&response)
    }

    /// A further publication under a tag that is accepted; returns the new one.
    pub fn republish(&mut self, name: &str, tag: &str, expires: u32, body: &str) -> String {
        let response = self.publish_with(name, &format!("SIP-If-Match: {tag}\n Expires: {expires}"), body);
        assert_eq!(response.status(), StatusCode::OK);
        etag(&response)
    }

    // ------------------------------------------------------------------ registering

    pub fn register(&mut self, name: &str, is_registered: bool) {
        let aor = Aor::parse(&format!("{name}@example.test")).expect("an AOR");
        if is_registered {
            self.registrations.0.lock().insert(aor.clone());
        } else {
            self.registrations.0.lock().remove(&aor);
        }
        self.presence.registration_changed(self.now, &aor);
        self.deliver();
    }

    // ------------------------------------------------------------------ watching

    /// A SUBSCRIBE of `name` to `presentity` that is accepted; the key of its subscription.
    pub fn watch(&mut self, name: &str, presentity: &str) -> String {
        let (key, response) = self.subscribe(name, &format!("sip:{presentity}@example.test"), "Expires: 600");
        assert_eq!(response.status(), StatusCode::OK);
        key
    }

    pub fn subscribe(&mut self, name: &str, uri: &str, extra: &str) -> (String, Response) {
        let address = address_of(name);
        self.subscribe_by(
            name,
            uri,
            extra,
            flow(Transport::Udp, address, Connection::NONE),
            &format!("sip:{name}@{address}"),
        )
    }

    pub fn subscribe_by(
        &mut self,
        name: &str,
        uri: &str,
        extra: &str,
        source: Flow,
        contact: &str,
    ) -> (String, Response) {
        let n = self.next();
        let key = format!("sub-{n}");
        self.watchers.insert(
            key.clone(),
            Watcher {
                name: name.to_owned(),
                presentity: uri.to_owned(),
                call_id: key.clone(),
                from_tag: format!("w{n}"),
                to_tag: None,
                cseq: 0,
                target: uri.to_owned(),
                source,
                contact: contact.to_owned(),
                answer: Answer::Code(200),
                notifies: Vec::new(),
                seen: HashSet::new(),
            },
        );
        let response = self.resubscribe(&key, extra);
        if !response.status().is_success() {
            assert!(self.watchers[&key].notifies.is_empty(), "a NOTIFY after a refusal");
        }
        (key, response)
    }

    /// The text of the next SUBSCRIBE of a subscription.
    pub fn subscribe_text(&mut self, key: &str, extra: &str) -> String {
        let n = self.next();
        let watcher = self.watchers.get_mut(key).expect("a subscription");
        watcher.cseq += 1;
        let mut lines = String::new();
        for line in extra.lines().map(str::trim).filter(|l| !l.is_empty()) {
            lines.push_str(line);
            lines.push_str("\r\n");
        }
        if !lines.contains("Event:") {
            lines.push_str("Event: presence\r\n");
        }
        if !lines.contains("Contact:") {
            lines.push_str(&format!("Contact: <{}>\r\n", watcher.contact));
        }
        let lines = lines.replace("Event: -\r\n", "").replace("Contact: -\r\n", "");
        // A phone names itself in Via as in Contact.
        let via = watcher.contact.split(['@', ';']).nth(1).unwrap_or("");
        let to_tag = watcher.to_tag.as_ref().map_or(String::new(), |t| format!(";tag={t}"));
        format!(
            "SUBSCRIBE {} SIP/2.0\r\nVia: SIP/2.0/{} {};branch=z9hG4bKs{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:{}@example.test>;tag={}\r\nTo: <{}>{to_tag}\r\nCall-ID: {}\r\nCSeq: {} SUBSCRIBE\r\n\
             {lines}Content-Length: 0\r\n\r\n",
            watcher.target,
            watcher.source.transport,
            via,
            watcher.name,
            watcher.from_tag,
            watcher.presentity,
            watcher.call_id,
            watcher.cseq
        )
    }

    /// Another SUBSCRIBE in a subscription.
    pub fn resubscribe(&mut self, key: &str, extra: &str) -> Response {
        let text = self.subscribe_text(key, extra);
        let source = self.watchers[key].source;
        let response = self.transact(&text, source);
        if response.status().is_success() {
            let watcher = self.watchers.get_mut(key).expect("a subscription");
            watcher.to_tag = response.to().tag().map(str::to_owned);
            let contact = response.text(HeaderName::Contact).expect("a Contact");
            watcher.target = contact.trim_matches(|c| c == '<' || c == '>').to_owned();
        }
        response
    }

    pub fn watcher(&mut self, key: &str) -> &mut Watcher {
        self.watchers.get_mut(key).expect("a subscription")
    }

    pub fn last(&self, key: &str) -> &Notify {
        self.watchers[key].notifies.last().expect("a NOTIFY")
    }

    /// `state-word summary` of each NOTIFY since the last call.
    pub fn take(&mut self, key: &str) -> Vec<String> {
        let watcher = self.watchers.get_mut(key).expect("a subscription");
        let taken = watcher.notifies.iter().skip_while(|n| n.state.starts_with('!')).map(seen).collect();
        // Kept for the CSeq check, but marked as seen.
        for notify in &mut watcher.notifies {
            if !notify.state.starts_with('!') {
                notify.state.insert(0, '!');
            }
        }
        taken
    }

    /// The sum of a metric's values as they are scraped, of the lines that hold `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).expect("metrics");
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let value =
            |line: &str| line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok()).expect("a number");
        text.lines().filter(of_name).filter(|line| line.contains(label)).map(value).sum()
    }
}

fn seen(notify: &Notify) -> String {
    let reason = notify.state.split(";reason=").nth(1).map_or(String::new(), |r| format!(" {r}"));
    format!("{}{reason} {}", notify.state_word(), notify.summary()).trim().to_owned()
}

pub fn etag(response: &Response) -> String {
    assert_eq!(response.count(HeaderName::SipEtag), 1, "RFC 3903 §6 step 6: exactly one SIP-ETag");
    response.text(HeaderName::SipEtag).expect("text").to_owned()
}

/// A document of one tuple; `id` gets the prefix `t-`, by which [`summary`] tells it from our own documents.
pub fn pidf(name: &str, id: &str, basic: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         entity=\"sip:{name}@example.test\"><tuple id=\"t-{id}\"><status><basic>{basic}</basic></status>\
         <contact>sip:{id}@device.example.test</contact></tuple></presence>"
    )
}
