//! All transports of a server, as the transaction user sees them.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use sip_message::{Framed, Limits, Transport, Uri};
use sip_service::{Connection, Flow, Hop, LocateError, Network, Unreachable};
use sip_transaction::ClientId;
use socket2::SockRef;
use tokio::sync::mpsc;

use crate::bind::{Bound, bind, refuse_shared};
use crate::listener::{Listener, Listeners};
use crate::tcp::{Command, Connections, Upgrades};
use crate::udp::{Datagram, send_now};
use crate::worker::WorkerSockets;
use crate::worker::local::Local;
use crate::{Config, Error, Handler, ListenConfig, Metrics};

/// Tells the transports of one process apart: tests run several.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// UDP and TCP on all listeners. Shared by all threads; each of its workers runs [`crate::run_worker`].
pub struct Transports {
    pub(crate) id: u64,
    pub(crate) config: Config,
    pub(crate) limits: Limits,
    pub(crate) listeners: Listeners,
    pub(crate) tcp: Connections,
    pub(crate) upgrades: Upgrades,
    pub(crate) metrics: Metrics,
    names: Vec<(String, u16)>,
    /// By listener, for threads that are no worker: the first worker's socket.
    datagrams: Vec<Option<UdpSocket>>,
    /// To each worker.
    commands: Vec<mpsc::UnboundedSender<Command>>,
    /// The worker that opens the next connection for a thread that is none.
    next_worker: AtomicUsize,
    /// Second hold on the listening sockets; `None` once they are closed.
    accepting: Mutex<Option<Vec<TcpListener>>>,
}

impl Transports {
    /// Binds every listener for `workers` workers. Port 0 is any free one, the same for all workers. Nothing is served before
    /// [`WorkerSockets::open`].
    ///
    /// # Errors
    /// An address cannot be had, a transport is not spoken here, a limit is too small; the error names which.
    pub fn bind(
        listen: &[ListenConfig],
        config: &Config,
        workers: usize,
        metrics: Metrics,
    ) -> Result<(Arc<Self>, Vec<WorkerSockets>), Error> {
        config.validate()?;
        let workers = workers.max(1);
        let (commands, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let mut sockets: Vec<WorkerSockets> = receivers
            .into_iter()
            .zip(&commands)
            .enumerate()
            .map(|(index, (receiver, sender))| WorkerSockets::new(index, sender.clone(), receiver))
            .collect();
        let mut listeners = Vec::with_capacity(listen.len());
        let mut datagrams = Vec::with_capacity(listen.len());
        let mut accepting = Vec::new();
        for (index, listen) in listen.iter().enumerate() {
            listen.validate()?;
            refuse_shared(listen)?;
            let (address, bound) = bind(listen, config, workers)?;
            let named = |source| Error::Bind { transport: listen.transport, address, source };
            let mut datagram = None;
            match bound {
                Bound::Udp(bound) => {
                    datagram = bound.first().map(UdpSocket::try_clone).transpose().map_err(named)?;
                    sockets.iter_mut().zip(bound).for_each(|(worker, socket)| worker.add_udp(index, socket));
                }
                Bound::Tcp(bound) => {
                    for (worker, socket) in sockets.iter_mut().zip(bound) {
                        accepting.push(socket.try_clone().map_err(named)?);
                        worker.add_tcp(address, socket);
                    }
                }
            }
            datagrams.push(datagram);
            listeners.push(Listener::new(index, listen, address)?);
        }
        let listeners = Listeners::new(listeners);
        let transports = Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            config: config.clone(),
            limits: config.message_limits(),
            names: listeners.names()?,
            listeners,
            tcp: Connections::new(Transport::Tcp, config, metrics.connections(Transport::Tcp)),
            upgrades: Upgrades::default(),
            metrics,
            datagrams,
            commands,
            next_worker: AtomicUsize::new(0),
            accepting: Mutex::new(Some(accepting)),
        };
        Ok((Arc::new(transports), sockets))
    }

    /// The listeners as bound, in the order of the configuration.
    pub fn local_addresses(&self) -> Vec<(Transport, SocketAddr)> {
        self.listeners.iter().map(|listener| (listener.transport, listener.address)).collect()
    }

    /// Every host and port that is ours, as of the start: bound and advertised ones, for a wildcard those of all
    /// interfaces, and `localhost` where loopback reaches us. Hosts stand as in URIs: lower case, IPv6 in brackets.
    pub fn listeners(&self) -> Vec<(String, u16)> {
        self.names.clone()
    }

    /// Connections open or being opened.
    pub fn connections(&self) -> usize {
        self.tcp.len()
    }

