//! What belongs to one worker's thread: outboxes, buffers, and the clients that are to be told of a failure. Any code that
//! runs on the thread reaches it, so that a send needs neither lock nor channel.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use sip_transaction::ClientId;
use tokio::net::UdpSocket;

use crate::Handler;
use crate::udp::{Datagram, Outbox, ReceiveBatches};

/// Octets read from a stream at a time.
const READ_BYTES: usize = 65_536;

thread_local! {
    /// One for each [`crate::Transports`] that has a worker on this thread: one in a server, some in tests.
    static WORKERS: RefCell<Vec<Rc<Local>>> = const { RefCell::new(Vec::new()) };
}

/// A worker's own things.
pub(crate) struct Local {
    /// The transports whose worker this is.
    transports: u64,
    worker: usize,
    /// By listener; `None` for those that are not UDP.
    outboxes: RefCell<Vec<Option<Outbox<Arc<UdpSocket>>>>>,
    batches: RefCell<ReceiveBatches>,
    read_buffer: RefCell<Box<[u8]>>,
    /// Batches under way, one within the other.
    depth: Cell<usize>,
    failed: RefCell<Vec<ClientId>>,
}

/// Takes the worker's things off the thread when it ends.
pub(crate) struct Registered(u64);

impl Drop for Registered {
    fn drop(&mut self) {
        WORKERS.with_borrow_mut(|workers| workers.retain(|local| local.transports != self.0));
    }
}

impl Local {
    /// Makes this thread a worker of `transports`.
    pub(crate) fn register(
        transports: u64,
        worker: usize,
        outboxes: Vec<Option<Outbox<Arc<UdpSocket>>>>,
    ) -> Registered {
        let local = Self {
            transports,
            worker,
            outboxes: RefCell::new(outboxes),
            batches: RefCell::new(ReceiveBatches::new()),
            read_buffer: RefCell::new(vec![0; READ_BYTES].into()),
            depth: Cell::new(0),
            failed: RefCell::default(),
        };
        WORKERS.with_borrow_mut(|workers| workers.push(Rc::new(local)));
        Registered(transports)
    }

    fn current(transports: u64) -> Option<Rc<Self>> {
        WORKERS.with_borrow(|workers| workers.iter().find(|local| local.transports == transports).cloned())
    }

    /// The worker that this thread is, if it is one.
    pub(crate) fn worker(transports: u64) -> Option<usize> {
        Self::current(transports).map(|local| local.worker)
    }

    /// Puts a datagram into the outbox of a listener.
    ///
    /// # Errors
    /// Gives it back on a thread that is no worker.
    pub(crate) fn push(transports: u64, listener: usize, datagram: Datagram) -> Result<(), Datagram> {
        let Some(local) = Self::current(transports) else { return Err(datagram) };
        let mut outboxes = local.outboxes.borrow_mut();
        let Some(Some(outbox)) = outboxes.get_mut(listener) else { return Err(datagram) };
        outbox.push(datagram, local.depth.get() > 0, &mut local.failed.borrow_mut());
        Ok(())
    }

    /// Runs `work`, then sends what it put into the outboxes, and tells the handler of what could not be sent.
    pub(crate) fn batch(transports: u64, handler: &impl Handler, now: Instant, work: impl FnOnce(&Self)) {
        let Some(local) = Self::current(transports) else { return };
        {
            let _deeper = Deeper::new(&local.depth);
            work(&local);
        }
        if local.depth.get() == 0 {
            local.settle(handler, now);
        }
    }

    /// Flushes one outbox; returns whether its socket is full.
    pub(crate) fn flush(transports: u64, listener: usize, handler: &impl Handler, now: Instant) -> bool {
        let Some(local) = Self::current(transports) else { return false };
        let blocked = match local.outboxes.borrow_mut().get_mut(listener) {
            Some(Some(outbox)) => {
                outbox.flush(&mut local.failed.borrow_mut());
                outbox.is_blocked()
            }
            _ => false,
        };
        local.tell(handler, now);
        blocked
    }

    fn settle(&self, handler: &impl Handler, now: Instant) {
        for outbox in self.outboxes.borrow_mut().iter_mut().flatten() {
            if !outbox.is_blocked() {
                outbox.flush(&mut self.failed.borrow_mut());
            }
        }
        self.tell(handler, now);
    }

    /// Tells the handler of what could not be sent. What it then sends leaves by the flusher.
    fn tell(&self, handler: &impl Handler, now: Instant) {
        loop {
            let Some(client) = self.failed.borrow_mut().pop() else { return };
            handler.on_unreachable(now, client);
        }
    }

    /// Remembers a client whose datagram did not arrive; it is told at the end of the batch.
    pub(crate) fn unreachable(&self, client: ClientId) {
        self.failed.borrow_mut().push(client);
    }

    pub(crate) fn receive_batches(&self) -> RefMut<'_, ReceiveBatches> {
        self.batches.borrow_mut()
    }

    pub(crate) fn read_buffer(&self) -> RefMut<'_, Box<[u8]>> {
        self.read_buffer.borrow_mut()
    }
}

/// Counts a batch even if it ends in a panic.
struct Deeper<'a>(&'a Cell<usize>);

impl<'a> Deeper<'a> {
    fn new(depth: &'a Cell<usize>) -> Self {
        depth.set(depth.get() + 1);
        Self(depth)
    }
}

impl Drop for Deeper<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
