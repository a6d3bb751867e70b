//! One connection: its state, its queue, and sending on it from any thread.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use sip_service::{Flow, Unreachable};
use sip_transaction::ClientId;
use smallvec::SmallVec;
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Queued messages written in one system call.
const WRITE_SLICES: usize = 32;

/// A connection, shared by its worker and whoever sends on it.
pub(crate) struct Connection {
    pub(crate) flow: Flow,
    /// Whether the peer opened it.
    pub(crate) accepted: bool,
    /// The worker that serves it.
    pub(crate) worker: usize,
    /// `connection_queue_bytes_max`.
    queue_bytes_max: usize,
    state: Mutex<State>,
    /// Wakes the worker's task: there is something to write, or it shall end.
    wake: Notify,
}

struct State {
    phase: Phase,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    /// Something was sent since [`Connection::take_sent`] last asked.
    sent: bool,
}

enum Phase {
    /// Being opened: what is sent waits.
    Connecting,
    Open(Arc<TcpStream>),
    /// Takes nothing more; what waits is still written.
    Closing,
    Closed,
}

/// A message that waits, or what is left of it.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) bytes: Bytes,
    pub(crate) client: Option<ClientId>,
}

impl Connection {
    /// A connection that the peer opened (`Some(stream)`), or that is to be opened.
    pub(crate) fn new(
        flow: Flow,
        worker: usize,
        stream: Option<Arc<TcpStream>>,
        queue_bytes_max: usize,
    ) -> Self {
        let accepted = stream.is_some();
        let phase = stream.map_or(Phase::Connecting, Phase::Open);
        let state = State { phase, queue: VecDeque::new(), queued_bytes: 0, sent: false };
        Self { flow, accepted, worker, queue_bytes_max, state: Mutex::new(state), wake: Notify::new() }
    }

    /// Writes at once if nothing waits, else puts the message behind what does.
    pub(crate) fn send(&self, bytes: Bytes, client: Option<ClientId>) -> Result<(), Unreachable> {
        let mut state = self.state.lock();
        let mut rest = bytes;
        match &state.phase {
            Phase::Closing | Phase::Closed => return Err(Unreachable::Closed),
            Phase::Open(stream) if state.queue.is_empty() => {
                if let Err(error) = write(stream, &mut rest) {
                    tracing::debug!(peer = %self.flow.remote, %error, "connection broke");
                    state.phase = Phase::Closed;
                    self.wake.notify_one();
                    return Err(Unreachable::Closed);
                }
                state.sent = true;
                if rest.is_empty() {
                    return Ok(());
                }
                // The rest of a message that has begun must follow, whatever the limit.
            }
            Phase::Open(_) | Phase::Connecting => {
                if state.queued_bytes.saturating_add(rest.len()) > self.queue_bytes_max {
                    return Err(Unreachable::QueueFull);
                }
            }
        }
        state.queued_bytes += rest.len();
        state.queue.push_back(Queued { bytes: rest, client });
        self.wake.notify_one();
        Ok(())
    }

    /// The connection is open from now on. False if it was closed meanwhile.
    pub(crate) fn opened(&self, stream: &Arc<TcpStream>) -> bool {
        let mut state = self.state.lock();
        let connecting = matches!(state.phase, Phase::Connecting);
        if connecting {
            state.phase = Phase::Open(Arc::clone(stream));
        }
        connecting
    }

    /// Writes what waits, as far as the socket takes it; returns whether something still waits.
    pub(crate) fn flush(&self, stream: &TcpStream) -> io::Result<bool> {
        let mut state = self.state.lock();
        while !state.queue.is_empty() {
            let written = {
                let waiting = state.queue.iter().take(WRITE_SLICES);
                let slices: SmallVec<[IoSlice<'_>; WRITE_SLICES]> =
                    waiting.map(|queued| IoSlice::new(&queued.bytes)).collect();
                stream.try_write_vectored(&slices)
            };
            match written {
                Ok(octets) => state.written(octets),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(!state.queue.is_empty())
    }

    /// Whether something waits to be written.
    pub(crate) fn has_queue(&self) -> bool {
        !self.state.lock().queue.is_empty()
    }

    /// Whether the connection takes messages.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Connecting | Phase::Open(_))
    }

    /// Whether what waits shall still be written before the end.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Closing)
    }

    /// Whether something was sent since the last call.
    pub(crate) fn take_sent(&self) -> bool {
        std::mem::take(&mut self.state.lock().sent)
    }

    /// Takes nothing more; the worker's task writes what waits and ends.
    pub(crate) fn finish(&self) {
        let mut state = self.state.lock();
        state.phase = match std::mem::replace(&mut state.phase, Phase::Closed) {
            Phase::Open(_) => Phase::Closing,
            Phase::Closing => Phase::Closing,
            Phase::Connecting | Phase::Closed => Phase::Closed,
        };
        drop(state);
        self.wake.notify_one();
    }

    /// Ends it; returns what was not written.
    pub(crate) fn close(&self) -> VecDeque<Queued> {
        let mut state = self.state.lock();
        state.phase = Phase::Closed;
        state.queued_bytes = 0;
        std::mem::take(&mut state.queue)
    }

    /// Resolves when there is something new to write, or the connection shall end.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl State {
    fn written(&mut self, mut octets: usize) {
        self.sent = true;
        self.queued_bytes = self.queued_bytes.saturating_sub(octets);
        while let Some(front) = self.queue.front_mut() {
            if octets < front.bytes.len() {
                front.bytes.advance(octets);
                return;
            }
            octets -= front.bytes.len();
            self.queue.pop_front();
        }
    }
}

/// Writes as much of `bytes` as the socket takes, and leaves the rest.
fn write(stream: &TcpStream, bytes: &mut Bytes) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes.advance(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
