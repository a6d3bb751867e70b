//! Sending up to 32 datagrams in one system call.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use bytes::Bytes;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg, sendto};
use sip_transaction::ClientId;
use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::Metrics;

/// Datagrams of one call.
const BATCH: usize = 32;
/// Datagrams at which an outbox is flushed without waiting for the end of the batch.
const OUTBOX_DATAGRAMS: usize = 64;

/// A datagram to be sent: its octets are shared with whoever may have to send them again.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Bytes,
    pub(crate) client: Option<ClientId>,
}

/// Something that datagrams are sent on: a socket, or in tests one that is full.
pub(crate) trait Wire {
    /// Sends the first few of `datagrams` and returns how many went.
    fn send(&self, datagrams: &[Datagram]) -> Result<usize, Errno>;
}

impl<S: AsFd> Wire for Arc<S> {
    fn send(&self, datagrams: &[Datagram]) -> Result<usize, Errno> {
        send_batch(&**self, datagrams)
    }
}

/// What a worker's socket has yet to send.
pub(crate) struct Outbox<W> {
    wire: W,
    queue: VecDeque<Datagram>,
    /// `udp_queue_datagrams_max`.
    max: usize,
    /// The send buffer is full: the flusher waits for room.
    blocked: bool,
    /// Wakes the flusher.
    wake: Arc<Notify>,
    metrics: Metrics,
}

impl<W: Wire> Outbox<W> {
    pub(crate) fn new(wire: W, max: usize, wake: Arc<Notify>, metrics: Metrics) -> Self {
        Self { wire, queue: VecDeque::with_capacity(OUTBOX_DATAGRAMS), max, blocked: false, wake, metrics }
    }

    /// Adds a datagram. Within a batch its end flushes; else the flusher is woken, so that what one task sends leaves
    /// together. `failed` gets the clients of datagrams that could not be sent.
    pub(crate) fn push(&mut self, datagram: Datagram, in_batch: bool, failed: &mut Vec<ClientId>) {
        if self.queue.len() >= self.max {
            // As a full buffer on the way would: retransmissions make up for it.
            self.metrics.dropped("udp_queue_datagrams_max");
            return;
        }
        self.queue.push_back(datagram);
        if self.queue.len() >= OUTBOX_DATAGRAMS && !self.blocked {
            self.flush(failed);
        } else if self.queue.len() == 1 && !in_batch {
            self.wake.notify_one();
        }
        if !failed.is_empty() && !in_batch {
            // The flusher reports them.
            self.wake.notify_one();
        }
    }

    /// Sends what can be sent.
    pub(crate) fn flush(&mut self, failed: &mut Vec<ClientId>) {
        let mut retried = false;
        while !self.queue.is_empty() {
            match self.wire.send(self.queue.as_slices().0) {
                Ok(sent) => {
                    self.queue.drain(..sent.clamp(1, self.queue.len()));
                    retried = false;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.blocked = true;
                    self.wake.notify_one();
                    return;
                }
                // With IP_RECVERR the first call after an ICMP error returns it, whatever it would send.
                Err(_) if !retried => retried = true,
                Err(error) => {
                    retried = false;
                    let Some(datagram) = self.queue.pop_front() else { break };
                    failed.extend(give_up(&datagram, error, &self.metrics));
                }
            }
        }
        self.blocked = false;
    }

    /// Whether the send buffer was full at the last flush.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }
}

/// Sends one datagram from a thread that has no outbox. A full send buffer drops it, as the network may.
///
/// # Errors
/// The system has no way to the peer.
pub(crate) fn send_now(socket: &impl AsFd, datagram: &Datagram, metrics: &Metrics) -> Result<(), Errno> {
    let outcome = match send_one(socket, datagram) {
        Ok(()) => return Ok(()),
        Err(Errno::AGAIN) => Err(Errno::AGAIN),
        // Interrupted, or the error of an earlier datagram: as in `flush`.
        Err(_) => send_one(socket, datagram),
    };
    match outcome {
        Err(Errno::AGAIN) => {
            metrics.dropped("udp_queue_datagrams_max");
            Ok(())
        }
        Err(error) if give_up(datagram, error, metrics).is_some() => Err(error),
        _ => Ok(()),
    }
}

/// Counts a datagram that the system refuses; returns the client to be told. A lack of memory passes: that one is only
/// lost.
fn give_up(datagram: &Datagram, error: Errno, metrics: &Metrics) -> Option<ClientId> {
    metrics.dropped("udp_send");
    tracing::debug!(peer = %datagram.to, error = %io::Error::from(error), "datagram not sent");
    datagram.client.filter(|_| !matches!(error, Errno::NOBUFS | Errno::NOMEM))
}

pub(super) fn send_one(socket: &impl AsFd, datagram: &Datagram) -> Result<(), Errno> {
    sendto(socket, &datagram.bytes, FLAGS, &datagram.to).map(drop)
}

