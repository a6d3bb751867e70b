//! Connections that other nodes open: what they tell is taken.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::drive::drive;
use super::{HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, Shared};
use crate::driver::{report_panic, until_true};
use crate::link::Receiver;

/// After the system could not accept: it has no more descriptors, say.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Refusals are logged once in so long.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// A handshake that went well, or why it did not.
type Shaken = Result<(TlsStream<TcpStream>, SocketAddr), (io::Error, SocketAddr)>;

/// Takes connections until it is time to close.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut closing = shared.pace.closing.clone();
    let mut handshakes: JoinSet<Shaken> = JoinSet::new();
    // The oldest first: where there are too many it gives way, so that nobody keeps nodes out by merely connecting.
    let mut order: VecDeque<AbortHandle> = VecDeque::new();
    let mut links = JoinSet::new();
    let mut refusals = Refusals::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    if order.len() >= HANDSHAKES_MAX
                        && let Some(oldest) = order.pop_front()
                    {
                        oldest.abort();
                        shared.replica.metrics.refused("handshakes_max");
                    }
                    order.push_back(handshakes.spawn(handshake(Arc::clone(&shared), stream, from)));
                }
                Err(error) => {
                    tracing::debug!(%error, "a node could not be accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            },
            Some(shaken) = handshakes.join_next() => {
                order.retain(|handshake| !handshake.is_finished());
                match shaken {
                    Ok(Ok((stream, from))) => {
                        links.spawn(take(Arc::clone(&shared), stream, from));
                    }
                    Ok(Err((error, from))) => {
                        shared.replica.metrics.refused("handshake");
                        refusals.note(Instant::now(), &error, from);
                    }
                    Err(error) => report_panic(error),
                }
            }
            Some(ended) = links.join_next() => {
                if let Err(error) = ended {
                    report_panic(error);
                }
            }
            () = until_true(&mut closing) => break,
        }
    }
    drop((listener, handshakes));
    while links.join_next().await.is_some() {}
}

async fn handshake(shared: Arc<Shared>, stream: TcpStream, from: SocketAddr) -> Shaken {
    let shake = async {
        stream.set_nodelay(true)?;
        TlsAcceptor::from(Arc::clone(&shared.tls.accepting)).accept(stream).await
    };
    match timeout(HANDSHAKE_TIMEOUT, shake).await {
        Ok(Ok(stream)) => Ok((stream, from)),
        Ok(Err(error)) => Err((error, from)),
        Err(_) => Err((io::ErrorKind::TimedOut.into(), from)),
    }
}

async fn take(shared: Arc<Shared>, stream: TlsStream<TcpStream>, from: SocketAddr) {
    let mut receiver = Receiver::new(Arc::clone(&shared.replica), Instant::now());
    let mut known = None;
    let look = |receiver: &Receiver| {
        let peer = receiver.peer();
        if known != peer {
            known = peer;
            // It is there, so it can be connected to.
            peer.and_then(|at| shared.called.get(at)).inspect(|called| called.notify_one());
        }
    };
    let end = drive(stream, &mut receiver, Vec::new(), shared.pace.clone(), look).await;
    match known.and_then(|at| shared.peers.get(at)) {
        Some(peer) => {
            tracing::debug!(peer = %peer.node, error = %end, "what a peer tells is no longer taken")
        }
        // It has proved that it is one of us: both sides are configured, but not alike.
        None => tracing::warn!(%from, error = %end, "a node was turned away"),
    }
}

/// Complains of connections that came to nothing, but not of each.
#[derive(Debug, Default)]
struct Refusals {
    complained_at: Option<Instant>,
    unsaid: u64,
}

impl Refusals {
    fn note(&mut self, now: Instant, error: &io::Error, from: SocketAddr) {
        if self.complained_at.is_some_and(|at| now.saturating_duration_since(at) < COMPLAINT_INTERVAL) {
            self.unsaid += 1;
            tracing::debug!(%from, %error, "a connection was refused");
            return;
        }
        let more = std::mem::take(&mut self.unsaid);
        tracing::warn!(%from, %error, more, "a connection was refused: it did not prove that it is a node of the cluster");
        self.complained_at = Some(now);
    }
}
