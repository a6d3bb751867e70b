//! What a round counted.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::message::Message;

/// Counts of one round, or of all rounds of one fault.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Rounds.
    pub rounds: u64,
    /// Writes that were acknowledged: REGISTER, PUBLISH and SUBSCRIBE of the scripted agents, REGISTER of SIPp.
    pub acknowledged: u64,
    /// Of these, those for which no other node answered within the bounded wait.
    pub alone: u64,
    /// Acknowledged, and not there on some node afterwards.
    pub lost: u64,
    /// Acknowledged as removed, and there on some node afterwards.
    pub came_back: u64,
    /// Watchers that did not have the final state afterwards.
    pub untold: u64,
    /// NOTIFYs that say what the watcher was told before, with no reason for it.
    pub duplicated: u64,
    /// NOTIFYs that say what was not true, or no longer.
    pub falsely: u64,
    /// NOTIFYs that say what the watcher was told before, by a node that took its subscription over, or as the state changed
    /// and changed back.
    pub told_again: u64,
    /// NOTIFYs that watchers refused because their CSeq was not higher.
    pub fenced: u64,
    /// NOTIFYs of nodes that were cut off, or to which the watcher had just turned: they tell what they have heard.
    pub behind: u64,
    /// Requests that their agent had given up, and that a stopped node carried out when it went on.
    pub late: u64,
    /// PUBLISH and SUBSCRIBE requests about what the node had not heard of yet (412, 481).
    pub unknown: u64,
    /// From the fault until an agent of a node that was hit had an acknowledgement, for each of them.
    pub served: Vec<Duration>,
    /// From healing until all nodes had the same.
    pub agreed: Vec<Duration>,
    /// Final responses other than 2xx, 412 and 481, by what they answer.
    pub refusals: BTreeMap<String, u64>,
    /// What was found against the promises, in words.
    pub complaints: Vec<String>,
}

impl Tally {
    /// Something is not as promised.
    pub(crate) fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }

    /// A request was refused.
    pub(crate) fn refused(&mut self, response: &Message) {
        let method = response.header("CSeq").split(' ').nth(1).unwrap_or_default();
        *self.refusals.entry(format!("{method}: {}", response.start_line())).or_default() += 1;
    }

    /// Adds the counts of another round.
    pub(crate) fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.acknowledged += other.acknowledged;
        self.alone += other.alone;
        self.lost += other.lost;
        self.came_back += other.came_back;
        self.untold += other.untold;
        self.duplicated += other.duplicated;
        self.falsely += other.falsely;
        self.told_again += other.told_again;
        self.fenced += other.fenced;
        self.behind += other.behind;
        self.late += other.late;
        self.unknown += other.unknown;
        self.served.extend(other.served);
        self.agreed.extend(other.agreed);
        for (refusal, count) in other.refusals {
            *self.refusals.entry(refusal).or_default() += count;
        }
        self.complaints.extend(other.complaints);
    }
}