    /// Stops accepting connections: from now on the system refuses them. Open ones and UDP go on, so that transactions
    /// under way come to their end.
    pub fn close_listeners(&self) {
        let Some(listeners) = self.accepting.lock().take() else { return };
        for listener in listeners {
            // Ends the listening at once, for whoever holds the socket; merely closing ours would not.
            if let Err(error) = SockRef::from(&listener).shutdown(Shutdown::Both) {
                tracing::debug!(%error, "listener");
            }
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.accepting.lock().is_none()
    }

    /// Gives a message to the handler. A panic there is a fault of ours that one message uncovers: it costs that message,
    /// not the socket's task.
    pub(crate) fn deliver(&self, handler: &impl Handler, now: Instant, framed: Framed, source: &Flow) {
        if catch_unwind(AssertUnwindSafe(|| handler.on_message(now, framed, source))).is_err() {
            self.metrics.dropped("panic");
            tracing::error!(peer = %source.remote, "a message was dropped: its handling panicked");
        }
    }

    /// Learns routes, our addresses and the peers' transports anew. One worker calls this now and then.
    pub(crate) fn forget(&self) {
        self.listeners.forget_routes();
        self.upgrades.forget();
    }

    fn send_datagram(&self, flow: &Flow, bytes: Bytes, client: Option<ClientId>) -> Result<(), Unreachable> {
        let listener = self.listeners.of(flow).ok_or(Unreachable::NoSocket)?;
        let datagram = Datagram { to: flow.remote, bytes, client };
        let Err(datagram) = Local::push(self.id, listener.index, datagram) else { return Ok(()) };
        let socket =
            self.datagrams.get(listener.index).and_then(Option::as_ref).ok_or(Unreachable::NoSocket)?;
        send_now(socket, &datagram, &self.metrics).map_err(|_| Unreachable::NoSocket)
    }

    fn send_stream(&self, flow: &Flow, bytes: Bytes, client: Option<ClientId>) -> Result<(), Unreachable> {
        if flow.connection != Connection::NONE {
            let connection = self.tcp.find(flow.connection).ok_or(Unreachable::Closed)?;
            return connection.send(bytes, client).inspect_err(|error| self.count(*error));
        }
        let listener = self.listeners.of(flow).ok_or(Unreachable::NoSocket)?;
        let worker = || {
            Local::worker(self.id)
                .unwrap_or_else(|| self.next_worker.fetch_add(1, Ordering::Relaxed) % self.commands.len())
        };
        // RFC 3261 §18.1.1: a connection to that address and port is used again, whoever opened it. Between finding and
        // sending it may end; then another is opened.
        let mut bytes = Some(bytes);
        for last in [false, true] {
            let begun = self.tcp.reuse_or_begin(worker, listener.address, flow.remote);
            let (connection, is_new) = begun.map_err(|limit| {
                self.metrics.dropped(limit);
                Unreachable::QueueFull
            })?;
            let attempt = if last { bytes.take() } else { bytes.clone() };
            match connection.send(attempt.unwrap_or_default(), client) {
                Err(Unreachable::Closed) if !last => continue,
                Ok(()) if is_new => return self.open(connection),
                outcome => {
                    if is_new {
                        // Not even the first message fits: nobody opens it.
                        connection.close();
                        self.tcp.remove(&connection);
                    }
                    return outcome.inspect_err(|error| self.count(*error));
                }
            }
        }
        Err(Unreachable::Closed)
    }

    fn count(&self, error: Unreachable) {
        if error == Unreachable::QueueFull {
            self.metrics.dropped("connection_queue_bytes_max");
        }
    }

    /// Has a connection opened by its worker.
    fn open(&self, connection: Arc<crate::tcp::Connection>) -> Result<(), Unreachable> {
        let commands = self.commands.get(connection.worker).ok_or(Unreachable::Closed)?;
        commands.send(Command::Open(connection)).map_err(|mpsc::error::SendError(command)| {
            // The worker has ended.
            if let Command::Open(connection) = command {
                connection.close();
                self.tcp.remove(&connection);
            }
            Unreachable::Closed
        })
    }
}

impl Network for Transports {
    /// UDP: on a worker's thread the datagram joins the worker's outbox, elsewhere it is sent at once. TCP: on the flow's
    /// connection; without one, on any connection with that peer, or on one that is opened now.
    fn send(&self, flow: &Flow, bytes: Bytes, client: Option<ClientId>) -> Result<(), Unreachable> {
        match flow.transport {
            Transport::Udp => self.send_datagram(flow, bytes, client),
            Transport::Tcp => self.send_stream(flow, bytes, client),
            Transport::Tls | Transport::Ws | Transport::Wss => Err(Unreachable::NoSocket),
        }
    }

    fn locate(&self, uri: &Uri<'_>, octets: usize) -> Result<Hop, LocateError> {
        self.hop(uri, octets)
    }

    fn sent_by(&self, flow: &Flow) -> Arc<str> {
        self.listeners.sent_by(flow)
    }

    fn is_alive(&self, flow: &Flow) -> bool {
        match flow.transport {
            Transport::Udp => true,
            _ if flow.connection == Connection::NONE => self.listeners.of(flow).is_some(),
            _ => self.tcp.find(flow.connection).is_some_and(|connection| connection.is_alive()),
        }
    }
}

impl std::fmt::Debug for Transports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transports").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

/// Says which listener a failure belongs to.
pub(crate) fn run_error(transport: Transport, address: SocketAddr) -> impl Fn(io::Error) -> Error {
    move |source| Error::Run { transport, address, source }
}
