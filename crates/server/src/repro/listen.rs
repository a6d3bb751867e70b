//! The readers of this node: the peer, or somebody on its machine who looks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use repro_sync::{Closed, Event, ServerOutput, ServerSession};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::scribe::Dump;
use super::{READ_BYTES, Shared, at, until_true, watch_over};
use crate::state::unix_ms;

/// Connections at once; the oldest gives way to one more, as one whose machine is gone is noticed late.
const READERS_MAX: usize = 8;
/// Connections at once, with those of which it is not known yet whose they are; one more is closed.
const CONNECTIONS_MAX: usize = 64;
/// Refusals are logged once in so long.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
/// After the system could not accept: it has no more descriptors, say.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// One connection.
pub(super) struct Reader {
    session: Mutex<ServerSession>,
    wake: Notify,
    is_cut: AtomicBool,
}

impl Reader {
    /// Says something, if the reader has asked for what changes.
    pub(super) fn tell(&self, event: &Event) {
        if let Err(closed) = self.session.lock().live(event) {
            tracing::warn!(error = %closed, "repro does not read what it is told: it is to ask for all");
            self.cut();
        }
        self.wake.notify_one();
    }

    /// Closes it.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Whether it has asked, and was granted.
    pub(super) fn is_granted(&self) -> bool {
        self.session.lock().is_granted()
    }

    /// Whether it has had all that there was.
    pub(super) fn is_live(&self) -> bool {
        self.session.lock().is_live()
    }

    /// Whether nothing waits for it.
    pub(super) fn is_idle(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed) || self.session.lock().pending().is_empty()
    }
}

/// Takes connections of the peer until it is time to close.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut closing = shared.closing.clone();
    let mut reading = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                // Whoever is not the peer is turned away soon.
                Ok(_) if reading.len() >= CONNECTIONS_MAX => {}
                Ok((stream, from)) => {
                    reading.spawn(take(Arc::clone(&shared), stream, from));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            },
            Some(ended) = reading.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a reader ended by a panic");
                }
            }
            () = until_true(&mut closing) => break,
        }
    }
    drop(listener);
    while reading.join_next().await.is_some() {}
}

async fn take(shared: Arc<Shared>, stream: TcpStream, from: SocketAddr) {
    let ip = from.ip().to_canonical();
    if !is_peer(&shared, ip).await {
        shared.owners.replica.metrics().refused("address");
        if shared.complaints.is_due(Instant::now()) {
            tracing::warn!(%from, "a connection was refused: it is not from the address of the repro peer");
        }
        return;
    }
    if let Err(error) = watch_over(&stream) {
        tracing::debug!(%from, %error, "a connection is gone already");
        return;
    }
    let session = Mutex::new(ServerSession::accept(shared.limits, Instant::now()));
    let reader = Arc::new(Reader { session, wake: Notify::new(), is_cut: AtomicBool::new(false) });
    {
        let mut readers = shared.readers.lock();
        if readers.len() >= READERS_MAX {
            readers.remove(0).cut();
            shared.owners.replica.metrics().refused("readers_max");
        }
        readers.push(Arc::clone(&reader));
    }
    let mut is_told = false;
    let end = serve(&shared, &reader, &stream, &mut is_told).await;
    shared.readers.lock().retain(|other| !Arc::ptr_eq(other, &reader));
    if is_told {
        shared.agenda.reader_went();
    }
    match end {
        End::Stopped => {}
        End::Cut => tracing::info!(%from, "a reader was cut"),
        End::Gone => tracing::info!(%from, "a reader is gone"),
        End::Closed(closed) => tracing::warn!(%from, error = %closed, "a reader was turned away"),
    }
}

/// Whether a connection is of the machine that the peer is on.
async fn is_peer(shared: &Shared, ip: IpAddr) -> bool {
    let options = &shared.options;
    let host = options.from.as_deref().or(options.address.as_ref().map(|peer| peer.host.as_str()));
    let Some(host) = host else { return false };
    match shared.look_up(host, 0).await {
        Ok(found) => found.iter().any(|address| address.ip().to_canonical() == ip),
        Err(error) => {
            tracing::warn!(host, %error, "the repro peer cannot be looked up");
            false
        }
    }
}

