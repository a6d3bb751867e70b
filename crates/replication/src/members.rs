//! The other nodes: who is there, how far what they told has come, and who acts for those that are gone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::outlog::LANES;
use crate::part::KeyHash;
use crate::{Kind, NodeId, Stamp};

/// A peer as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) node: NodeId,
    /// When anything was last heard of it; the time of our start before that.
    heard_at: Instant,
    /// It was not heard for the whole timeout, and others act for it.
    is_gone: bool,
    pub(crate) taken: Taken,
    /// The last of our groups that it has.
    pub(crate) has: u64,
    /// Counts its connections to us: the latest one counts.
    pub(crate) connection: u64,
}

/// How far what a peer told has come here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// In which of its lives.
    pub(crate) incarnation: u64,
    /// The last group.
    pub(crate) group: u64,
    /// All before it is here too.
    pub(crate) is_synced: bool,
    /// All that it did up to then is here, by its clock.
    pub(crate) up_to: Stamp,
}

#[derive(Debug)]
pub(crate) struct Members {
    own: NodeId,
    pub(crate) list: Vec<Member>,
    timeout: Duration,
    /// Who acts for whom is not decided here: the engine's leases say it.
    is_by_lease: bool,
    /// Who was gone at the last look; `None` before the first.
    were_gone: Option<Vec<NodeId>>,
}

impl Members {
    pub(crate) fn new(own: &str, peers: &[String], timeout: Duration, now: Instant) -> Self {
        let member = |name: &String| Member {
            name: name.clone(),
            node: NodeId::of(name),
            heard_at: now,
            is_gone: false,
            taken: Taken::default(),
            has: 0,
            connection: 0,
        };
        Self {
            own: NodeId::of(own),
            list: peers.iter().map(member).collect(),
            timeout,
            is_by_lease: false,
            were_gone: None,
        }
    }

    /// Of a node that shares an engine with others, which stands here as the one member.
    pub(crate) fn of_engine(own: &str, timeout: Duration, now: Instant) -> Self {
        Self { is_by_lease: true, ..Self::new(own, &["engine".into()], timeout, now) }
    }

    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|member| member.name == name)
    }

    /// Something was heard of a member.
    pub(crate) fn heard(&mut self, at: usize, now: Instant) {
        if let Some(member) = self.list.get_mut(at) {
            member.heard_at = member.heard_at.max(now);
            member.is_gone = false;
        }
    }

    /// This node did nothing for a while, so that it cannot tell who was silent: those that were there are given the whole
    /// timeout again.
    pub(crate) fn was_away(&mut self, now: Instant) {
        for member in self.list.iter_mut().filter(|member| !member.is_gone) {
            member.heard_at = member.heard_at.max(now);
        }
    }

    /// Whether a member was heard within the timeout.
    pub(crate) fn is_there(&self, at: usize, now: Instant) -> bool {
        self.list.get(at).is_some_and(|m| now.saturating_duration_since(m.heard_at) < self.timeout)
    }

    /// Takes note of who is gone, and tells whether that changed who acts for whom; the first time it does, as records may be
    /// of nodes that are no longer of the cluster.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        for member in &mut self.list {
            member.is_gone = now.saturating_duration_since(member.heard_at) >= self.timeout;
        }
        let are_gone: Vec<NodeId> = self.list.iter().filter(|m| m.is_gone).map(|m| m.node).collect();
        // Who comes back may make those that are left a majority.
        let is_change = self.were_gone.as_ref() != Some(&are_gone);
        self.were_gone = Some(are_gone);
        is_change && !self.is_by_lease
    }

    /// Who acts for whom.
    pub(crate) fn succession(&self) -> Succession {
        let here = self.list.iter().filter(|member| !member.is_gone).map(|member| member.node);
        let here = here.chain([self.own]).collect();
        Succession(By::Rank { own: self.own, here, of: self.list.len() + 1 })
    }
}

/// Who acts for a record whose owner is gone.
#[derive(Clone, Debug)]
pub struct Succession(By);

#[derive(Clone, Debug)]
enum By {
    /// Of three and more nodes only those act for others that see more than half of all, so that two halves of a broken
    /// network do not both. Of a pair each does: if it is the link that broke and not the other node, both act until it is
    /// mended, and the later version of each record counts then.
    Rank { own: NodeId, here: Vec<NodeId>, of: usize },
    /// By lane, the nodes whose records are this one's to act for: the engine has given it them, and nobody else.
    Lease(Box<[BTreeSet<NodeId>; LANES]>),
}

