//! What breaks, and is mended again.

use rand::RngExt;

use crate::clock::Ms;
use crate::link::SLOW_MS;
use crate::setting::pick;
use crate::world::{Event, World};

/// Something that is wrong for a while.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing comes from one node to another; the way back is open.
    OneWay(usize, usize),
    /// Nothing comes from these nodes to the others, nor back.
    Partition(Vec<usize>),
    /// What goes from one node to another takes that long.
    Slow(usize, usize, Ms),
    /// A node does nothing, and its sockets stay open.
    Frozen(usize),
    /// A node's disk takes that long.
    SlowDisk(usize, Ms),
    /// No SIP datagram comes to a node.
    Deaf(usize),
    /// No SIP datagram leaves a node.
    Mute(usize),
}

impl World {
    /// Something breaks.
    pub(crate) fn break_something(&mut self) {
        let nodes = self.setting.nodes;
        let a = self.rng.random_range(0..nodes);
        let b = (a + self.rng.random_range(1..nodes)) % nodes;
        let millis = *pick(&mut self.rng, &[300, 2_000, 4_000, 7_000, 20_000]);
        let lasting = self.rng.random_range(millis / 2..=millis);
        let kinds = if self.setting.has_jumps { 12 } else { 11 };
        let fault = match self.rng.random_range(0..kinds) {
            0 => Fault::OneWay(a, b),
            1 | 2 => {
                let side: Vec<usize> = (0..nodes).filter(|n| *n == a || self.rng.random_bool(0.3)).collect();
                Fault::Partition(side)
            }
            3 => Fault::Slow(a, b, self.rng.random_range(SLOW_MS..3_000)),
            4 => Fault::Frozen(a),
            5 if self.setting.has_disks => Fault::SlowDisk(a, self.rng.random_range(20..2_000)),
            6 => Fault::Deaf(a),
            7 => Fault::Mute(a),
            8 => {
                self.count("connection reset");
                self.reset(a, b);
                return;
            }
            11 => {
                self.count("clock jump");
                self.nodes[a].ahead_ms = self.rng.random_range(-20_000..=20_000);
                self.trace.note(
                    self.now,
                    format_args!("node {a}: its clock is {} ms ahead", self.nodes[a].ahead_ms),
                );
                return;
            }
            _ => {
                let keeps_disk = self.setting.has_disks && self.rng.random_bool(0.8);
                let is_silent = self.rng.random_bool(0.3);
                self.crash(a, keeps_disk, is_silent);
                self.after(lasting, Event::Start(a));
                return;
            }
        };
        self.begin(&fault);
        self.after(lasting, Event::Mend(fault));
    }

    fn begin(&mut self, fault: &Fault) {
        self.trace.note(self.now, format_args!("begins: {fault:?}"));
        match fault {
            Fault::OneWay(from, to) => {
                self.count("one-way cut");
                self.ways.cuts[*from][*to] += 1;
            }
            Fault::Partition(side) => {
                self.count("partition");
                self.partition(side, 1);
            }
            Fault::Slow(from, to, delay) => {
                self.count("slow link");
                self.ways.delay_ms[*from][*to] += delay;
            }
            Fault::Frozen(node) => {
                self.count("stalled process");
                self.nodes[*node].is_frozen = true;
            }
            Fault::SlowDisk(node, delay) => {
                self.count("slow disk");
                self.nodes[*node].disk_delay = *delay;
            }
            Fault::Deaf(node) => {
                self.count("deaf to SIP");
                self.nodes[*node].is_deaf = true;
            }
            Fault::Mute(node) => {
                self.count("mute in SIP");
                self.nodes[*node].is_mute = true;
            }
        }
        self.refresh_health();
    }

    /// It is over.
    pub(crate) fn mend(&mut self, fault: &Fault) {
        self.trace.note(self.now, format_args!("mended: {fault:?}"));
        match fault {
            Fault::OneWay(from, to) => {
                self.ways.cuts[*from][*to] = self.ways.cuts[*from][*to].saturating_sub(1);
            }
            Fault::Partition(side) => self.partition(side, -1),
            Fault::Slow(from, to, delay) => {
                let ways = &mut self.ways.delay_ms[*from][*to];
                *ways = ways.saturating_sub(*delay).max(1);
            }
            Fault::Frozen(node) => self.thaw(*node),
            Fault::SlowDisk(node, _) => self.nodes[*node].disk_delay = 0,
            Fault::Deaf(node) => self.nodes[*node].is_deaf = false,
            Fault::Mute(node) => self.nodes[*node].is_mute = false,
        }
        self.let_go();
        self.refresh_health();
    }

    fn partition(&mut self, side: &[usize], by: i32) {
        for from in 0..self.setting.nodes {
            for to in 0..self.setting.nodes {
                if side.contains(&from) != side.contains(&to) {
                    let cuts = &mut self.ways.cuts[from][to];
                    *cuts = cuts.saturating_add_signed(by);
                }
            }
        }
    }

    /// A stopped process goes on, with all that came meanwhile.
    fn thaw(&mut self, node: usize) {
        if std::mem::take(&mut self.nodes[node].is_frozen) {
            self.model.standing[node].thawed_at = self.now;
            // Octets that arrive now were sent later than those.
            for event in std::mem::take(&mut self.nodes[node].held) {
                self.at_once(event);
            }
        }
    }

    /// All is mended, and stays so.
    pub(crate) fn heal(&mut self) {
        self.is_busy = false;
        for node in 0..self.setting.nodes {
            self.ways.cuts[node].fill(0);
            for delay in &mut self.ways.delay_ms[node] {
                *delay = (*delay).min(15);
            }
            let state = &mut self.nodes[node];
            (state.is_deaf, state.is_mute, state.disk_delay) = (false, false, 0);
            self.thaw(node);
            self.after(500, Event::Start(node));
        }
        self.let_go();
        self.refresh_health();
    }
}
