//! Connections between nodes: streams that are in order and whole as long as they last, but late, held up or broken.

use replication::link::{Receiver, Sender};

use crate::clock::Ms;

/// The side that opened a connection.
pub(crate) struct SenderEnd {
    pub(crate) connection: u64,
    pub(crate) sender: Sender,
    pub(crate) received: Vec<u8>,
}

/// The side that accepted it.
pub(crate) struct ReceiverEnd {
    pub(crate) connection: u64,
    pub(crate) receiver: Receiver,
    pub(crate) received: Vec<u8>,
}

/// What is between them.
pub(crate) struct Connection {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// There, and back.
    pub(crate) pipes: [Pipe; 2],
}

/// One direction.
#[derive(Default)]
pub(crate) struct Pipe {
    /// When the last octets arrive that were sent: later ones do not overtake them.
    pub(crate) last_due: Ms,
    /// What was sent while the way was cut: it arrives when that is mended, unless the connection is given up.
    pub(crate) held: Vec<Vec<u8>>,
}

/// The ways between all nodes.
#[derive(Clone, Debug)]
pub(crate) struct Ways {
    /// How many faults cut the way from one node to another.
    pub(crate) cuts: Vec<Vec<u32>>,
    pub(crate) delay_ms: Vec<Vec<Ms>>,
    /// Since when a change made on one is sure to come to the other; `Ms::MAX` while it is not.
    pub(crate) healthy_since: Vec<Vec<Ms>>,
}

/// A delay above which a way is not healthy.
pub(crate) const SLOW_MS: Ms = 100;

impl Ways {
    pub(crate) fn new(nodes: usize, delay_ms: impl FnMut() -> Ms) -> Self {
        let mut delay_ms = delay_ms;
        let row = |_| (0..nodes).map(|_| delay_ms()).collect();
        Self {
            delay_ms: (0..nodes).map(row).collect(),
            cuts: vec![vec![0; nodes]; nodes],
            healthy_since: vec![vec![Ms::MAX; nodes]; nodes],
        }
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts[from][to] > 0
    }

    /// Since when all ways have been healthy, if they are.
    pub(crate) fn all_healthy_since(&self) -> Option<Ms> {
        let nodes = 0..self.cuts.len();
        let pairs = nodes.clone().flat_map(|from| nodes.clone().map(move |to| (from, to)));
        let since =
            pairs.filter(|(from, to)| from != to).map(|(from, to)| self.healthy_since[from][to]).max();
        since.filter(|since| *since != Ms::MAX)
    }
}
