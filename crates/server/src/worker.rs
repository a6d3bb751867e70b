//! One worker: a thread with its own runtime, sockets and copy of the stack.

use std::sync::Arc;
use std::time::Instant;

use replication::Replica;
use sip_message::{Framed, Transport};
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
    /// This node's part in a cluster.
    pub(crate) replica: Option<Arc<Replica>>,
}

impl Handler for Worker {
    fn on_message(&self, now: Instant, framed: Framed, source: &Flow) {
        // What waited while this node was stopped is as old as what it knows. Whoever sent it sends it again, or has turned to
        // another node; streams are not sent again, so their requests are taken.
        if let Some(replica) = &self.replica
            && source.transport == Transport::Udp
            && matches!(framed, Framed::Request(_))
            && replica.is_behind(now)
        {
            self.state.endpoint.metrics().dropped("behind");
            return;
        }
        self.state.endpoint.receive(now, framed, source, &*self.stack);
    }

    fn on_unreachable(&self, now: Instant, client: ClientId) {
        self.state.endpoint.unreachable(now, client);
    }

    fn on_tick(&self, now: Instant) {
        self.state.tick(now, self.share, self.of);
    }
}
