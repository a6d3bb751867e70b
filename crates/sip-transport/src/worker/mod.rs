//! One worker: a thread with a single-threaded runtime, its sockets, and the tasks on them.

pub(crate) mod local;

use std::future::Future;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_message::Transport;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::local::Local;
use crate::bind::{drop_waiting, listen};
use crate::tcp::{self, Command};
use crate::transports::run_error;
use crate::udp::{self, Outbox};
use crate::{Error, Handler, Transports};

/// Between two calls of [`Handler::on_tick`].
const TICK: Duration = Duration::from_millis(10);
/// Ticks after which what was learnt about routes and peers is learnt anew: a minute.
const FORGET_TICKS: u64 = 6_000;
/// How long a stopping worker waits for its connections to write what waits and close.
const STOP: Duration = Duration::from_secs(3);

/// One worker's sockets, bound: to be opened, and given to [`run_worker`] on its thread.
pub struct WorkerSockets {
    index: usize,
    /// By listener.
    udp: Vec<(usize, UdpSocket)>,
    /// By the listener's address.
    tcp: Vec<(SocketAddr, TcpListener)>,
    sender: mpsc::UnboundedSender<Command>,
    commands: mpsc::UnboundedReceiver<Command>,
}

impl WorkerSockets {
    pub(crate) const fn new(
        index: usize,
        sender: mpsc::UnboundedSender<Command>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self { index, udp: Vec::new(), tcp: Vec::new(), sender, commands }
    }

    pub(crate) fn add_udp(&mut self, listener: usize, socket: UdpSocket) {
        self.udp.push((listener, socket));
    }

    pub(crate) fn add_tcp(&mut self, address: SocketAddr, listener: TcpListener) {
        self.tcp.push((address, listener));
    }

    /// From now on what comes is served: connections are accepted, which the system refused until now, and datagrams that
    /// came before are dropped. Who sent them sends them again (RFC 3261 §17.1.1.2, §17.1.2.2), or has turned to another
    /// server since, and would be surprised if they were carried out after what that one did.
    ///
    /// # Errors
    /// The system does not let a socket listen, as another process does on the same port.
    pub fn open(&self) -> Result<(), Error> {
        for (address, listener) in &self.tcp {
            let transport = Transport::Tcp;
            listen(listener).map_err(|source| Error::Bind { transport, address: *address, source })?;
        }
        let dropped: u32 = self.udp.iter().map(|(_, socket)| drop_waiting(socket)).sum();
        if dropped > 0 {
            tracing::info!(
                worker = self.index,
                datagrams = dropped,
                "what came before the start is not carried out"
            );
        }
        Ok(())
    }

    /// Which worker this is, counted from 0.
    pub const fn index(&self) -> usize {
        self.index
    }
}

impl std::fmt::Debug for WorkerSockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerSockets").field("index", &self.index).finish_non_exhaustive()
    }
}

/// Receives, sends and ticks until `shutdown` resolves; then writes what waits and closes the worker's connections, within
/// three seconds.
///
/// # Errors
/// A socket cannot be given to the runtime.
///
/// # Panics
/// On a multi-threaded runtime: a worker's outboxes belong to its thread.
pub async fn run_worker<H: Handler>(
    sockets: WorkerSockets,
    transports: Arc<Transports>,
    handler: Arc<H>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    assert_eq!(
        Handle::current().runtime_flavor(),
        RuntimeFlavor::CurrentThread,
        "a worker runs on a current_thread runtime"
    );
    let WorkerSockets { index, udp, tcp, sender, mut commands } = sockets;
    let mut services = JoinSet::new();
    let _registered = begin_udp(&mut services, index, udp, &transports, &handler)?;
    for (address, listener) in tcp {
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(run_error(Transport::Tcp, address))?;
        services.spawn(tcp::accept(Arc::clone(&transports), index, address, listener, sender.clone()));
    }
    let mut connections = JoinSet::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut until_forget = FORGET_TICKS;
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            _ = ticks.tick() => {
                let now = Instant::now();
                Local::batch(transports.id, &*handler, now, |_| handler.on_tick(now));
                until_forget -= 1;
                if until_forget == 0 {
                    until_forget = FORGET_TICKS;
                    if index == 0 {
                        transports.forget();
                    }
                }
            }
            Some(command) = commands.recv() => begin_connection(&mut connections, command, &transports, &handler),
            Some(ended) = connections.join_next() => report_panic(ended),
            Some(ended) = services.join_next() => report_panic(ended),
        }
    }
    services.shutdown().await;
    stop(index, &transports, &mut commands, &mut connections, &handler).await;
    Ok(())
}

/// Makes this thread a worker, with a task that receives and one that flushes for each UDP socket.
fn begin_udp<H: Handler>(
    services: &mut JoinSet<()>,
    index: usize,
    sockets: Vec<(usize, UdpSocket)>,
    transports: &Arc<Transports>,
    handler: &Arc<H>,
) -> Result<local::Registered, Error> {
    let id = transports.id;
    let mut outboxes: Vec<_> = transports.listeners.iter().map(|_| None).collect();
    for (listener, socket) in sockets {
        let address = transports.listeners.iter().nth(listener).map_or(([0; 4], 0).into(), |l| l.address);
        let socket = tokio::net::UdpSocket::from_std(socket).map_err(run_error(Transport::Udp, address))?;
        let socket = Arc::new(socket);
        let wake = Arc::new(Notify::new());
        let max = transports.config.udp_queue_datagrams_max;
        let outbox = Outbox::new(Arc::clone(&socket), max, Arc::clone(&wake), transports.metrics.clone());
        if let Some(place) = outboxes.get_mut(listener) {
            *place = Some(outbox);
        }
        services.spawn(udp::flush(id, listener, Arc::clone(&socket), wake, Arc::clone(handler)));
        services.spawn(udp::receive(Arc::clone(transports), id, listener, socket, Arc::clone(handler)));
    }
    Ok(Local::register(id, index, outboxes))
}

fn begin_connection<H: Handler>(
    connections: &mut JoinSet<()>,
    command: Command,
    transports: &Arc<Transports>,
    handler: &Arc<H>,
) {
    let (transports, handler) = (Arc::clone(transports), Arc::clone(handler));
    match command {
        Command::Serve(connection, stream) => {
            connections.spawn(tcp::serve(transports, connection, stream, handler));
        }
        Command::Open(connection) => {
            connections.spawn(tcp::open(transports, connection, handler));
        }
    }
}

/// Sends what the outboxes hold, and closes the worker's connections once they have written what waits.
async fn stop<H: Handler>(
    index: usize,
    transports: &Arc<Transports>,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    connections: &mut JoinSet<()>,
    handler: &Arc<H>,
) {
    Local::batch(transports.id, &**handler, Instant::now(), |_| {});
    // A sender now learns that nobody opens connections any more.
    commands.close();
    while let Ok(Command::Serve(connection, _) | Command::Open(connection)) = commands.try_recv() {
        connection.close();
        transports.tcp.remove(&connection);
    }
    for connection in transports.tcp.of_worker(index) {
        connection.finish();
    }
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP, all_ended).await.is_err() {
        tracing::warn!(worker = index, "connections cut off at the end");
    }
    connections.shutdown().await;
    for connection in transports.tcp.of_worker(index) {
        connection.close();
        transports.tcp.remove(&connection);
    }
}

fn report_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a transport task failed");
    }
}