const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// Octets of a datagram that may leave as a segment: what goes unfragmented through an Ethernet, so that the way there is
/// seldom too narrow.
const SEGMENT_BYTES_MAX: usize = 1_400;

/// Sends the first datagrams, up to 32, and returns how many went.
pub(super) fn send_batch(socket: &impl AsFd, datagrams: &[Datagram]) -> Result<usize, Errno> {
    let datagrams = datagrams.get(..BATCH).unwrap_or(datagrams);
    let alike = alike(datagrams);
    if alike > 1 {
        match send_segments(socket, datagrams.get(..alike).unwrap_or(datagrams)) {
            Ok(()) => return Ok(alike),
            Err(Errno::AGAIN) => return Err(Errno::AGAIN),
            // This way does not take segments (a narrow MTU, an old kernel): they go one by one.
            Err(_) => return send_each(socket, datagrams.get(..alike).unwrap_or(datagrams)),
        }
    }
    // Up to where the next ones are alike.
    let next = (1..datagrams.len()).find(|at| datagrams.get(*at..).is_some_and(|rest| self::alike(rest) > 1));
    send_each(socket, datagrams.get(..next.unwrap_or(datagrams.len())).unwrap_or(datagrams))
}

/// How many datagrams from the first on can leave as one: to one peer, of one length, but for the last, which may be
/// shorter.
fn alike(datagrams: &[Datagram]) -> usize {
    let Some((first, rest)) = datagrams.split_first() else { return 0 };
    let length = first.bytes.len();
    if length == 0 || length > SEGMENT_BYTES_MAX {
        return 1;
    }
    let mut count = 1;
    for datagram in rest.iter().take_while(|d| d.to == first.to && (1..=length).contains(&d.bytes.len())) {
        count += 1;
        if datagram.bytes.len() < length {
            break;
        }
    }
    count
}

