//! What was asked of the cluster, what it did and acknowledged, and what it may therefore show and must still have.
//!
//! The simulation sees each request being executed and each acknowledgement leaving, so it knows the order in which each
//! key was changed, and where. What a node must know of that follows from which ways were healthy, and since when; what a
//! fault excuses is left open, both ways, and no more than that.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Ms;
use crate::link::Ways;

/// How long a comparison of all may take, and what is sent again after a break, once two nodes are connected.
pub(crate) const CATCH_UP_MS: Ms = 12_000;
/// How long a change is on its way to another node at most, while the way is healthy.
pub(crate) const LAG_MS: Ms = 2_000;
/// How long what was written on one node may take to be on the disk of another; nobody waits for that.
const FOLLOWER_DISK_MS: Ms = 4_000;

/// What is changed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A contact of a user agent.
    Binding { aor: usize, client: usize, contact: usize },
    /// A publication: each initial PUBLISH of a user agent makes another.
    Publication { aor: usize, client: usize, ordinal: u32 },
    /// A subscription: each initial SUBSCRIBE of a user agent makes another.
    Subscription { client: usize, ordinal: u32 },
}

/// A request that changes something.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) node: usize,
    /// What it makes of each key (a number that tells versions apart; `None`: it removes it), and for how long.
    pub(crate) writes: Vec<(Key, Option<u32>, Ms)>,
    /// The operation whose entity-tag it names, or whose dialog it belongs to.
    pub(crate) follows: Option<usize>,
    /// It makes something that is not there, so twice makes two.
    pub(crate) is_first: bool,
    /// What is shown may be another afterwards.
    pub(crate) is_change: bool,
}

/// One execution of a request, as it concerns one key.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) operation: usize,
    pub(crate) at: Ms,
    pub(crate) node: usize,
    pub(crate) life: u64,
    pub(crate) value: Option<u32>,
    /// When it ends.
    pub(crate) until: Ms,
    pub(crate) acked_at: Option<Ms>,
    /// Nodes that have it for sure, a bit each.
    holders: u32,
    /// One more has it.
    has_other: bool,
    /// A fault excuses its loss.
    is_excused: bool,
}

/// All that was done to a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) executions: Vec<Execution>,
    /// A request that makes something was executed twice: the client knows of one.
    pub(crate) is_doubled: bool,
    /// A subscription that the notifier ended.
    pub(crate) has_ended: bool,
}

/// A node, as far as it matters for what it knows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) life: u64,
    pub(crate) is_serving: bool,
    pub(crate) thawed_at: Ms,
    /// Lives that lost all at their end.
    pub(crate) has_lost_disk: bool,
    /// How a process of it last ended.
    pub(crate) crash: Option<Crash>,
}

/// The end of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    pub(crate) at: Ms,
    pub(crate) life: u64,
    pub(crate) keeps_disk: bool,
}

/// A node, in one of its lives.
type Life = (usize, u64);

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) operations: Vec<Operation>,
    pub(crate) keys: BTreeMap<Key, History>,
    /// When something of an AOR was last changed that is shown.
    pub(crate) changed_at: BTreeMap<usize, Ms>,
    pub(crate) standing: Vec<Standing>,
    /// Whose stamps a node has seen, and since when.
    pub(crate) met: BTreeMap<(Life, Life), Ms>,
    pub(crate) has_disks: bool,
    pub(crate) has_jumps: bool,
    /// How long an acknowledgement, or a NOTIFY, may wait for a disk or another node.
    pub(crate) hold_ms: Ms,
    /// How long after all ways are healthy everything is everywhere.
    pub(crate) settle_ms: Ms,
    /// How much earlier than granted something may end on some node.
    pub(crate) early_ms: Ms,
    /// How much later: each node counts from when it heard of it.
    pub(crate) late_ms: Ms,
    pub(crate) acknowledged: u64,
}

impl Model {
    pub(crate) fn begin(&mut self, operation: Operation) -> usize {
        self.operations.push(operation);
        self.operations.len() - 1
    }

