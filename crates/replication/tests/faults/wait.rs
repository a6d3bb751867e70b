//! Waiting for the journal, never for time.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use replication::{Journal, Ticket, Unkept};

/// Blocks until a change is on the disk or lost.
pub(crate) fn wait(journal: &Arc<Journal>, ticket: Ticket) -> Result<(), Unkept> {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut durable = pin!(journal.durable(ticket));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match durable.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => thread::park(),
        }
    }
}

/// Has the writer go round until something is so.
pub(crate) fn until(journal: &Arc<Journal>, mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        // What is waited for may be lost; it is the writer's round that counts.
        let _ = wait(journal, journal.so_far());
    }
}
