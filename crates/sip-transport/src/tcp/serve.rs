//! The task of one connection: opens it, reads and frames, writes what waits, watches the clock.

use std::io::{self, Read};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_message::{Framed, StreamFramer, Transport};
use sip_service::{Flow, Network};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep_until, timeout};

use super::accept::configure;
use super::connection::{Connection, Queued};
use super::upgrades::downgraded;
use crate::worker::local::Local;
use crate::{Handler, Transports};

/// RFC 5626 §3.5.1: the answer to CRLF CRLF.
const PONG: Bytes = Bytes::from_static(b"\r\n");
/// How long a connection that we close may take to write what waits, and to be read until the peer closes, too: octets
/// left unread would reset it and take our last words with them.
const CLOSE: Duration = Duration::from_secs(2);

/// Opens a connection and serves it. If that fails, the clients of what waits are told (RFC 3261 §18.4).
pub(crate) async fn open<H: Handler>(
    transports: Arc<Transports>,
    connection: Arc<Connection>,
    handler: Arc<H>,
) {
    let flow = connection.flow;
    let connecting = connect(&transports, flow.local.ip(), flow.remote);
    let opened = match timeout(transports.config.connect_timeout(), connecting).await {
        Ok(opened) => opened,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match opened {
        Ok(stream) => {
            let stream = Arc::new(stream);
            if connection.opened(&stream) {
                serve(transports, connection, stream, handler).await;
            } else {
                let queue = connection.close();
                transports.tcp.remove(&connection);
                tell_unsent(&*handler, queue);
            }
        }
        Err(error) => {
            tracing::debug!(peer = %flow.remote, %error, "cannot connect");
            let queue = connection.close();
            transports.tcp.remove(&connection);
            // RFC 3261 §18.1.1 names "ICMP Protocol Not Supported" and a TCP reset.
            let refused = error.kind() == io::ErrorKind::ConnectionRefused
                || error.raw_os_error() == Some(nix::libc::ENOPROTOOPT);
            if refused && transports.upgrades.refuse(flow.remote) {
                tell_unsent(
                    &*handler,
                    queue.into_iter().filter_map(|queued| retry(&transports, &flow, queued)),
                );
            } else {
                tell_unsent(&*handler, queue);
            }
        }
    }
}

/// Connects from the listener's address, so that a peer that looks at it knows us; from any if that is a wildcard.
async fn connect(transports: &Transports, local: IpAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if !local.is_unspecified() {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let stream = socket.connect(remote).await?;
    configure(&stream, &transports.config)?;
    Ok(stream)
}

/// RFC 3261 §18.1.1: sends by UDP what went by TCP for its size alone. Gives back what cannot go.
fn retry(transports: &Transports, flow: &Flow, queued: Queued) -> Option<Queued> {
    let udp = transports.listeners.towards(Transport::Udp, flow.remote.ip())?;
    let flow_by_udp = Flow {
        transport: Transport::Udp,
        local: udp.address,
        connection: sip_service::Connection::NONE,
        ..*flow
    };
    let tcp_sent_by = transports.listeners.sent_by(flow);
    let udp_sent_by = transports.listeners.sent_by(&flow_by_udp);
    let sent = downgraded(&queued.bytes, &tcp_sent_by, &udp_sent_by)
        .is_some_and(|bytes| transports.send(&flow_by_udp, bytes, queued.client).is_ok());
    (!sent).then_some(queued)
}

fn tell_unsent(handler: &impl Handler, queue: impl IntoIterator<Item = Queued>) {
    let now = Instant::now();
    for client in queue.into_iter().filter_map(|queued| queued.client) {
        handler.on_unreachable(now, client);
    }
}

/// Serves an open connection until it ends.
pub(crate) async fn serve<H: Handler>(
    transports: Arc<Transports>,
    connection: Arc<Connection>,
    stream: Arc<TcpStream>,
    handler: Arc<H>,
) {
    let mut task =
        Task { transports, connection, stream, handler, framer: StreamFramer::default(), partial: None };
    let ended = task.run().await;
    let Task { transports, connection, stream, handler, .. } = task;
    tracing::debug!(peer = %connection.flow.remote, reason = ?ended, "connection ends");
    match ended {
        Ended::ByUs => {
            connection.finish();
            // Whether it ends in time or not, it ends.
            let _in_time = timeout(CLOSE, finish(&connection, &stream)).await;
        }
        Ended::MessageTooSlow => transports.metrics.dropped("message_seconds_max"),
        Ended::Idle | Ended::ByPeer => {}
    }
    let unsent = connection.close();
    transports.tcp.remove(&connection);
    tell_unsent(&*handler, unsent);
    handler.on_closed(Instant::now(), &connection.flow);
}

/// Writes what waits, says that no more comes, and reads until the peer says so, too.
async fn finish(connection: &Connection, stream: &TcpStream) -> io::Result<()> {
    while connection.flush(stream)? {
        stream.writable().await?;
    }
    SockRef::from(stream).shutdown(Shutdown::Write)?;
    let mut discarded = [0; 4_096];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut discarded) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The peer closed it, or it broke.
    ByPeer,
    /// We close it: the stream cannot be framed, or we stop.
    ByUs,
    /// `connection_idle_seconds`.
    Idle,
    /// `message_seconds_max`.
    MessageTooSlow,
}

struct Task<H> {
    transports: Arc<Transports>,
    connection: Arc<Connection>,
    stream: Arc<TcpStream>,
    handler: Arc<H>,
    framer: StreamFramer,
    /// Since when a message is incomplete.
    partial: Option<Instant>,
}

impl<H: Handler> Task<H> {
    async fn run(&mut self) -> Ended {
        let idle = self.transports.config.idle();
        let mut active = Instant::now();
        // Set anew only when it rings, or must ring earlier: most messages leave it alone.
        let mut alarm = pin!(sleep_until((active + idle).into()));
        // What waited while the connection was opened.
        let mut waits = true;
        loop {
            if waits {
                match self.connection.flush(&self.stream) {
                    Ok(still) => waits = still,
                    Err(_) => return Ended::ByPeer,
                }
            }
            if !self.connection.is_alive() {
                return if self.connection.is_closing() { Ended::ByUs } else { Ended::ByPeer };
            }
            let interest = if waits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            tokio::select! {
                biased;
                () = self.connection.woken() => waits = self.connection.has_queue(),
                ready = self.stream.ready(interest) => match ready {
                    Ok(ready) if ready.is_readable() || ready.is_read_closed() => {
                        active = Instant::now();
                        if let Some(ended) = self.read(active) {
                            return ended;
                        }
                        if let Some(due) = self.partial.map(|since| since + self.transports.config.message_time())
                            && due < alarm.deadline().into_std()
                        {
                            alarm.as_mut().reset(due.into());
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return Ended::ByPeer,
                },
                () = &mut alarm => {
                    let now = Instant::now();
                    let message_due = self.partial.map(|since| since + self.transports.config.message_time());
                    if message_due.is_some_and(|due| due <= now) {
                        return Ended::MessageTooSlow;
                    }
                    if self.connection.take_sent() {
                        active = now;
                    }
                    let idle_due = active + idle;
                    if idle_due <= now {
                        return Ended::Idle;
                    }
                    alarm.as_mut().reset(message_due.map_or(idle_due, |due| due.min(idle_due)).into());
                }
            }
        }
    }

    /// Reads what is there, up to one buffer, and hands on the messages that are complete.
    fn read(&mut self, now: Instant) -> Option<Ended> {
        let mut ended = None;
        let (id, handler) = (self.transports.id, Arc::clone(&self.handler));
        Local::batch(id, &*handler, now, |local| {
            {
                let mut buffer = local.read_buffer();
                match read_now(&self.stream, &mut buffer) {
                    Ok(Some(0)) | Err(_) => ended = Some(Ended::ByPeer),
                    Ok(Some(octets)) => self.framer.push(buffer.get(..octets).unwrap_or(&[])),
                    Ok(None) => {}
                }
            }
            if ended.is_none() {
                ended = self.deliver(now);
            }
        });
        ended
    }

    fn deliver(&mut self, now: Instant) -> Option<Ended> {
        let Self { transports, connection, handler, framer, .. } = self;
        let mut complete = false;
        loop {
            match framer.next(&transports.limits) {
                Ok(Some(Framed::Ping)) => {
                    // A peer that asks faster than it reads loses the answer, or finds the connection closed.
                    if let Err(error) = connection.send(PONG, None) {
                        tracing::debug!(peer = %connection.flow.remote, %error, "no pong");
                    }
                }
                Ok(Some(Framed::Pong)) => {}
                Ok(Some(framed)) => transports.deliver(&**handler, now, framed, &connection.flow),
                Ok(None) => break,
                Err(malformed) => {
                    // The handler answers, if it can be answered; then no octet of this stream can be trusted.
                    transports.deliver(&**handler, now, Framed::Malformed(malformed), &connection.flow);
                    return Some(Ended::ByUs);
                }
            }
            complete = true;
        }
        self.partial = match self.partial {
            _ if self.framer.pending_bytes() == 0 => None,
            Some(since) if !complete => Some(since),
            _ => Some(now),
        };
        None
    }
}

/// Reads without waiting: `None` if there is nothing. A read that leaves room in the buffer emptied the socket, and the
/// runtime is told so, which saves the call that would find nothing.
fn read_now(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let mut outcome = Ok(None);
    let _readiness = stream.try_io(Interest::READABLE, || {
        let read = (&*SockRef::from(stream)).read(buffer);
        let would_block = || io::Error::from(io::ErrorKind::WouldBlock);
        let (result, readiness) = match read {
            Ok(octets) if octets > 0 && octets < buffer.len() => (Ok(Some(octets)), Err(would_block())),
            Ok(octets) => (Ok(Some(octets)), Ok(())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (Ok(None), Err(error)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (Ok(None), Ok(())),
            Err(error) => (Err(error), Ok(())),
        };
        outcome = result;
        readiness
    });
    outcome
}