    /// A node executes a request.
    pub(crate) fn executed(&mut self, operation: usize, at: Ms) {
        let Operation { node, writes, is_first, is_change, .. } = &self.operations[operation];
        let life = self.standing[*node].life;
        for (key, value, lifetime) in writes {
            if let (Key::Publication { aor, .. }, true) = (key, is_change) {
                self.changed_at.insert(*aor, at);
            }
            let history = self.keys.entry(*key).or_default();
            let was_executed = history.executions.iter().any(|e| e.operation == operation);
            history.is_doubled |= *is_first && was_executed;
            history.executions.push(Execution {
                operation,
                at,
                node: *node,
                life,
                value: *value,
                until: at + lifetime,
                acked_at: None,
                holders: 1 << node,
                has_other: false,
                is_excused: false,
            });
        }
    }

    /// A final response leaves the node that executed the request.
    pub(crate) fn answered(&mut self, operation: usize, at: Ms, is_success: bool, is_by_peer: bool) {
        let writes = self.operations[operation].writes.clone();
        self.acknowledged += u64::from(is_success && !writes.is_empty());
        for (key, _, _) in writes {
            let Some(history) = self.keys.get_mut(&key) else { continue };
            let Some(index) = history.executions.iter().rposition(|e| e.operation == operation) else {
                continue;
            };
            if is_success {
                let execution = &mut history.executions[index];
                execution.acked_at.get_or_insert(at);
                // Who said that it has it may have died before that was heard.
                let may_be_gone = |(node, standing): (usize, &Standing)| {
                    node != execution.node && standing.crash.is_some_and(|crash| crash.at >= execution.at)
                };
                execution.has_other |= is_by_peer && !self.standing.iter().enumerate().any(may_be_gone);
            } else if history.executions[index].acked_at.is_none() {
                history.executions.remove(index);
            }
        }
    }

    /// A node crashes: with its disk, or losing all.
    pub(crate) fn crashed(&mut self, at: Ms, node: usize, keeps_disk: bool, ways: &Ways) {
        let standing = &mut self.standing[node];
        standing.has_lost_disk |= !keeps_disk;
        standing.crash = Some(Crash { at, life: standing.life, keeps_disk });
        let settled = ways.all_healthy_since().map(|since| since + self.settle_ms);
        let all = (1 << self.standing.len()) - 1;
        for execution in self.keys.values_mut().flat_map(|history| &mut history.executions) {
            if execution.until + self.late_ms < at {
                continue;
            }
            let e = execution;
            if settled.is_some_and(|settled| settled <= at) && e.at + self.settle_ms <= at && !e.is_excused {
                (e.holders, e.has_other) = (all, false);
            } else if self.standing[e.node].life == e.life && e.at + LAG_MS <= at {
                for (to, since) in ways.healthy_since[e.node].iter().enumerate() {
                    if since.saturating_add(CATCH_UP_MS) <= at {
                        e.holders |= 1 << to;
                    }
                }
            }
            let is_kept = if e.node == node { e.acked_at.is_some() } else { e.at + FOLLOWER_DISK_MS <= at };
            if !(keeps_disk && is_kept) {
                e.has_other &= e.node == node;
                e.holders &= !(1 << node);
            }
            e.is_excused |= e.holders == 0 && !e.has_other;
        }
    }

    /// The publications of an AOR.
    pub(crate) fn publications(&self, aor: usize) -> impl Iterator<Item = (&Key, &History)> {
        let key = |aor| Key::Publication { aor, client: 0, ordinal: 0 };
        self.keys.range(key(aor)..key(aor + 1))
    }

    /// Whether a node must have known, at some time, of all that was done to the publications of an AOR and mattered then.
    pub(crate) fn knows_all(&self, aor: usize, node: usize, at: Ms, ways: &Ways) -> bool {
        let executions = self.publications(aor).flat_map(|(_, history)| &history.executions);
        let mut of_then = executions.filter(|e| e.at <= at && at < e.until + self.late_ms);
        of_then.all(|e| self.is_known(e, node, at, ways))
    }

    /// Whether all that a node wrote in earlier lives is still on its disk.
    pub(crate) fn has_kept_disk(&self, node: usize) -> bool {
        self.has_disks && !self.standing[node].has_lost_disk
    }

