//! Transports under test on the test's own runtime, and a handler that tells the test of everything.
#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::Registry;
use sip_message::{Framed, ReplyBuilder, StatusCode, Transport};
use sip_service::{Connection, Flow, Network};
use sip_transaction::ClientId;
use sip_transport::{Config, Handler, ListenConfig, Metrics, Transports, WorkerSockets, run_worker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What the handler was told.
#[derive(Debug)]
pub enum Event {
    /// First line and source of a message.
    Message(String, Flow),
    /// Status that a malformed message deserves.
    Malformed(u16, Flow),
    Unreachable(ClientId),
    Closed(Flow),
}

/// Answers each request 200 if told so, and reports everything.
pub struct Recorder {
    transports: Arc<Transports>,
    events: mpsc::UnboundedSender<Event>,
    pub answers: AtomicBool,
}

impl Handler for Recorder {
    fn on_message(&self, _now: Instant, framed: Framed, source: &Flow) {
        let answer = |request: &sip_message::Request, code| {
            if self.answers.load(Ordering::Relaxed) {
                let reply = ReplyBuilder::new(request, code, "tag").finish();
                self.transports.send(source, reply.bytes, None).expect("sent");
            }
        };
        let event = match framed {
            Framed::Request(request) => {
                assert!(!request.bytes().starts_with(b"PANIC"), "as asked");
                answer(&request, StatusCode::OK);
                Event::Message(first_line(request.bytes()), *source)
            }
            Framed::Response(response) => Event::Message(first_line(response.bytes()), *source),
            Framed::Malformed(malformed) => {
                if let Some(request) = &malformed.request {
                    answer(request, malformed.error.code);
                }
                Event::Malformed(malformed.error.code.as_u16(), *source)
            }
            Framed::Ping | Framed::Pong => unreachable!("keep-alives stay below"),
        };
        self.report(event);
    }

    fn on_unreachable(&self, _now: Instant, client: ClientId) {
        self.report(Event::Unreachable(client));
    }

    fn on_tick(&self, _now: Instant) {}

    fn on_closed(&self, _now: Instant, flow: &Flow) {
        self.report(Event::Closed(*flow));
    }
}

impl Recorder {
    fn report(&self, event: Event) {
        // The test may have ended.
        let _gone = self.events.send(event);
    }
}

/// A running server with one worker on the test's runtime.
pub struct Server {
    pub transports: Arc<Transports>,
    pub handler: Arc<Recorder>,
    pub registry: Registry,
    events: mpsc::UnboundedReceiver<Event>,
    stop: Option<oneshot::Sender<()>>,
    worker: Option<JoinHandle<()>>,
}

pub fn metrics() -> (Registry, Metrics) {
    let registry = Registry::new();
    let service = sip_service::Metrics::register(&registry).expect("registered");
    let metrics = Metrics::register(&registry, service).expect("registered");
    (registry, metrics)
}

pub fn listen(blocks: &[(Transport, &str)]) -> Vec<ListenConfig> {
    blocks.iter().map(|(t, a)| ListenConfig::new(*t, a.parse().expect("an address"))).collect()
}

pub fn bind(
    blocks: &[(Transport, &str)],
    config: &Config,
    workers: usize,
) -> (Registry, Arc<Transports>, Vec<WorkerSockets>) {
    let (registry, metrics) = metrics();
    let (transports, sockets) = Transports::bind(&listen(blocks), config, workers, metrics).expect("bound");
    (registry, transports, sockets)
}

pub fn recorder(transports: &Arc<Transports>) -> (Arc<Recorder>, mpsc::UnboundedReceiver<Event>) {
    let (sender, events) = mpsc::unbounded_channel();
    let recorder =
        Recorder { transports: Arc::clone(transports), events: sender, answers: AtomicBool::new(true) };
    (Arc::new(recorder), events)
}

impl Server {
    pub fn start(blocks: &[(Transport, &str)]) -> Self {
        Self::with(blocks, &Config::default())
    }

    pub fn with(blocks: &[(Transport, &str)], config: &Config) -> Self {
        Self::of(bind(blocks, config, 1))
    }

    /// What is bound is served from now on.
    pub fn of((registry, transports, mut sockets): (Registry, Arc<Transports>, Vec<WorkerSockets>)) -> Self {
        let (handler, events) = recorder(&transports);
        let (stop, stopped) = oneshot::channel();
        let sockets = sockets.pop().expect("a worker");
        sockets.open().expect("opened");
        let running = run_worker(sockets, Arc::clone(&transports), Arc::clone(&handler), async {
            let _dropped = stopped.await;
        });
        let worker = tokio::spawn(async { running.await.expect("a worker") });
        Self { transports, handler, registry, events, stop: Some(stop), worker: Some(worker) }
    }

    /// The address of the first listener of a transport.
    pub fn address(&self, transport: Transport) -> SocketAddr {
        self.transports.local_addresses().into_iter().find(|(t, _)| *t == transport).expect("a listener").1
    }

    /// What the handler is told next.
    pub async fn event(&mut self) -> Event {
        soon(self.events.recv()).await.expect("an event")
    }

    /// The next event, which must be a message with this first line.
    pub async fn message(&mut self, line: &str) -> Flow {
        match self.event().await {
            Event::Message(first, flow) if first == line => flow,
            other => panic!("expected {line}, not {other:?}"),
        }
    }

    /// A flow to a peer, without a connection.
    pub fn flow(&self, transport: Transport, remote: SocketAddr) -> Flow {
        Flow { transport, local: self.address(transport), remote, connection: Connection::NONE }
    }

    pub fn send(&self, flow: &Flow, text: &str) -> Result<(), sip_service::Unreachable> {
        self.transports.send(flow, Bytes::copy_from_slice(text.as_bytes()), None)
    }

    /// Ends the worker in order and waits for its end.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        soon(self.worker.take().expect("running")).await.expect("no panic");
    }

    /// A counter or gauge by name and the value of one label.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let metrics = families.iter().filter(|f| f.name() == name).flat_map(|f| f.get_metric());
        metrics
            .filter(|m| m.get_label().iter().any(|l| l.value() == label))
            .map(|m| m.get_counter().get_value() + m.get_gauge().get_value())
            .sum()
    }
}

