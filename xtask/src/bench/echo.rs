//! For scale: what it costs to receive a datagram and send it back, with nothing in between.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::cpu;

/// About the size of a REGISTER.
const DATAGRAM_BYTES: usize = 500;
/// Datagrams under way at once, as few as a default receive buffer surely holds.
const WINDOW: usize = 16;

/// Processor microseconds per echoed datagram.
pub(crate) fn microseconds(datagrams: usize) -> Result<f64> {
    let server = UdpSocket::bind("127.0.0.1:0")?;
    let address = server.local_addr()?;
    let echo = thread::spawn(move || -> Result<Duration> {
        let before = cpu::thread_time()?;
        let mut buffer = [0; 2048];
        for _ in 0..datagrams {
            let (length, peer) = server.recv_from(&mut buffer)?;
            server.send_to(&buffer[..length], peer)?;
        }
        Ok(cpu::thread_time()? - before)
    });
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.connect(address)?;
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut buffer = [0; 2048];
    let mut sent = 0;
    for received in 0..datagrams {
        while sent < datagrams && sent - received < WINDOW {
            client.send(&[b'x'; DATAGRAM_BYTES])?;
            sent += 1;
        }
        client.recv(&mut buffer).context("a datagram of the echo was lost")?;
    }
    let used = echo.join().map_err(|_| anyhow!("the echo thread panicked"))??;
    Ok(used.as_secs_f64() * 1e6 / datagrams as f64)
}
