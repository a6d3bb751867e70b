//! Ports of 127.0.0.1 for servers and peers.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

/// Below the ports that the system gives to outgoing connections, so that none of those takes one that we chose.
const FIRST: u32 = 20_000;
const COUNT: u32 = 3_000;
/// baresip takes the port after that of SIP for TLS, SIPp the second after that of audio for video.
const STEP: u32 = 4;

/// A port that is free for both UDP and TCP, and that this process has not been given before. The three after
/// it are never given: the clients of these tests take some of them, too.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test programs that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(97);
    let _nothing_starts = probe_or_start();
    for _ in 0..COUNT {
        let port = FIRST + STEP * (start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT);
        let port = u16::try_from(port)?;
        let address = (Ipv4Addr::LOCALHOST, port);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {FIRST} to {} is free", FIRST + STEP * COUNT - 1)
}

/// Held while a port is looked at, and while a process is started: a process that begins has all our sockets until its own
/// program runs, and a port that was found free would be taken for so long.
pub(crate) fn probe_or_start() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}
