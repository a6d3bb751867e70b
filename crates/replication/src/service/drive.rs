//! A connection under way: octets between the socket and a side of a link.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::driver::{Pace, until_true};
use crate::link::{Broken, OUT_BYTES_MAX, Side};

/// Octets read at a time, at least.
const READ_BYTES: usize = 64 << 10;
/// What was read and is not handed on, as there is too much to be sent already, beyond which nothing is read.
const HELD_BYTES_MAX: usize = 1 << 20;
/// A buffer that is empty is not kept beyond this.
const BUFFER_BYTES_KEPT: usize = 1 << 20;
/// How long a connection that is to be closed may take to send what is left.
const CLOSE: Duration = Duration::from_secs(1);

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// It is of no more use.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The socket, or TLS.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side closed it.
    #[error("the other side closed the connection")]
    Closed,
    /// This node stops.
    #[error("this node stops")]
    Stopped,
}

/// Carries octets until the connection is over. `out` is what `side` has to say already, and `look` is shown it whenever
/// something was taken.
pub(super) async fn drive<S: Side>(
    stream: impl AsyncRead + AsyncWrite,
    side: &mut S,
    mut out: Vec<u8>,
    mut pace: Pace,
    mut look: impl FnMut(&S),
) -> End {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut received = Vec::new();
    let mut sending = Outgoing::default();
    let end = loop {
        sending.take(&mut out);
        let is_held = out.len() > OUT_BYTES_MAX;
        let happened = {
            let has_room = received.len() < HELD_BYTES_MAX || !is_held;
            received.reserve(READ_BYTES);
            tokio::select! {
                read = reader.read_buf(&mut received), if has_room => Happened::Read(read),
                wrote = sending.write(&mut writer), if sending.is_under_way() => Happened::Wrote(wrote),
                changed = pace.wakes.changed() => Happened::Woken(changed.is_ok()),
                () = until_true(&mut pace.closing) => Happened::Closing,
            }
        };
        let now = Instant::now();
        match happened {
            Happened::Read(Ok(0)) => break End::Closed,
            // So it was by whoever died, or was cut off, before it could say so.
            Happened::Read(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break End::Closed,
            Happened::Read(Ok(_)) => side.heard(now),
            Happened::Read(Err(error)) | Happened::Wrote(Err(error)) => break End::Io(error),
            Happened::Wrote(Ok(())) | Happened::Woken(true) => {}
            Happened::Woken(false) | Happened::Closing => break End::Stopped,
        }
        let mut outcome = Ok(());
        if out.len() <= OUT_BYTES_MAX {
            outcome = side.receive(now, (pace.unix_ms)(), &mut received, &mut out);
        }
        let outcome = outcome.and_then(|()| side.push(now, &mut out));
        look(side);
        if let Err(broken) = outcome {
            break End::Broken(broken);
        }
        if received.is_empty() && received.capacity() > BUFFER_BYTES_KEPT {
            received = Vec::new();
        }
    };
    if matches!(end, End::Broken(_) | End::Stopped) {
        // What is left says why, if anything does; who does not take it has lost it.
        let _ = timeout(CLOSE, close(&mut sending, &mut out, &mut writer)).await;
    }
    end
}

enum Happened {
    Read(io::Result<usize>),
    Wrote(io::Result<()>),
    Woken(bool),
    Closing,
}

async fn close(
    sending: &mut Outgoing,
    out: &mut Vec<u8>,
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    loop {
        sending.take(out);
        if !sending.is_under_way() {
            return writer.shutdown().await;
        }
        sending.write(writer).await?;
    }
}

/// Octets on their way into the socket.
#[derive(Debug, Default)]
struct Outgoing {
    octets: Vec<u8>,
    written: usize,
    /// What was written may still be within TLS.
    is_unflushed: bool,
}

impl Outgoing {
    /// Takes what there is to say, if nothing is left from before.
    fn take(&mut self, out: &mut Vec<u8>) {
        if self.written < self.octets.len() || out.is_empty() {
            return;
        }
        self.octets.clear();
        self.written = 0;
        if self.octets.capacity() > BUFFER_BYTES_KEPT {
            self.octets = Vec::new();
        }
        std::mem::swap(&mut self.octets, out);
    }

    fn is_under_way(&self) -> bool {
        self.written < self.octets.len() || self.is_unflushed
    }

    /// Goes on writing; may be dropped at any time.
    async fn write(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if let Some(rest @ [_, ..]) = self.octets.get(self.written..) {
            let written = writer.write(rest).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written += written;
            self.is_unflushed = true;
        } else {
            writer.flush().await?;
            self.is_unflushed = false;
        }
        Ok(())
    }
}
