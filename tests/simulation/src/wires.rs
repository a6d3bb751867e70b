//! The connections between nodes at work: opened, written to, delayed, cut and closed.

use std::sync::Arc;
use std::time::Instant;

use rand::RngExt;
use replication::link::{Broken, Receiver, Sender, Side};

use crate::clock::Ms;
use crate::link::{Connection, Pipe, ReceiverEnd, SLOW_MS, SenderEnd};
use crate::world::{Event, World};

impl World {
    /// A node connects to another, if it is not connected and can; and tries again later.
    pub(crate) fn connect(&mut self, from: usize, to: usize) {
        let pause = self.rng.random_range(300..=1_000);
        self.after(pause, Event::Connect(from, to));
        let is_open = !self.ways.is_cut(from, to) && !self.ways.is_cut(to, from);
        let is_connected = self.nodes[from].process.as_ref().is_some_and(|p| p.senders[to].is_some());
        if !is_open || is_connected || self.nodes[from].is_frozen || self.nodes[to].is_frozen {
            return;
        }
        let connection = self.next_connection();
        let (now, _) = self.turn(from);
        let peer = if to < from { to } else { to - 1 };
        let mut out = Vec::new();
        let Some(accepting) = &self.nodes[to].process else { return };
        let receiver = Receiver::new(Arc::clone(&accepting.replica), now);
        let Some(process) = &mut self.nodes[from].process else { return };
        let sender = Sender::new(Arc::clone(&process.replica), peer, now, &mut out);
        process.senders[to] = Some(SenderEnd { connection, sender, received: Vec::new() });
        if let Some(process) = &mut self.nodes[to].process {
            process.receivers.push(ReceiverEnd { connection, receiver, received: Vec::new() });
        }
        let pipes = [Pipe::default(), Pipe::default()];
        self.connections().insert(connection, Connection { from, to, pipes });
        self.trace.note(self.now, format_args!("node {from} connects to {to}"));
        self.write(connection, 0, out);
        self.refresh_health();
    }

    /// Octets go into a pipe.
    fn write(&mut self, connection: u64, way: usize, octets: Vec<u8>) {
        if octets.is_empty() {
            return;
        }
        let Some((from, to)) = self.ends(connection, way) else { return };
        let (is_cut, earliest) = (self.ways.is_cut(from, to), self.now + self.ways.delay_ms[from][to]);
        let Some(wire) = self.connections().get_mut(&connection) else { return };
        let pipe = &mut wire.pipes[way];
        if is_cut {
            pipe.held.push(octets);
            return;
        }
        let due = earliest.max(pipe.last_due);
        pipe.last_due = due;
        self.after(due - self.now, Event::Octets(connection, way, octets));
    }

    /// The nodes at the beginning and at the end of a pipe.
    fn ends(&mut self, connection: u64, way: usize) -> Option<(usize, usize)> {
        let wire = self.connections().get(&connection)?;
        Some(if way == 0 { (wire.from, wire.to) } else { (wire.to, wire.from) })
    }

    /// What was held up goes on, where ways are open again.
    pub(crate) fn let_go(&mut self) {
        let connections: Vec<u64> = self.connections().keys().copied().collect();
        for connection in connections {
            for way in 0..2 {
                let Some((from, to)) = self.ends(connection, way) else { continue };
                if !self.ways.is_cut(from, to)
                    && let Some(wire) = self.connections().get_mut(&connection)
                {
                    let held = std::mem::take(&mut wire.pipes[way].held);
                    held.into_iter().for_each(|octets| self.write(connection, way, octets));
                }
            }
        }
    }

    pub(crate) fn octets(&mut self, connection: u64, way: usize, octets: Vec<u8>) {
        let Some((from, to)) = self.ends(connection, way) else { return };
        if self.nodes[to].is_frozen {
            self.nodes[to].held.push(Event::Octets(connection, way, octets));
            return;
        }
        let (now, unix_ms) = self.turn(to);
        let lives = ((from, self.nodes[from].life), (to, self.nodes[to].life));
        let Some(process) = &mut self.nodes[to].process else { return };
        let mut out = Vec::new();
        let outcome = if way == 0 {
            let Some(end) = process.receivers.iter_mut().find(|end| end.connection == connection) else {
                return;
            };
            append(&mut end.received, octets);
            end.receiver.receive(now, unix_ms, &mut end.received, &mut out)
        } else {
            let Some(end) = process.senders[from].as_mut().filter(|end| end.connection == connection) else {
                return;
            };
            append(&mut end.received, octets);
            end.sender.receive(now, unix_ms, &mut end.received, &mut out)
        };
        self.model.met.entry(lives).or_insert(self.now);
        self.write(connection, 1 - way, out);
        if let Err(broken) = outcome {
            self.trace.note(self.now, format_args!("node {to} closes a connection with {from}: {broken}"));
            self.close(connection, 1 - way);
        }
        self.settle(to);
    }

    /// Receivers say that they are there, or see that nobody else is. It is the node's turn.
    pub(crate) fn wake_receivers(&mut self, node: usize) {
        let now = self.instant();
        let Some(process) = &mut self.nodes[node].process else { return };
        let woken = process.receivers.iter_mut().map(|end| (end.connection, said(&mut end.receiver, now)));
        let woken: Vec<_> = woken.filter_map(|(connection, said)| Some((connection, said?))).collect();
        for (connection, (out, outcome)) in woken {
            self.write(connection, 1, out);
            if let Err(broken) = outcome {
                self.trace.note(self.now, format_args!("node {node} closes what it accepted: {broken}"));
                self.close(connection, 1);
            }
        }
    }

