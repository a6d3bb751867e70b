//! UDP: each worker has a socket of its own for each listener (SO_REUSEPORT), and the system spreads the peers over them.

mod batch;
mod icmp;
mod outbox;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use sip_message::Framed;
use sip_service::{Connection, Flow};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use crate::listener::Listener;
use crate::worker::local::Local;
use crate::{Handler, Transports};
pub(crate) use batch::ReceiveBatches;
pub(crate) use icmp::report_errors;
pub(crate) use outbox::{Datagram, Outbox, send_now};

/// Receives on one socket until it is aborted: a batch at a time, each followed by what was sent meanwhile.
pub(crate) async fn receive<H: Handler>(
    transports: Arc<Transports>,
    local: u64,
    listener: usize,
    socket: Arc<UdpSocket>,
    handler: Arc<H>,
) {
    let Some(listener) = transports.listeners.iter().nth(listener) else { return };
    loop {
        let ready = match socket.ready(Interest::READABLE | Interest::ERROR).await {
            Ok(ready) => ready,
            Err(error) => {
                // Only if the runtime is shutting down.
                tracing::debug!(address = %listener.address, %error, "socket abandoned");
                return;
            }
        };
        let now = Instant::now();
        Local::batch(local, &*handler, now, |local| {
            receive_batch(&transports, local, listener, &socket, &*handler, now);
            if ready.is_error() {
                clear_error_readiness(&socket);
                report_errors(&*socket, |client| local.unreachable(client));
            }
        });
    }
}

fn receive_batch<H: Handler>(
    transports: &Arc<Transports>,
    local: &Local,
    listener: &Listener,
    socket: &UdpSocket,
    handler: &H,
    now: Instant,
) {
    let mut batches = local.receive_batches();
    let batch = batches.of_family(listener.address.is_ipv4());
    // A batch that is not full emptied the socket: telling the runtime so saves the call that would find nothing. What
    // comes after it raises a new event. After an error, there may well be more. Where all that there is is an error, the
    // runtime calls nothing.
    let mut outcome = Err(io::ErrorKind::WouldBlock.into());
    let _readiness = socket.try_io(Interest::READABLE, || {
        outcome = batch.receive(socket);
        match &outcome {
            Ok(()) if !batch.is_full() => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::WouldBlock.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    });
    if let Err(error) = outcome {
        if error.kind() != io::ErrorKind::WouldBlock {
            // IP_RECVERR: the error of an earlier datagram, whose details are in the error queue.
            tracing::trace!(address = %listener.address, %error, "receive");
            report_errors(socket, |client| local.unreachable(client));
        }
        return;
    }
    for (octets, remote) in batch.take() {
        let flow = Flow {
            transport: listener.transport,
            local: listener.address,
            remote,
            connection: Connection::NONE,
        };
        match Framed::datagram(octets, &transports.limits) {
            // RFC 5626 §4.4.1: over UDP there is no answer to CRLF.
            Framed::Ping | Framed::Pong => {}
            framed => transports.deliver(handler, now, framed, &flow),
        }
    }
}

/// The error queue is about to be read: only a new error shall wake us again.
fn clear_error_readiness(socket: &UdpSocket) {
    let _cleared: io::Result<()> = socket.try_io(Interest::ERROR, || Err(io::ErrorKind::WouldBlock.into()));
}

/// Flushes one socket's outbox whenever something was put there outside a batch, or once a full send buffer has room.
pub(crate) async fn flush<H: Handler>(
    local: u64,
    listener: usize,
    socket: Arc<UdpSocket>,
    wake: Arc<Notify>,
    handler: Arc<H>,
) {
    loop {
        wake.notified().await;
        while Local::flush(local, listener, &*handler, Instant::now()) {
            // The runtime does not know that the buffer is full: nothing but this tells it.
            let _cleared: io::Result<()> =
                socket.try_io(Interest::WRITABLE, || Err(io::ErrorKind::WouldBlock.into()));
            if socket.writable().await.is_err() {
                return;
            }
        }
    }
}
