//! Several nodes with a table each, connected by pipes with a delay, under virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use prometheus::Registry;
use replication::link::{Broken, Receiver, Sender, Side};
use replication::{Ack, Durable, Replica, ReplicaMetrics, ReplicaOptions};

use crate::table::{Table, Time};

const STEP: Duration = Duration::from_millis(1);
const DELAY: Duration = Duration::from_millis(5);
/// By the wall clock, at the beginning.
const UNIX_MS: i64 = 1_760_000_000_000;

pub(crate) struct Setting {
    pub(crate) ack: Ack,
    pub(crate) outlog_bytes_max: usize,
}

impl Default for Setting {
    fn default() -> Self {
        Self { ack: Ack::Local, outlog_bytes_max: 1 << 20 }
    }
}

struct Node {
    replica: Arc<Replica>,
    table: Arc<Table>,
    registry: Registry,
    last: Option<Durable>,
    unacked: f64,
    is_frozen: bool,
    clock_ahead_ms: i64,
}

/// A connection from one node to another: the side that opened it, and octets under way.
struct Link {
    sender: Sender,
    receiver: Receiver,
    there: VecDeque<(Instant, Vec<u8>)>,
    back: VecDeque<(Instant, Vec<u8>)>,
    at_sender: Vec<u8>,
    at_receiver: Vec<u8>,
}

pub(crate) struct Cluster {
    names: Vec<String>,
    nodes: Vec<Node>,
    links: BTreeMap<(usize, usize), Link>,
    setting: Setting,
    began: Instant,
    now: Instant,
    lives: u64,
}

impl Cluster {
    pub(crate) fn new(names: &[&str], setting: Setting) -> Self {
        let began = Instant::now();
        let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
        let mut cluster =
            Self { names, nodes: Vec::new(), links: BTreeMap::new(), setting, began, now: began, lives: 0 };
        for at in 0..cluster.names.len() {
            let node = cluster.begin(at, 0);
            cluster.nodes.push(node);
        }
        cluster
    }

    fn begin(&mut self, at: usize, clock_ahead_ms: i64) -> Node {
        self.lives += 1;
        let registry = Registry::new();
        let peers: Vec<String> = self.names.iter().filter(|name| **name != self.names[at]).cloned().collect();
        let options = ReplicaOptions {
            ack: self.setting.ack,
            outlog_bytes_max: self.setting.outlog_bytes_max,
            ..ReplicaOptions::default()
        };
        let metrics = ReplicaMetrics::register(&registry).expect("a new registry");
        let unix_ms = self.unix_ms(clock_ahead_ms);
        let replica = Replica::new(&self.names[at], &peers, options, metrics, self.lives, self.now, unix_ms);
        let table = Table::new(&replica, || UNIX_MS, (self.now, unix_ms));
        Node { replica, table, registry, last: None, unacked: 0.0, is_frozen: false, clock_ahead_ms }
    }

    fn unix_ms(&self, ahead_ms: i64) -> i64 {
        UNIX_MS + (self.now - self.began).as_millis() as i64 + ahead_ms
    }

    fn time(&self, at: usize) -> Time {
        (self.now, self.unix_ms(self.nodes[at].clock_ahead_ms))
    }

    pub(crate) fn put(&mut self, at: usize, name: &str, text: &str, lifetime: Duration) {
        self.nodes[at].table.learn(self.time(at));
        self.nodes[at].unacked = self.metric(at, replication::metrics::UNACKED);
        self.nodes[at].last = self.nodes[at].table.put(name, text, lifetime);
    }

    pub(crate) fn remove(&mut self, at: usize, name: &str) {
        self.nodes[at].table.learn(self.time(at));
        self.nodes[at].table.remove(name);
    }

    pub(crate) fn lose(&mut self, at: usize, name: &str) {
        self.nodes[at].table.lose(name);
    }

