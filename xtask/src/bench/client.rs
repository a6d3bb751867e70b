//! A client that is fast because it does little: it keeps a window of requests under way and answers what comes in.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::message::{Incoming, ok};

/// Requests under way at once.
const WINDOW: usize = 64;
/// After so long a silence what is under way is sent again (RFC 3261 §17.1.2.2 timer E).
const SILENCE: Duration = Duration::from_millis(500);
/// Silences in a row until we give up.
const SILENCES_MAX: u32 = 20;
/// Octets of the socket's receive buffer.
const BUFFER_BYTES: usize = 4 << 20;

/// A UDP socket towards the server.
pub(crate) struct Client {
    pub(crate) socket: UdpSocket,
    pub(crate) port: u16,
}

impl Client {
    pub(crate) fn new(server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        // Root may exceed the system's limit; for others the limit has to do.
        let force = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES);
        if force.is_err() {
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, BUFFER_BYTES)?;
        }
        let port = socket.local_addr()?.port();
        Ok(Self { socket, port })
    }

    /// Sends `request(0)` … `request(count - 1)`, whose Call-IDs end in `-INDEX`, and waits for a 200 to each and, if
    /// `notified`, for a NOTIFY in each dialog. Returns how many datagrams had to be sent again.
    ///
    /// # Errors
    /// Another final response than 200, or none.
    pub(crate) fn run(&self, count: usize, notified: bool, request: impl Fn(usize) -> String) -> Result<u64> {
        self.socket.set_read_timeout(Some(SILENCE))?;
        let mut pending: BTreeMap<usize, Pending> = BTreeMap::new();
        let (mut next, mut resent, mut silences) = (0, 0, 0);
        let mut buffer = vec![0; 65_536];
        while next < count || !pending.is_empty() {
            while next < count && pending.len() < WINDOW {
                let text = request(next);
                self.socket.send(text.as_bytes())?;
                pending.insert(next, Pending { text, answered: false, notified: !notified });
                next += 1;
            }
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    silences += 1;
                    ensure!(silences < SILENCES_MAX, "{} requests stay without an answer", pending.len());
                    for request in pending.values().filter(|request| !request.answered) {
                        self.socket.send(request.text.as_bytes())?;
                        resent += 1;
                    }
                    continue;
                }
                Err(error) => return Err(error).context("the server is gone"),
            };
            silences = 0;
            let Some(incoming) = Incoming::parse(&buffer[..length]) else { bail!("the server sent no SIP") };
            match incoming.status {
                Some(100..200) => continue,
                Some(200) => {}
                Some(_) => bail!("expected 200, got {}", incoming.head),
                None => {
                    self.socket.send(&ok(&incoming))?;
                }
            }
            // What was sent twice is answered twice: by then it is no longer pending.
            let Some(index) = incoming.index() else { continue };
            let Some(request) = pending.get_mut(&index) else { continue };
            match incoming.status {
                Some(_) => request.answered = true,
                None => request.notified = true,
            }
            if request.answered && request.notified {
                pending.remove(&index);
            }
        }
        Ok(resent)
    }
}

struct Pending {
    text: String,
    answered: bool,
    notified: bool,
}
