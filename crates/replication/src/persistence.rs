//! How an owner keeps its state: on this node's disk, on other nodes, or both.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::outlog::{Acked, PeerAck};
use crate::replica::Weight;
use crate::{Change, Journal, OnDisk, Record, Replica, ReplicaMetrics, Unkept};

/// Where changes of one kind of state go.
#[derive(Clone)]
pub struct Persistence {
    /// The journal, and whether a change is acknowledged only when it is on the disk.
    pub journal: Option<(Arc<Journal>, bool)>,
    /// This node's part in a cluster.
    pub replica: Option<Arc<Replica>>,
    /// The wall clock, in milliseconds since 1970 UTC: what expiry is written down in.
    pub unix_ms: fn() -> i64,
}

impl Persistence {
    /// A journal alone, and whether a change is acknowledged only when it is on the disk.
    pub fn on_disk(journal: Arc<Journal>, is_awaited: bool, unix_ms: fn() -> i64) -> Self {
        Self { journal: Some((journal, is_awaited)), replica: None, unix_ms }
    }

    /// Whether another change may be made: to be asked before it is.
    ///
    /// # Errors
    /// [`Unkept::Full`].
    pub fn admit(&self) -> Result<(), Unkept> {
        self.journal.as_ref().map_or(Ok(()), |(journal, _)| journal.admit())
    }

    /// Writes a change down, and tells other nodes; to be called while nobody else can change these keys, `part` being the
    /// same for all changes of one key, on every node. Times in the change are by the wall clock, `now` being `unix_ms`.
    /// Returns what its acknowledgement has to wait for, if it has to.
    pub fn append(
        &self,
        now: Instant,
        unix_ms: i64,
        part: usize,
        write: impl FnOnce(&mut Change<'_>),
    ) -> Option<Durable> {
        self.append_as(Weight::Change, now, unix_ms, part, write)
    }

    /// The same for what no client asked for: that this node acts for records from now on. It counts more than what is known
    /// of them here, and less than whatever a client has changed since, on any node.
    pub fn claim(
        &self,
        now: Instant,
        unix_ms: i64,
        part: usize,
        write: impl FnOnce(&mut Change<'_>),
    ) -> Option<Durable> {
        self.append_as(Weight::Claim, now, unix_ms, part, write)
    }

    fn append_as(
        &self,
        weight: Weight,
        now: Instant,
        unix_ms: i64,
        part: usize,
        write: impl FnOnce(&mut Change<'_>),
    ) -> Option<Durable> {
        let Some(replica) = &self.replica else {
            let (journal, is_awaited) = self.journal.as_ref()?;
            let ticket = journal.append(part, write);
            return Durable::of(is_awaited.then(|| journal.durable(ticket)), None);
        };
        let mut octets = Vec::new();
        let mut change = Change::new(&mut octets);
        write(&mut change);
        if !change.is_within_bounds() {
            tracing::error!("a change is too large to be told to other nodes");
            return None;
        }
        let mut on_disk = None;
        let group = replica.append(weight, now, unix_ms, part, &octets, |records| {
            on_disk = self.write(part, records);
        });
        Durable::of(on_disk, replica.peer_ack(part, group).map(|ack| (ack, replica.metrics.clone())))
    }

    /// Takes note of a change that another node made, and returns those of its records that are news: they are to be
    /// applied before the part is let go.
    pub fn adopt<'r, 'a>(
        &self,
        now: Instant,
        unix_ms: i64,
        part: usize,
        records: &'r [Record<'a>],
    ) -> Vec<&'r Record<'a>> {
        let Some(replica) = &self.replica else { return Vec::new() };
        replica.adopt(now, unix_ms, part, records, |kept| drop(self.write(part, kept)))
    }

    /// What the acknowledgement of all that this thread has appended so far has to wait for, if it has to.
    pub fn so_far(&self) -> Option<Durable> {
        let awaited = self.journal.as_ref().filter(|(_, is_awaited)| *is_awaited);
        let on_disk = awaited.map(|(journal, _)| journal.durable(journal.so_far()));
        let by_peer = self
            .replica
            .as_ref()
            .and_then(|replica| Some((replica.peer_ack_so_far()?, replica.metrics.clone())));
        Durable::of(on_disk, by_peer)
    }

    fn write(&self, part: usize, records: &[Record<'_>]) -> Option<OnDisk> {
        let (journal, is_awaited) = self.journal.as_ref()?;
        let ticket = journal.append(part, |change| records.iter().for_each(|record| change.copy(record)));
        is_awaited.then(|| journal.durable(ticket))
    }
}

impl fmt::Debug for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Persistence")
            .field("journal", &self.journal.is_some())
            .field("replica", &self.replica)
            .finish_non_exhaustive()
    }
}

/// Resolves when a change is kept as it is to be: on the disk, and on another node.
#[must_use = "a change that nobody waits for is kept some time later"]
pub struct Durable {
    on_disk: Option<OnDisk>,
    by_peer: Option<(PeerAck, ReplicaMetrics)>,
}

impl Durable {
    fn of(on_disk: Option<OnDisk>, by_peer: Option<(PeerAck, ReplicaMetrics)>) -> Option<Self> {
        (on_disk.is_some() || by_peer.is_some()).then_some(Self { on_disk, by_peer })
    }
}

impl Future for Durable {
    type Output = Result<(), Unkept>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(on_disk) = &mut self.on_disk {
            match Pin::new(on_disk).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(unkept)) => return Poll::Ready(Err(unkept)),
                Poll::Ready(Ok(())) => self.on_disk = None,
            }
        }
        if let Some((ack, metrics)) = &mut self.by_peer {
            match Pin::new(ack).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Acked::ByPeer) => {}
                Poll::Ready(Acked::ByNobody) => metrics.unacked.inc(),
            }
            self.by_peer = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable")
            .field("on_disk", &self.on_disk.is_some())
            .field("by_peer", &self.by_peer.is_some())
            .finish()
    }
}