    /// Whether the last change is acknowledged, and by another node; `None`: not yet.
    pub(crate) fn outcome(&mut self, at: usize) -> Option<bool> {
        let durable = self.nodes[at].last.as_mut().expect("a change that is waited for");
        match Pin::new(durable).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => None,
            Poll::Ready(outcome) => {
                outcome.expect("nothing is lost");
                Some(self.metric(at, replication::metrics::UNACKED) == self.nodes[at].unacked)
            }
        }
    }

    /// What a node has, by name.
    pub(crate) fn state(&self, at: usize) -> Vec<(String, String)> {
        self.nodes[at].table.live(self.now)
    }

    /// Keys that a node knows anything of.
    pub(crate) fn known(&self, at: usize) -> usize {
        self.nodes[at].replica.len()
    }

    pub(crate) fn is_caught_up(&self, at: usize) -> bool {
        self.nodes[at].replica.is_caught_up(self.now)
    }

    /// How often a node compared all.
    pub(crate) fn compared(&self, at: usize) -> f64 {
        self.metric(at, replication::metrics::COMPARISONS)
    }

    fn metric(&self, at: usize, name: &str) -> f64 {
        let families = self.nodes[at].registry.gather();
        let of =
            families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        of.map(|metric| metric.get_counter().get_value()).sum()
    }

    /// Opens every connection that is not open.
    pub(crate) fn connect_all(&mut self) {
        for from in 0..self.nodes.len() {
            for to in (0..self.nodes.len()).filter(|to| *to != from) {
                if !self.links.contains_key(&(from, to)) {
                    let link = self.link(from, to);
                    self.links.insert((from, to), link);
                }
            }
        }
    }

    fn link(&self, from: usize, to: usize) -> Link {
        let peer = if to < from { to } else { to - 1 };
        let mut out = Vec::new();
        let sender = Sender::new(Arc::clone(&self.nodes[from].replica), peer, self.now, &mut out);
        let receiver = Receiver::new(Arc::clone(&self.nodes[to].replica), self.now);
        let there = VecDeque::from([(self.now + DELAY, out)]);
        let (back, at_sender, at_receiver) = Default::default();
        Link { sender, receiver, there, back, at_sender, at_receiver }
    }

    /// Breaks the connection that one node opened to another.
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.links.remove(&(from, to));
    }

    /// A node does nothing any more, and nobody is told.
    pub(crate) fn freeze(&mut self, at: usize) {
        self.nodes[at].is_frozen = true;
    }

    /// A node is gone.
    pub(crate) fn stop(&mut self, at: usize) {
        self.freeze(at);
        self.links.retain(|(from, to), _| *from != at && *to != at);
    }

    /// A node loses all and begins again.
    pub(crate) fn restart(&mut self, at: usize) {
        self.stop(at);
        let node = self.begin(at, self.nodes[at].clock_ahead_ms);
        self.nodes[at] = node;
    }

    /// A node's wall clock is ahead from its next life on.
    pub(crate) fn set_clock(&mut self, at: usize, ahead: Duration) {
        self.nodes[at].clock_ahead_ms = ahead.as_millis() as i64;
    }

    /// A node that is no peer of another connects to it and has something to tell.
    pub(crate) fn introduce_stranger(&mut self, to: usize, name: &str) {
        let peers = vec![self.names[to].clone()];
        let metrics = ReplicaMetrics::register(&Registry::new()).expect("a new registry");
        let stranger = Replica::new(name, &peers, ReplicaOptions::default(), metrics, 1, self.now, UNIX_MS);
        let mut out = Vec::new();
        let mut sender = Sender::new(stranger, 0, self.now, &mut out);
        let mut receiver = Receiver::new(Arc::clone(&self.nodes[to].replica), self.now);
        let mut answer = Vec::new();
        let refused = receiver.receive(self.now, UNIX_MS, &mut out, &mut answer);
        assert!(matches!(refused, Err(Broken::Refused(_))), "{refused:?}");
        let told = sender.receive(self.now, UNIX_MS, &mut answer, &mut out);
        assert!(matches!(told, Err(Broken::Refused(reason)) if reason.contains("not among the peers")));
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += STEP;
            for at in 0..self.nodes.len() {
                let (now, unix_ms) = self.time(at);
                let node = &self.nodes[at];
                if !node.is_frozen {
                    node.table.learn((now, unix_ms));
                    node.replica.gather(now);
                    node.replica.tick(now);
                    // Each part ten times a second.
                    let step = (now - self.began).as_millis() as usize;
                    node.replica.sweep(now, step % 100, 100);
                }
            }
            let keys: Vec<_> = self.links.keys().copied().collect();
            for key in keys {
                if self.step(key).is_err() {
                    self.links.remove(&key);
                }
            }
        }
    }

    fn step(&mut self, (from, to): (usize, usize)) -> Result<(), Broken> {
        let (from_time, to_time) = (self.time(from), self.time(to));
        let (from_frozen, to_frozen) = (self.nodes[from].is_frozen, self.nodes[to].is_frozen);
        let Some(link) = self.links.get_mut(&(from, to)) else { return Ok(()) };
        let now = self.now;
        if !to_frozen {
            let mut out = Vec::new();
            take_due(&mut link.there, now, &mut link.at_receiver);
            link.receiver.receive(to_time.0, to_time.1, &mut link.at_receiver, &mut out)?;
            link.receiver.push(now, &mut out)?;
            send(&mut link.back, now, out);
        }
        if !from_frozen {
            let mut out = Vec::new();
            take_due(&mut link.back, now, &mut link.at_sender);
            link.sender.receive(from_time.0, from_time.1, &mut link.at_sender, &mut out)?;
            link.sender.push(now, &mut out)?;
            send(&mut link.there, now, out);
        }
        Ok(())
    }
}

fn take_due(pipe: &mut VecDeque<(Instant, Vec<u8>)>, now: Instant, into: &mut Vec<u8>) {
    while pipe.front().is_some_and(|(due, _)| *due <= now)
        && let Some((_, octets)) = pipe.pop_front()
    {
        into.extend(octets);
    }
}

fn send(pipe: &mut VecDeque<(Instant, Vec<u8>)>, now: Instant, octets: Vec<u8>) {
    if !octets.is_empty() {
        pipe.push_back((now + DELAY, octets));
    }
}