    /// Senders say what there is to say. It is the node's turn.
    pub(crate) fn push_senders(&mut self, node: usize) {
        let now = self.instant();
        let Some(process) = &mut self.nodes[node].process else { return };
        let ends = process.senders.iter_mut().flatten();
        let pushed = ends.map(|end| (end.connection, said(&mut end.sender, now)));
        let pushed: Vec<_> = pushed.filter_map(|(connection, said)| Some((connection, said?))).collect();
        for (connection, (out, outcome)) in pushed {
            self.write(connection, 0, out);
            if let Err(broken) = outcome {
                self.trace.note(self.now, format_args!("node {node} closes what it opened: {broken}"));
                self.close(connection, 0);
            }
        }
    }

    /// Whoever writes into a pipe closes the connection.
    fn close(&mut self, connection: u64, way: usize) {
        let Some((node, _)) = self.ends(connection, way) else { return };
        self.drop_end(connection, node, way);
        self.say_closed(connection, way);
        self.refresh_health();
    }

    /// The other side learns that a connection is closed, if that can come to it.
    pub(crate) fn say_closed(&mut self, connection: u64, way: usize) {
        let Some((from, to)) = self.ends(connection, way) else { return };
        if self.ways.is_cut(from, to) {
            return;
        }
        let due = self.now + self.ways.delay_ms[from][to];
        let last_due = self.connections().get(&connection).map_or(0, |wire| wire.pipes[way].last_due);
        self.after(due.max(last_due) - self.now, Event::Closed(connection, way));
    }

    pub(crate) fn closed(&mut self, connection: u64, way: usize) {
        let Some((_, node)) = self.ends(connection, way) else { return };
        if self.nodes[node].is_frozen {
            self.nodes[node].held.push(Event::Closed(connection, way));
            return;
        }
        self.turn(node);
        self.drop_end(connection, node, 1 - way);
        self.connections().remove(&connection);
        self.refresh_health();
        self.settle(node);
    }

    /// A node forgets its end, from which it writes into a pipe.
    fn drop_end(&mut self, connection: u64, node: usize, way: usize) {
        let Some(process) = &mut self.nodes[node].process else { return };
        if way == 0 {
            let is_it = |end: &mut SenderEnd| end.connection == connection;
            process.senders.iter_mut().for_each(|end| drop(end.take_if(is_it)));
        } else {
            process.receivers.retain(|end| end.connection != connection);
        }
    }

    /// The connection from one node to another breaks, and both see it.
    pub(crate) fn reset(&mut self, from: usize, to: usize) {
        let is_it = |wire: &Connection| (wire.from, wire.to) == (from, to);
        let broken: Vec<u64> =
            self.connections().iter().filter(|(_, wire)| is_it(wire)).map(|(id, _)| *id).collect();
        self.trace.note(self.now, format_args!("the connections from {from} to {to} are reset"));
        for connection in broken {
            self.drop_end(connection, from, 0);
            self.drop_end(connection, to, 1);
            self.connections().remove(&connection);
        }
        self.refresh_health();
    }

    /// Sees anew which ways carry changes.
    pub(crate) fn refresh_health(&mut self) {
        for from in 0..self.setting.nodes {
            for to in (0..self.setting.nodes).filter(|to| *to != from) {
                let is_healthy = self.is_healthy(from, to);
                let since = self.ways.healthy_since[from][to];
                if is_healthy && since == Ms::MAX {
                    self.ways.healthy_since[from][to] = self.now;
                } else if !is_healthy && since != Ms::MAX {
                    self.streams.parted(self.now, from, to, since);
                    self.ways.healthy_since[from][to] = Ms::MAX;
                }
            }
        }
    }

    fn is_healthy(&self, from: usize, to: usize) -> bool {
        let (Some(process), Some(peer)) = (&self.nodes[from].process, &self.nodes[to].process) else {
            return false;
        };
        let Some(end) = &process.senders[to] else { return false };
        let is_open = !self.ways.is_cut(from, to) && !self.ways.is_cut(to, from);
        let is_fast = self.ways.delay_ms[from][to].max(self.ways.delay_ms[to][from]) < SLOW_MS;
        let is_awake = !self.nodes[from].is_frozen && !self.nodes[to].is_frozen;
        is_open && is_fast && is_awake && peer.receivers.iter().any(|r| r.connection == end.connection)
    }
}

/// What one side of a connection has to say, or why it says nothing more; `None` if there is neither.
fn said(side: &mut impl Side, now: Instant) -> Option<(Vec<u8>, Result<(), Broken>)> {
    let mut out = Vec::new();
    let outcome = side.push(now, &mut out);
    (!out.is_empty() || outcome.is_err()).then_some((out, outcome))
}

/// Adds what came to what is not read yet.
fn append(received: &mut Vec<u8>, octets: Vec<u8>) {
    if received.is_empty() {
        *received = octets;
    } else {
        received.extend(octets);
    }
}
