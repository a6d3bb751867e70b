//! Receiving up to 32 datagrams in one system call.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use bytes::Bytes;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};

/// Datagrams of one call.
const BATCH: usize = 32;
/// Octets for the head of each datagram, which holds nearly all of them whole. Close together, so that a batch stays in
/// the processor's cache; the odd 128 keep the heads from falling on the same sets of it.
const HEAD_BYTES: usize = 2_048 + 128;
/// Octets for the rest of a long one. UDP's longest payload is 65,507 octets (65,527 over IPv6): nothing is ever cut off.
const TAIL_BYTES: usize = 65_536 - HEAD_BYTES;

/// A worker's receive buffers, one set for each address family: the system writes the length of the addresses into the
/// headers and reads it there next time.
pub(crate) struct ReceiveBatches {
    v4: Option<ReceiveBatch>,
    v6: Option<ReceiveBatch>,
}

impl ReceiveBatches {
    pub(crate) const fn new() -> Self {
        Self { v4: None, v6: None }
    }

    pub(crate) fn of_family(&mut self, v4: bool) -> &mut ReceiveBatch {
        let batch = if v4 { &mut self.v4 } else { &mut self.v6 };
        batch.get_or_insert_with(ReceiveBatch::new)
    }
}

/// Buffers, used again for each call, and what the last call put there.
pub(crate) struct ReceiveBatch {
    headers: MultiHeaders<SockaddrStorage>,
    heads: Vec<u8>,
    /// Touched, and so backed by memory, only once datagrams are long.
    tails: Vec<u8>,
    received: Vec<(usize, Option<SocketAddr>)>,
}

impl ReceiveBatch {
    fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            heads: vec![0; BATCH * HEAD_BYTES],
            tails: vec![0; BATCH * TAIL_BYTES],
            received: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what the socket has, up to a full batch, without waiting.
    pub(crate) fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<()> {
        self.received.clear();
        let mut heads = self.heads.chunks_exact_mut(HEAD_BYTES);
        let mut tails = self.tails.chunks_exact_mut(TAIL_BYTES);
        let mut slices: [[IoSliceMut<'_>; 2]; BATCH] = std::array::from_fn(|_| {
            [heads.next(), tails.next()].map(|part| IoSliceMut::new(part.unwrap_or_default()))
        });
        let results =
            recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        self.received.extend(results.map(|result| (result.bytes, result.address.as_ref().and_then(peer))));
        Ok(())
    }

    /// Whether there may be more where this came from.
    pub(crate) fn is_full(&self) -> bool {
        self.received.len() == BATCH
    }

    /// Takes out the datagrams of the last call, each in a buffer of its own, with their source.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Bytes, SocketAddr)> {
        let heads = self.heads.chunks_exact(HEAD_BYTES);
        let tails = self.tails.chunks_exact(TAIL_BYTES);
        heads.zip(tails).zip(self.received.drain(..)).filter_map(|((head, tail), (bytes, peer))| {
            // A datagram from port 0 cannot be answered.
            let peer = peer.filter(|peer| peer.port() != 0)?;
            let octets = match head.get(..bytes) {
                Some(whole) => Bytes::copy_from_slice(whole),
                None => [head, tail.get(..bytes.checked_sub(HEAD_BYTES)?)?].concat().into(),
            };
            Some((octets, peer))
        })
    }
}

fn peer(storage: &SockaddrStorage) -> Option<SocketAddr> {
    match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddrV4::from(*v4).into()),
        (_, Some(v6)) => Some(SocketAddrV6::from(*v6).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn pair(host: &str) -> (UdpSocket, UdpSocket) {
        let bind = || UdpSocket::bind((host, 0)).expect("bound");
        (bind(), bind())
    }

    #[test]
    fn a_batch_keeps_each_datagram_and_its_source() {
        for host in ["127.0.0.1", "::1"] {
            let (a, b) = pair(host);
            let to = b.local_addr().expect("an address");
            // Below, at and beyond the end of a head.
            let texts = [0, 3, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, 65_507]
                .map(|bytes| (0..bytes).map(|i| (i % 251) as u8).collect::<Vec<_>>());
            for text in &texts {
                a.send_to(text, to).expect("sent");
            }
            let mut batches = ReceiveBatches::new();
            let batch = batches.of_family(to.is_ipv4());
            batch.receive(&b).expect("received");
            let from = a.local_addr().expect("an address");
            let received: Vec<_> = batch.take().collect();
            assert_eq!(received, texts.map(|text| (Bytes::from(text), from)));
            assert!(!batch.is_full());
            assert_eq!(batch.take().count(), 0, "they are taken once");
            assert_eq!(batch.receive(&b).expect_err("empty").kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn families_do_not_mix() {
        let mut batches = ReceiveBatches::new();
        for host in ["127.0.0.1", "::1", "127.0.0.1", "::1"] {
            let (a, b) = pair(host);
            a.send_to(b"x", b.local_addr().expect("an address")).expect("sent");
            let batch = batches.of_family(host != "::1");
            batch.receive(&b).expect("received");
            let peers: Vec<_> = batch.take().map(|(_, peer)| peer).collect();
            assert_eq!(peers, [a.local_addr().expect("an address")]);
        }
    }
}
