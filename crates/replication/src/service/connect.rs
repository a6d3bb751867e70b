//! The connection that this node opens to each peer: what changes here is told over it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::drive::{End, drive};
use super::{HANDSHAKE_TIMEOUT, Peer, Shared};
use crate::backoff::Backoff;
use crate::driver::{unless, until_true};
use crate::link::Sender;

/// For a name to be looked up, and for each of its addresses to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that told as long as this was a good one.
const GOOD: Duration = Duration::from_secs(1);

/// Keeps connected with a peer until it is time to close.
pub(super) async fn keep_connected(shared: Arc<Shared>, at: usize) {
    let (Some(peer), Some(called), Some(telling)) =
        (shared.peers.get(at), shared.called.get(at), shared.telling.get(at))
    else {
        return;
    };
    let mut closing = shared.pace.closing.clone();
    let mut backoff = Backoff::new();
    // Said once, until it is connected again.
    let mut is_down_said = false;
    loop {
        let began = Instant::now();
        let end = match unless(&mut closing, open(&shared, peer)).await {
            None => return,
            Some(Ok(stream)) => tell(&shared, at, stream).await,
            Some(Err(error)) => End::Io(error),
        };
        if matches!(end, End::Stopped) {
            return;
        }
        if telling.swap(false, Ordering::Relaxed) {
            is_down_said = false;
            if began.elapsed() >= GOOD {
                backoff.reset();
            }
        }
        if !std::mem::replace(&mut is_down_said, true) {
            tracing::warn!(peer = %peer.node, error = %end, "a peer is not connected: it is not told what changes here");
        }
        tokio::select! {
            () = sleep(backoff.next(rand::random())) => {}
            () = called.notified() => backoff.reset(),
            () = until_true(&mut closing) => return,
        }
    }
}

/// Tells a peer until the connection is over, on a task of its own: a panic there ends the connection alone.
async fn tell(shared: &Arc<Shared>, at: usize, stream: TlsStream<TcpStream>) -> End {
    let shared = Arc::clone(shared);
    let told = tokio::spawn(async move {
        let mut out = Vec::new();
        let mut sender = Sender::new(Arc::clone(&shared.replica), at, Instant::now(), &mut out);
        let look = |sender: &Sender| {
            if let Some(telling) = shared.telling.get(at)
                && sender.is_telling()
            {
                telling.store(true, Ordering::Relaxed);
            }
        };
        drive(stream, &mut sender, out, shared.pace.clone(), look).await
    });
    told.await.unwrap_or_else(|error| End::Io(io::Error::other(error)))
}

/// Tries each address of a peer.
async fn open(shared: &Shared, peer: &Peer) -> io::Result<TlsStream<TcpStream>> {
    let unusable = || io::Error::new(io::ErrorKind::InvalidInput, "no certificate can be for this host");
    let name = shared.tls.name(&peer.host).ok_or_else(unusable)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in timeout(CONNECT_TIMEOUT, lookup_host((peer.host.as_str(), peer.port))).await?? {
        let open = async {
            let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
            stream.set_nodelay(true)?;
            let connector = TlsConnector::from(Arc::clone(&shared.tls.connecting));
            timeout(HANDSHAKE_TIMEOUT, connector.connect(name.clone(), stream)).await?
        };
        match open.await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