/// A request of that method with a body of so many octets.
pub fn request(method: &str, transport: Transport, number: u32, body: usize) -> String {
    format!(
        "{method} sip:bob@example.test SIP/2.0\r\n\
         Via: SIP/2.0/{transport} client.example.test;branch=z9hG4bK{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@example.test>;tag=1\r\nTo: <sip:bob@example.test>\r\n\
         Call-ID: {number}\r\nCSeq: {number} {method}\r\nContent-Length: {body}\r\n\r\n{}",
        "x".repeat(body)
    )
}

/// Fails a test that would hang.
pub async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.expect("in time")
}

pub fn first_line(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    text.lines().next().unwrap_or_default().to_owned()
}

/// One datagram as text.
pub async fn datagram(socket: &UdpSocket) -> String {
    let mut octets = vec![0; 65_536];
    let length = soon(socket.recv(&mut octets)).await.expect("received");
    String::from_utf8_lossy(&octets[..length]).into_owned()
}

pub async fn connect(to: SocketAddr) -> TcpStream {
    let stream = soon(TcpStream::connect(to)).await.expect("connected");
    stream.set_nodelay(true).expect("an option");
    stream
}

pub async fn write(stream: &mut TcpStream, text: &str) {
    soon(stream.write_all(text.as_bytes())).await.expect("written");
}

/// Exactly so many octets.
pub async fn octets(stream: &mut TcpStream, length: usize) -> String {
    let mut octets = vec![0; length];
    soon(stream.read_exact(&mut octets)).await.expect("read");
    String::from_utf8_lossy(&octets).into_owned()
}

/// One message without a body.
pub async fn head(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        text.push_str(&octets(stream, 1).await);
    }
    text
}

/// What comes until the peer closes.
pub async fn to_end(stream: &mut TcpStream) -> String {
    let mut octets = Vec::new();
    soon(stream.read_to_end(&mut octets)).await.expect("closed in order");
    String::from_utf8_lossy(&octets).into_owned()
}
