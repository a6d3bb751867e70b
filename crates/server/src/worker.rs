//! One worker: a thread with its own runtime, sockets and copy of the stack.

use std::sync::Arc;
use std::time::Instant;

use sip_message::Framed;
use sip_service::Flow;
use sip_transaction::ClientId;
use sip_transport::Handler;

use crate::stack::WorkerStack;
use crate::state::State;

/// What a worker's sockets call.
pub(crate) struct Worker {
    pub(crate) state: Arc<State>,
    pub(crate) stack: Arc<WorkerStack>,
    pub(crate) share: usize,
    pub(crate) of: usize,
}

impl Handler for Worker {
    fn on_message(&self, now: Instant, framed: Framed, source: &Flow) {
        self.state.endpoint.receive(now, framed, source, &*self.stack);
    }

    fn on_unreachable(&self, now: Instant, client: ClientId) {
        self.state.endpoint.unreachable(now, client);
    }

    fn on_tick(&self, now: Instant) {
        self.state.tick(now, self.share, self.of);
    }
}