impl Succession {
    /// Of a node that has inherited from others what is in some lanes.
    pub(crate) fn by_lease(inherited: [BTreeSet<NodeId>; LANES]) -> Self {
        Self(By::Lease(Box::new(inherited)))
    }

    /// Whether this node is to act for a record of `owner` in a part: that one is gone, or no node of the cluster, and of
    /// those that are here this one is chosen for the key.
    pub fn is_heir(&self, part: usize, owner: NodeId, key: u64) -> bool {
        let (own, here, of) = match &self.0 {
            By::Lease(inherited) => return inherited[part % LANES].contains(&owner),
            By::Rank { own, here, of } => (own, here, *of),
        };
        let is_majority = of <= 2 || here.len() * 2 > of;
        if !is_majority || here.contains(&owner) {
            return false;
        }
        // Highest random weight: nobody's share moves but that of who is gone.
        let rank = |node: &NodeId| {
            let both = u128::from(key) << 32 | u128::from(node.0);
            KeyHash::of(Kind(0), &both.to_le_bytes())
        };
        here.iter().max_by_key(|node| rank(node)) == Some(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn members(own: &str, peers: &[&str], now: Instant) -> Members {
        let peers: Vec<String> = peers.iter().map(|name| (*name).into()).collect();
        Members::new(own, &peers, TIMEOUT, now)
    }

    #[test]
    fn one_survivor_acts_for_each_record() {
        let now = Instant::now();
        let (mut a, mut b) = (members("a", &["b", "c"], now), members("b", &["a", "c"], now));
        let gone = NodeId::of("c");
        assert!(a.look(now) && b.look(now), "who has left the cluster is gone from the beginning");
        assert_eq!((a.look(now), a.succession().is_heir(0, gone, 1)), (false, false), "it is there");
        let left = NodeId::of("d");
        assert!((0..99).any(|key| a.succession().is_heir(0, left, key)));
        let later = now + TIMEOUT;
        for members in [&mut a, &mut b] {
            members.heard(0, later);
            assert!(members.look(later), "c is gone");
            assert!(!members.look(later), "that is known");
        }
        let (a, b) = (a.succession(), b.succession());
        let of_a = (0..1000).filter(|key| a.is_heir(0, gone, *key)).count();
        assert!((300..700).contains(&of_a), "{of_a}");
        assert!((0..1000).all(|key| a.is_heir(0, gone, key) != b.is_heir(0, gone, key)));
        assert!(!a.is_heir(0, NodeId::of("b"), 1) && !a.is_heir(0, NodeId::of("a"), 1));
    }

    // A machine that was suspended is not the only one that is left.
    #[test]
    fn who_was_away_judges_nobody() {
        let now = Instant::now();
        let mut pair = members("a", &["b"], now);
        let later = now + TIMEOUT * 9;
        pair.look(now);
        pair.was_away(later);
        assert!(!pair.look(later) && pair.is_there(0, later));
        assert!(pair.look(later + TIMEOUT), "and now it is");
        pair.was_away(later + TIMEOUT * 2);
        assert!(!pair.look(later + TIMEOUT * 2) && !pair.is_there(0, later + TIMEOUT * 2), "gone before");
    }

    #[test]
    fn a_minority_acts_for_nobody_but_in_a_pair() {
        let now = Instant::now();
        let mut pair = members("a", &["b"], now);
        let mut mesh = members("a", &["b", "c"], now);
        assert!(pair.look(now + TIMEOUT) && mesh.look(now + TIMEOUT));
        assert!(pair.succession().is_heir(0, NodeId::of("b"), 7));
        assert!(!mesh.succession().is_heir(0, NodeId::of("b"), 7));
        pair.heard(0, now + TIMEOUT);
        assert!(!pair.succession().is_heir(0, NodeId::of("b"), 7) && pair.is_there(0, now + TIMEOUT));
        mesh.heard(1, now + TIMEOUT);
        assert!(mesh.look(now + TIMEOUT), "c is there again: with it this is a majority");
        assert!((0..99).any(|key| mesh.succession().is_heir(0, NodeId::of("b"), key)));
    }
}
