//! Which targets are tried next (RFC 3261 §16.6, RFC 5626 §7).

use sip_message::StatusCode;
use smallvec::SmallVec;

/// A target, as far as its turn depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Thousandths: higher ones first, equal ones together (§16.6, §20.10).
    pub q_milli: u16,
    /// Candidates with one number are flows of one instance (RFC 5626): the next is tried only if the one before failed
    /// as a flow fails.
    pub instance: Option<u32>,
}

/// All candidates of a request and how far each has come.
#[derive(Debug)]
pub(super) struct Candidates {
    all: SmallVec<[(Candidate, Progress); 2]>,
    /// The q of the group that is being tried.
    group: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    Trying,
    Ended,
}

impl Candidates {
    pub(super) fn new(candidates: Vec<Candidate>) -> Self {
        Self { all: candidates.into_iter().map(|c| (c, Progress::Waiting)).collect(), group: 0 }
    }

    /// Takes at most `room` candidates of the group being tried; if `is_next_group`, of the next one.
    pub(super) fn take(&mut self, is_next_group: bool, room: usize) -> SmallVec<[usize; 4]> {
        let waiting = self.all.iter().filter(|(_, p)| *p == Progress::Waiting).map(|(c, _)| c.q_milli);
        if is_next_group {
            let Some(q) = waiting.max() else { return SmallVec::new() };
            self.group = q;
        }
        let mut taken = SmallVec::new();
        for index in 0..self.all.len() {
            let Some((candidate, progress)) = self.all.get(index).copied() else { break };
            if taken.len() >= room {
                break;
            }
            let is_due = progress == Progress::Waiting && candidate.q_milli == self.group;
            if is_due && !self.is_instance_tried(candidate.instance) {
                self.set(index, Progress::Trying);
                taken.push(index);
            }
        }
        taken
    }

    /// A candidate ended. RFC 5626 §7: after any response but 408 and 430 no other flow to the instance is tried.
    pub(super) fn ended(&mut self, index: usize, code: StatusCode, is_response: bool) {
        self.set(index, Progress::Ended);
        let Some(instance) = self.all.get(index).and_then(|(c, _)| c.instance) else { return };
        let flow_failed =
            !is_response || code == StatusCode::FLOW_FAILED || code == StatusCode::REQUEST_TIMEOUT;
        if flow_failed {
            return;
        }
        for (candidate, progress) in &mut self.all {
            if candidate.instance == Some(instance) && *progress == Progress::Waiting {
                *progress = Progress::Ended;
            }
        }
    }

    fn is_instance_tried(&self, instance: Option<u32>) -> bool {
        instance.is_some() && self.all.iter().any(|(c, p)| c.instance == instance && *p == Progress::Trying)
    }

    fn set(&mut self, index: usize, to: Progress) {
        if let Some((_, progress)) = self.all.get_mut(index) {
            *progress = to;
        }
    }
}