/// Sends datagrams that are alike in one pass through the network stack, which is most of what a datagram costs (UDP
/// generic segmentation offload).
fn send_segments(socket: &impl AsFd, datagrams: &[Datagram]) -> Result<(), Errno> {
    let Some(first) = datagrams.first() else { return Ok(()) };
    let slices: SmallVec<[IoSlice<'_>; BATCH]> = datagrams.iter().map(|d| IoSlice::new(&d.bytes)).collect();
    let length = u16::try_from(first.bytes.len()).map_err(|_| Errno::MSGSIZE)?;
    let to = SockaddrStorage::from(first.to);
    let segments = [ControlMessage::UdpGsoSegments(&length)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match sendmsg(socket.as_fd().as_raw_fd(), &slices, &segments, flags, Some(&to)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Errno::from_raw_os_error(error as i32)),
    }
}

/// Sends datagrams in one system call, and returns how many went.
fn send_each(socket: &impl AsFd, datagrams: &[Datagram]) -> Result<usize, Errno> {
    if let [datagram] = datagrams {
        return send_one(socket, datagram).map(|()| 1);
    }
    let addresses: SmallVec<[SocketAddrAny; BATCH]> =
        datagrams.iter().map(|d| SocketAddrAny::from(d.to)).collect();
    let slices: SmallVec<[[IoSlice<'_>; 1]; BATCH]> =
        datagrams.iter().map(|d| [IoSlice::new(&d.bytes)]).collect();
    let mut controls: SmallVec<[SendAncillaryBuffer<'_, '_, '_>; BATCH]> =
        datagrams.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut headers: SmallVec<[MMsgHdr<'_>; BATCH]> = addresses
        .iter()
        .zip(&slices)
        .zip(&mut controls)
        .map(|((address, slice), control)| MMsgHdr::new_with_addr(address, slice, control))
        .collect();
    sendmmsg(socket, &mut headers, FLAGS)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::UdpSocket;
    use std::rc::Rc;

    use prometheus::Registry;

    use super::*;

    fn metrics(registry: &Registry) -> Metrics {
        let service = sip_service::Metrics::register(registry).expect("registered");
        Metrics::register(registry, service).expect("registered")
    }

    fn datagram(to: SocketAddr, octets: &'static [u8], client: u64) -> Datagram {
        Datagram { to, bytes: Bytes::from_static(octets), client: Some(ClientId(client)) }
    }

    fn dropped(registry: &Registry, reason: &str) -> f64 {
        let families = registry.gather();
        let family = families.iter().find(|f| f.name() == "rollcall_dropped_total");
        let metric = family
            .and_then(|f| f.get_metric().iter().find(|m| m.get_label().iter().any(|l| l.value() == reason)));
        metric.map_or(0.0, |m| m.get_counter().get_value())
    }

    #[test]
    fn order_is_kept_over_many_batches() {
        let registry = Registry::new();
        let (a, b) =
            (UdpSocket::bind("127.0.0.1:0").expect("bound"), UdpSocket::bind("127.0.0.1:0").expect("bound"));
        let to = b.local_addr().expect("an address");
        let mut outbox = Outbox::new(Arc::new(a), 1_000, Arc::default(), metrics(&registry));
        let mut failed = Vec::new();
        for i in 0..100u8 {
            let bytes = Bytes::from(vec![i]);
            outbox.push(Datagram { to, bytes, client: None }, true, &mut failed);
        }
        outbox.flush(&mut failed);
        for i in 0..100u8 {
            let mut octet = [0];
            b.recv(&mut octet).expect("received");
            assert_eq!(octet, [i]);
        }
        assert!(failed.is_empty());
    }

    #[test]
    fn datagrams_that_are_alike_leave_together_and_arrive_apart() {
        for host in ["127.0.0.1", "::1"] {
            let bind = || UdpSocket::bind((host, 0)).expect("bound");
            let (a, b, c) = (bind(), bind(), bind());
            let (to_b, to_c) = (b.local_addr().expect("an address"), c.local_addr().expect("an address"));
            let text = |byte: u8, length: usize| Bytes::from(vec![byte; length]);
            let sent = [
                (to_b, text(1, 400)),
                (to_b, text(2, 400)),
                (to_b, text(3, 399)),
                (to_b, text(4, 400)),
                (to_c, text(5, 400)),
                (to_c, text(6, 1_500)),
                (to_c, text(7, 1_500)),
                (to_b, text(8, 10)),
                (to_b, text(9, 0)),
                (to_b, text(10, 10)),
                (to_b, text(11, 10)),
            ];
            let mut datagrams: Vec<Datagram> = sent
                .iter()
                .map(|(to, bytes)| Datagram { to: *to, bytes: bytes.clone(), client: None })
                .collect();
            assert_eq!(alike(&datagrams), 3, "the last may be shorter, and ends it");
            assert_eq!(alike(&datagrams[4..]), 1, "another peer");
            assert_eq!(alike(&datagrams[5..]), 1, "too long for a segment");
            while !datagrams.is_empty() {
                let went = send_batch(&a, &datagrams).expect("sent");
                datagrams.drain(..went);
            }
            for (to, bytes) in sent {
                let mut octets = [0; 2_000];
                let length = if to == to_b { b.recv(&mut octets) } else { c.recv(&mut octets) };
                assert_eq!(octets[..length.expect("received")], bytes, "{host}");
            }
        }
    }

    // RFC 3261 §18.4: the user is told of what cannot be sent; the rest goes.
    #[test]
    fn one_bad_datagram_does_not_hold_up_the_rest() {
        let registry = Registry::new();
        let (a, b) =
            (UdpSocket::bind("127.0.0.1:0").expect("bound"), UdpSocket::bind("127.0.0.1:0").expect("bound"));
        let to = b.local_addr().expect("an address");
        let mut outbox = Outbox::new(Arc::new(a), 1_000, Arc::default(), metrics(&registry));
        let mut failed = Vec::new();
        outbox.push(datagram(to, b"first", 1), true, &mut failed);
        let too_long = Bytes::from(vec![0; 65_508]);
        outbox.push(Datagram { to, bytes: too_long, client: Some(ClientId(2)) }, true, &mut failed);
        outbox.push(datagram(to, b"third", 3), true, &mut failed);
        outbox.flush(&mut failed);
        assert_eq!(failed, [ClientId(2)]);
        assert_eq!(dropped(&registry, "udp_send"), 1.0);
        for expected in [b"first", b"third"] {
            let mut octets = [0; 5];
            b.recv(&mut octets).expect("received");
            assert_eq!(&octets, expected);
        }
    }

    /// A socket whose send buffer has room for so many datagrams.
    #[derive(Default)]
    struct Buffer(Cell<usize>);

    impl Wire for Rc<Buffer> {
        fn send(&self, datagrams: &[Datagram]) -> Result<usize, Errno> {
            let sent = datagrams.len().min(self.0.get());
            self.0.set(self.0.get() - sent);
            if sent == 0 { Err(Errno::AGAIN) } else { Ok(sent) }
        }
    }

    #[test]
    fn a_full_send_buffer_holds_back_and_the_queue_is_bounded() {
        let registry = Registry::new();
        let buffer = Rc::new(Buffer::default());
        let to = "127.0.0.1:5060".parse().expect("an address");
        let mut outbox = Outbox::new(Rc::clone(&buffer), 70, Arc::default(), metrics(&registry));
        let mut failed = Vec::new();
        for i in 0..100 {
            outbox.push(datagram(to, b"x", i), true, &mut failed);
        }
        assert!(outbox.is_blocked());
        assert_eq!(outbox.queue.len(), 70);
        assert_eq!(dropped(&registry, "udp_queue_datagrams_max"), 30.0);
        buffer.0.set(60);
        outbox.flush(&mut failed);
        assert!(outbox.is_blocked());
        assert_eq!(outbox.queue.len(), 10);
        buffer.0.set(60);
        outbox.flush(&mut failed);
        assert!(!outbox.is_blocked() && outbox.queue.is_empty() && failed.is_empty());
    }
}