enum End {
    Stopped,
    Cut,
    Gone,
    Closed(Closed),
}

async fn serve(shared: &Shared, reader: &Reader, stream: &TcpStream, is_told: &mut bool) -> End {
    let mut closing = shared.closing.clone();
    let mut dump: Option<Dump> = None;
    let mut octets = vec![0; READ_BYTES];
    loop {
        if reader.is_cut.load(Ordering::Relaxed) {
            return End::Cut;
        }
        if let Some(closed) = fill(shared, reader, &mut dump) {
            return End::Closed(closed);
        }
        let (is_pending, deadline) = {
            let session = reader.session.lock();
            (!session.pending().is_empty(), session.deadline())
        };
        let interest = if is_pending { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        tokio::select! {
            ready = stream.ready(interest) => {
                let Ok(ready) = ready else { return End::Gone };
                if ready.is_readable() {
                    match stream.try_read(&mut octets) {
                        Ok(0) => return End::Gone,
                        Ok(count) => {
                            let received = octets.get(..count).unwrap_or_default();
                            let outputs = reader.session.lock().receive(received);
                            if let Some(end) = act(shared, outputs, &mut dump, is_told) {
                                return end;
                            }
                        }
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Err(_) => return End::Gone,
                    }
                }
                if ready.is_writable() {
                    let mut session = reader.session.lock();
                    match stream.try_write(session.pending()) {
                        Ok(count) => session.sent(count),
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Err(_) => return End::Gone,
                    }
                }
            }
            () = reader.wake.notified() => {}
            () = at(deadline) => {
                if let Some(ServerOutput::Close(closed)) = reader.session.lock().wake(Instant::now()) {
                    return End::Closed(closed);
                }
            }
            () = until_true(&mut closing) => return End::Stopped,
        }
    }
}

/// Goes on with the dump as far as it is read. Nothing is awaited between the reading of an entry and its place in the queue,
/// so that no later change of it gets before it.
fn fill(shared: &Shared, reader: &Reader, dump: &mut Option<Dump>) -> Option<Closed> {
    let Some(under_way) = dump else { return None };
    while reader.session.lock().wants_dump() {
        let written = match shared.scribe.next(Instant::now(), unix_ms(), under_way) {
            Some((subject, text)) => {
                if let Some(again_at) = text.again_at {
                    shared.agenda.tell_later(again_at, subject);
                }
                let mut session = reader.session.lock();
                text.events.iter().try_for_each(|event| session.dump(event))
            }
            None => {
                *dump = None;
                let completed = reader.session.lock().dump_complete();
                shared.agenda.dumped();
                tracing::info!(peer = %shared.options.node, "repro was told all that is here");
                return completed.err();
            }
        };
        if let Err(closed) = written {
            return Some(closed);
        }
    }
    None
}

fn act(
    shared: &Shared,
    outputs: Vec<ServerOutput>,
    dump: &mut Option<Dump>,
    is_told: &mut bool,
) -> Option<End> {
    for output in outputs {
        match output {
            ServerOutput::SendDump => {
                *dump = Some(Dump::default());
                if !std::mem::replace(is_told, true) {
                    shared.agenda.reader_came();
                }
            }
            ServerOutput::Refused(result) => {
                shared.owners.replica.metrics().refused("version");
                tracing::warn!(
                    code = result.code(),
                    text = result.text(),
                    "a request of the repro peer was refused: expected synchronisation of version 4"
                );
            }
            ServerOutput::Ignored => shared.owners.replica.metrics().unreadable(),
            ServerOutput::Close(closed) => return Some(End::Closed(closed)),
        }
    }
    None
}

/// Says when to complain of connections that came to nothing: not of each, as strangers make them.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Mutex<Option<Instant>>,
}

impl Complaints {
    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.last.lock();
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= COMPLAINT_INTERVAL);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}
