//! The connection over which the peer tells what it has and what changes there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use repro_sync::{Backoff, ClientOutput, ClientSession, Closed, Event};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::import::Back;
use super::{CONNECT_TIMEOUT, READ_BYTES, Shared, at, until_true, watch_over};
use crate::state::unix_ms;

/// How long octets may wait to be sent: the request is all there is, and keep-alives.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("this node stops")]
    Stopped,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// Keeps connected until it is time to close.
pub(super) async fn keep_connected(shared: Arc<Shared>) {
    let mut closing = shared.closing.clone();
    let mut backoff = Backoff::default();
    // Said once, until it is connected again.
    let mut is_down_said = false;
    loop {
        // On a task of its own: a panic there ends the connection alone.
        let mut reading = JoinSet::new();
        reading.spawn(read(Arc::clone(&shared)));
        let end = tokio::select! {
            Some(end) = reading.join_next() => end.unwrap_or_else(|error| End::Io(io::Error::other(error))),
            () = until_true(&mut closing) => End::Stopped,
        };
        shared.agenda.unheard();
        if shared.is_reading.swap(false, Ordering::Relaxed) {
            is_down_said = false;
            // Merely being connected would prove nothing.
            backoff.reset();
        }
        shared.has_tried.store(true, Ordering::Relaxed);
        let pause = match &end {
            End::Stopped => return,
            End::Closed(Closed::Refused { .. }) => backoff.pause_refused(&mut rand::rng()),
            End::Closed(_) | End::Io(_) => backoff.pause(&mut rand::rng()),
        };
        if !std::mem::replace(&mut is_down_said, true) {
            tracing::warn!(peer = %shared.options.node, error = %end, "repro is not connected: what changes there is not heard");
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = until_true(&mut closing) => return,
        }
    }
}

/// One connection, from its beginning to its end.
async fn read(shared: Arc<Shared>) -> End {
    match connect(&shared).await {
        Ok(stream) => listen(&shared, stream).await.err().unwrap_or(End::Stopped),
        Err(error) => End::Io(error),
    }
}

/// Tries each address of the peer.
async fn connect(shared: &Shared) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let Some(peer) = &shared.options.address else { return Err(last) };
    for address in shared.look_up(&peer.host, peer.port).await? {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                watch_over(&stream)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(elapsed) => last = elapsed.into(),
        }
    }
    Err(last)
}

async fn listen(shared: &Shared, mut stream: TcpStream) -> Result<(), End> {
    let (mut session, first) = ClientSession::connect(shared.limits, Instant::now());
    let mut outputs = vec![first];
    let mut octets = vec![0; READ_BYTES];
    loop {
        let mut events = Vec::new();
        for output in outputs {
            match output {
                ClientOutput::Event(event) => events.push(event),
                other => {
                    take(shared, &mut events);
                    act(shared, &mut stream, other).await?;
                }
            }
        }
        take(shared, &mut events);
        outputs = tokio::select! {
            count = stream.read(&mut octets) => match count? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => session.receive(octets.get(..count).unwrap_or_default(), Instant::now()),
            },
            () = at(session.deadline()) => session.wake(Instant::now()).into_iter().collect(),
        };
    }
}

/// Takes what was said so far.
fn take(shared: &Shared, events: &mut Vec<Event>) {
    let back = Back { agenda: &shared.agenda, scribe: &shared.scribe };
    for untaken in shared.importer.take(Instant::now(), unix_ms(), events, &back) {
        shared.owners.replica.metrics().unreadable();
        tracing::debug!(error = %untaken, "something that repro says is not taken");
    }
    events.clear();
}

async fn act(shared: &Shared, stream: &mut TcpStream, output: ClientOutput) -> Result<(), End> {
    match output {
        ClientOutput::Send(octets) => {
            timeout(SEND_TIMEOUT, stream.write_all(octets)).await.map_err(io::Error::from)??;
        }
        ClientOutput::Unreadable(error) => {
            shared.owners.replica.metrics().unreadable();
            tracing::warn!(%error, "a message of repro is not readable");
        }
        ClientOutput::DumpComplete => {
            shared.is_reading.store(true, Ordering::Relaxed);
            shared.has_tried.store(true, Ordering::Relaxed);
            tracing::info!(peer = %shared.options.node, "repro has told all that it has");
        }
        ClientOutput::Close(closed) => return Err(closed.into()),
        // They are taken together.
        ClientOutput::Event(_) => {}
    }
    Ok(())
}