    /// Whether a node must know of an execution.
    fn is_known(&self, e: &Execution, node: usize, at: Ms, ways: &Ways) -> bool {
        let standing = &self.standing[node];
        if !standing.is_serving || standing.thawed_at + self.hold_ms > at {
            return false;
        }
        let is_original = self.standing[e.node].life == e.life;
        if e.node == node {
            let is_on_disk = self.has_disks && e.holders >> node & 1 == 1 && !e.is_excused;
            return if is_original { e.at + self.hold_ms <= at } else { is_on_disk };
        }
        let is_past = e.at + LAG_MS + self.hold_ms <= at;
        let is_healthy = ways.healthy_since[e.node][node].saturating_add(CATCH_UP_MS) <= at;
        let is_settled = ways.all_healthy_since().is_some_and(|since| since + self.settle_ms <= at);
        is_past && ((is_original && is_healthy) || (is_settled && !e.is_excused))
    }

    /// Whether a node must know of the last request for a key: it took that one in this life, or must have heard of it.
    pub(crate) fn knows_last(&self, key: &Key, (node, life): Life, at: Ms, ways: &Ways) -> bool {
        let executions = self.keys.get(key).into_iter().flat_map(|history| &history.executions);
        let last = executions.max_by_key(|e| (e.operation, e.at));
        last.is_some_and(|e| (e.node, e.life) == (node, life) || self.is_known(e, node, at, ways))
    }

    /// The values that a key may have on a node.
    pub(crate) fn allowed(&self, key: &Key, node: usize, at: Ms, ways: &Ways) -> BTreeSet<Option<u32>> {
        let mut allowed = BTreeSet::from([None]);
        let Some(history) = self.keys.get(key) else { return allowed };
        for (index, e) in history.executions.iter().enumerate() {
            let earlier = &history.executions[..index];
            let mut values = self.values_of(e, at);
            for x in earlier.iter().filter(|x| self.may_outlast(x, e)) {
                values.extend(self.values_of(x, at));
            }
            if self.is_known(e, node, at, ways) {
                allowed = values;
            } else {
                allowed.extend(values);
            }
        }
        if history.is_doubled {
            allowed.extend(history.executions.iter().map(|e| e.value));
            allowed.insert(None);
        }
        allowed
    }

    /// Whether a change must be what a node knows of a key, so that the request that follows it finds it.
    pub(crate) fn must_follow(&self, key: &Key, operation: usize, node: usize, at: Ms, ways: &Ways) -> bool {
        let Some(history) = self.keys.get(key).filter(|h| !h.is_doubled && !h.has_ended) else {
            return false;
        };
        let Some(index) = history.executions.iter().rposition(|e| e.at <= at && e.operation != operation)
        else {
            return false;
        };
        let last = &history.executions[index];
        let follows = self.operations[operation].follows;
        let is_sure = !history.executions[..index].iter().any(|x| self.may_outlast(x, last));
        let was_tried = history.executions.iter().filter(|e| e.operation == operation).count() > 1;
        let is_live = last.value.is_some() && at + self.early_ms < last.until;
        let is_known = self.is_known(last, node, at, ways);
        is_sure
            && !was_tried
            && is_live
            && follows == Some(last.operation)
            && last.acked_at.is_some()
            && is_known
    }

    /// Whether an earlier change may count more than a later one: neither node knew of the other's, and their clocks may
    /// differ by as much.
    fn may_outlast(&self, earlier: &Execution, later: &Execution) -> bool {
        let (from, to) = ((earlier.node, earlier.life), (later.node, later.life));
        if from == to {
            return false;
        }
        let had_met = self.met.get(&(from, to)).is_some_and(|at| *at <= later.at);
        later.at - earlier.at < LAG_MS || (self.has_jumps && !had_met)
    }

    fn values_of(&self, e: &Execution, at: Ms) -> BTreeSet<Option<u32>> {
        let mut values = BTreeSet::new();
        if at < e.until + self.late_ms {
            values.insert(e.value);
        }
        if at + self.early_ms >= e.until {
            values.insert(None);
        }
        values
    }
}
