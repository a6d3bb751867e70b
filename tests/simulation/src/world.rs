//! A cluster and its clients in one thread: a queue of events in the order of virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sip_message::{Framed, HeaderName, Limits, Request, Response};

use crate::agent::{Client, Publishing, Registering, Role, Scene, Watching};
use crate::check::stream::{self, Sender, Streams};
use crate::clock::{self, EPOCH_UNIX_MS, Ms};
use crate::faults::Fault;
use crate::link::{Connection, Ways};
use crate::model::{Model, Standing};
use crate::node::{Node, Process};
use crate::port;
use crate::setting::Setting;
use crate::sip;
use crate::trace::Trace;

/// Something that happens at its time.
pub(crate) enum Event {
    /// A node looks at its timers.
    Tick(usize),
    /// A node lets answers go that waited for its disk.
    Poll(usize),
    /// A node begins a life.
    Start(usize),
    /// A node tries to connect to another.
    Connect(usize, usize),
    /// Octets come out of a pipe: 0 is there, 1 is back.
    Octets(u64, usize, Vec<u8>),
    /// The end of a connection is seen on the other side.
    Closed(u64, usize),
    Datagram(SocketAddr, SocketAddr, Bytes),
    Client(usize),
    /// Something breaks.
    Break,
    Mend(Fault),
}

/// Numbers below this one are of events that come first.
const FIRST_EVENTS: u64 = 1 << 32;

/// All there is.
pub(crate) struct World {
    pub(crate) setting: Setting,
    pub(crate) rng: StdRng,
    pub(crate) now: Ms,
    pub(crate) nodes: Vec<Node>,
    pub(crate) ways: Ways,
    pub(crate) clients: Vec<Client>,
    pub(crate) model: Model,
    pub(crate) streams: Streams,
    pub(crate) trace: Trace,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// What comes to whoever looks into the state from outside, by operation.
    pub(crate) observed: BTreeMap<usize, (Option<Response>, Option<Request>)>,
    /// Whether clients begin anything, and things break.
    pub(crate) is_busy: bool,
    pub(crate) tick_ms: Ms,
    began: Instant,
    queue: BTreeMap<(Ms, u64), Event>,
    events: u64,
    /// Of those, events that come before all others of their time.
    first_events: u64,
    connections: BTreeMap<u64, Connection>,
    last_connection: u64,
    lives: u64,
    /// Operations that were answered, each by a life of a node.
    responded: BTreeSet<(usize, u64)>,
    /// Operations whose acknowledgement waited for a peer in vain.
    alone: BTreeSet<usize>,
    failure: Option<String>,
}

impl World {
    #[allow(clippy::disallowed_methods)] // virtual time begins somewhere
    pub(crate) fn new(setting: Setting, is_verbose: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(setting.seed);
        let began = Instant::now();
        let ahead = |rng: &mut StdRng| if setting.has_jumps { rng.random_range(-20_000..=20_000) } else { 0 };
        let nodes = (0..setting.nodes).map(|_| Node::new(ahead(&mut rng))).collect();
        let ways = Ways::new(setting.nodes, || rng.random_range(1..=15));
        let has_both = setting.has_jumps && setting.has_disks;
        let model = Model {
            standing: vec![Standing::default(); setting.nodes],
            has_disks: setting.has_disks,
            has_jumps: setting.has_jumps,
            hold_ms: 100
                + if setting.has_disks { 2_600 } else { 0 }
                + if setting.waits_for_peer { 700 } else { 0 },
            settle_ms: setting.digest_seconds * 1000 + 15_000,
            early_ms: if has_both { 90_000 } else { 4_000 },
            late_ms: if has_both {
                90_000
            } else if setting.fault_pause_ms > 0 {
                30_000
            } else {
                4_000
            },
            ..Model::default()
        };
        let mut world = Self {
            trace: Trace::new(is_verbose),
            nodes,
            ways,
            model,
            rng,
            began,
            now: 0,
            clients: Vec::new(),
            streams: Streams::default(),
            faults: BTreeMap::new(),
            observed: BTreeMap::new(),
            is_busy: true,
            tick_ms: 25,
            queue: BTreeMap::new(),
            events: FIRST_EVENTS,
            first_events: 0,
            connections: BTreeMap::new(),
            last_connection: 0,
            lives: 0,
            responded: BTreeSet::new(),
            alone: BTreeSet::new(),
            failure: None,
            setting,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let Setting { nodes, aors, registering, publishing, watching, fault_pause_ms, .. } = self.setting;
        for node in 0..nodes {
            self.start(node);
            self.after(node as Ms, Event::Tick(node));
            for peer in (0..nodes).filter(|peer| *peer != node) {
                self.after(1, Event::Connect(node, peer));
            }
        }
        for index in 0..registering + publishing + watching {
            let aor = self.rng.random_range(0..aors);
            let role = if index < registering {
                Role::Registering(Registering::new(aor, self.rng.random_range(1..=3)))
            } else if index < registering + publishing {
                Role::Publishing(Publishing::new(aor))
            } else {
                Role::Watching(Watching::new(aor))
            };
            let (node, due) = (self.rng.random_range(0..nodes), self.rng.random_range(7_000..=20_000));
            self.clients.push(Client::new(index, node, due, role));
            self.after(due, Event::Client(index));
        }
        if fault_pause_ms > 0 {
            self.after(15_000, Event::Break);
        }
    }

    /// Has something happen later.
    pub(crate) fn after(&mut self, delay: Ms, event: Event) {
        self.events += 1;
        self.queue.insert((self.now + delay, self.events), event);
    }

    /// Has something happen now, before all that was to happen now.
    pub(crate) fn at_once(&mut self, event: Event) {
        self.first_events += 1;
        self.queue.insert((self.now, self.first_events), event);
    }

    pub(crate) fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(crate) fn fail(&mut self, text: String) {
        self.trace.note(self.now, format_args!("WRONG: {text}"));
        self.failure.get_or_insert(text);
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// What was found to be wrong.
    pub(crate) fn run_until(&mut self, until: Ms) -> Result<(), String> {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.handle(event);
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
        }
        self.now = until;
        Ok(())
    }

    pub(crate) fn run_for(&mut self, time: Ms) -> Result<(), String> {
        self.run_until(self.now + time)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick(node) => {
                let tick = self.tick_ms;
                self.after(tick, Event::Tick(node));
                if !self.nodes[node].is_frozen {
                    self.tick(node);
                }
            }
            Event::Poll(node) if self.nodes[node].is_frozen => self.nodes[node].held.push(Event::Poll(node)),
            Event::Poll(node) => self.settle(node),
            Event::Start(node) if self.nodes[node].process.is_none() => self.start(node),
            Event::Start(_) => {}
            Event::Connect(from, to) => self.connect(from, to),
            Event::Octets(connection, way, octets) => self.octets(connection, way, octets),
            Event::Closed(connection, way) => self.closed(connection, way),
            Event::Datagram(from, to, bytes) => self.datagram(from, to, bytes),
            Event::Client(client) if self.clients[client].due == self.now => {
                self.with_client(client, |client, scene| {
                    client.wake(scene);
                    Ok(())
                });
            }
            Event::Client(_) => {}
            Event::Break if self.is_busy => {
                self.break_something();
                let pause = self.rng.random_range(1..=2 * self.setting.fault_pause_ms);
                self.after(pause, Event::Break);
            }
            Event::Break => {}
            Event::Mend(fault) => self.mend(&fault),
        }
    }
}

/// Nodes.
impl World {
    /// An instant of the run.
    pub(crate) fn instant(&self) -> Instant {
        self.began + Duration::from_millis(self.now)
    }

    /// It is a node's turn.
    fn enter(&self, node: usize) -> (Instant, i64) {
        let now = self.instant();
        let unix_ms = EPOCH_UNIX_MS + self.now as i64 + self.nodes[node].ahead_ms;
        clock::set(now, unix_ms);
        self.nodes[node].disk.set(self.now, self.nodes[node].disk_delay);
        (now, unix_ms)
    }

    fn start(&mut self, node: usize) {
        self.lives += 1;
        self.nodes[node].life = self.lives;
        self.trace.note(self.now, format_args!("node {node} starts"));
        self.enter(node);
        let process = Process::start(&self.setting, node, self.lives, &self.nodes[node].disk);
        self.nodes[node].process = Some(process);
        let standing = &mut self.model.standing[node];
        *standing = Standing { life: self.lives, is_serving: false, thawed_at: self.now, ..*standing };
    }

    /// A process ends at once. Others see its connections end, unless its machine is gone too.
    pub(crate) fn crash(&mut self, node: usize, keeps_disk: bool, is_silent: bool) {
        if self.nodes[node].process.is_none() || self.nodes[node].is_frozen {
            return;
        }
        self.count(if keeps_disk { "crash" } else { "crash without disk" });
        self.trace.note(
            self.now,
            format_args!("node {node} crashes, keeps disk: {keeps_disk}, silent: {is_silent}"),
        );
        self.enter(node);
        self.model.crashed(self.now, node, keeps_disk, &self.ways);
        if let Some(mut process) = self.nodes[node].process.take() {
            if !is_silent {
                let ends = process.senders.iter().flatten().map(|end| (end.connection, 0));
                let ends = ends.chain(process.receivers.iter().map(|end| (end.connection, 1)));
                for (connection, way) in ends.collect::<Vec<_>>() {
                    self.say_closed(connection, way);
                }
            }
            if let Some(mut pen) = process.pen.take() {
                pen.write();
                let last = self.now - self.rng.random_range(0..=self.nodes[node].disk_delay).min(self.now);
                self.nodes[node].disk.crash(last);
            }
            let presence = Arc::downgrade(&process.presence);
            drop(process);
            if presence.strong_count() > 0 {
                self.fail(format!("node {node}: something keeps a process that is gone"));
            }
        }
        if !keeps_disk {
            self.nodes[node].disk.replace();
        }
        self.model.standing[node].is_serving = false;
        self.refresh_health();
    }

    fn tick(&mut self, node: usize) {
        let (now, _) = self.enter(node);
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.tick(now, self.now) {
            self.model.standing[node].is_serving = true;
            self.model.standing[node].thawed_at = self.now;
            self.trace.note(self.now, format_args!("node {node} serves"));
        }
        self.wake_receivers(node);
        self.settle(node);
    }

    /// Does what follows from a step of a node: what it changed is on its way to the disk and to its peers, what may be
    /// acknowledged is, and what it sent is under way.
    pub(crate) fn settle(&mut self, node: usize) {
        self.enter(node);
        let Some(process) = &self.nodes[node].process else { return };
        for branch in process.stack.take_executed() {
            if let Some(operation) = sip::operation_of(&branch) {
                self.executed(node, operation);
            }
        }
        let Node { process: Some(process), disk, .. } = &mut self.nodes[node] else { return };
        let is_woken = process.take_woken();
        if let Some(pen) = &mut process.pen {
            pen.write();
        }
        let synced_at = if process.pen.is_some() { disk.synced_at() } else { self.now };
        process.hold_new(synced_at);
        if is_woken {
            process.replica.gather(self.began + Duration::from_millis(self.now));
        }
        let waits = self.setting.waits_for_peer;
        if process.stack.next().is_some_and(|at| at <= self.now) {
            let before = process.replica.metrics().unacked();
            let gone = process.stack.poll(self.now);
            if !gone.is_empty() && (!waits || process.replica.metrics().unacked() != before) {
                self.alone.extend(gone.iter().filter_map(|branch| sip::operation_of(branch)));
            }
        }
        if let Some(at) = process.stack.next().filter(|at| *at > self.now) {
            self.after(at - self.now, Event::Poll(node));
        }
        self.push_senders(node);
        self.drain(node);
    }

    fn executed(&mut self, node: usize, operation: usize) {
        if operation >= self.model.operations.len() {
            return;
        }
        self.model.executed(operation, self.now);
        let writes = &self.model.operations[operation].writes;
        if let Some((crate::model::Key::Subscription { client, ordinal }, _, _)) = writes.first() {
            let stream = self.streams.list.entry((*client, *ordinal)).or_default();
            stream.subscribed(self.now);
        }
        self.trace.note(self.now, format_args!("node {node} executes {operation}: {writes:?}"));
    }

    /// Takes what a node sent.
    fn drain(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        let mut sent: Vec<_> = process
            .port
            .take()
            .into_iter()
            .filter_map(|(to, bytes)| match Framed::datagram(bytes, &Limits::default()) {
                Framed::Request(request) => {
                    let key = (to, request.call_id().to_owned(), request.cseq().number, 0);
                    Some((key, Framed::Request(request)))
                }
                Framed::Response(response) => {
                    let code = response.status().as_u16();
                    let key = (to, response.call_id().to_owned(), response.cseq().number, code);
                    Some((key, Framed::Response(response)))
                }
                Framed::Malformed(_) | Framed::Ping | Framed::Pong => None,
            })
            .collect();
        // In an order of their own: that of hash tables differs from run to run.
        sent.sort_by(|(a, _), (b, _)| a.cmp(b));
        for ((to, ..), framed) in sent {
            let bytes = match &framed {
                Framed::Request(request) => {
                    self.notify_leaves(node, request);
                    request.bytes().clone()
                }
                Framed::Response(response) => {
                    self.response_leaves(node, response);
                    response.bytes().clone()
                }
                Framed::Malformed(_) | Framed::Ping | Framed::Pong => continue,
            };
            self.transmit(port::of_node(node), to, bytes);
        }
    }

    fn notify_leaves(&mut self, node: usize, request: &Request) {
        let Some((client, ordinal)) = stream::subscription_of(request.call_id()) else { return };
        let Some(Role::Watching(role)) = self.clients.get(client).map(|client| &client.role) else { return };
        let taken = role.dialog().filter(|d| d.ordinal == ordinal).map_or(0, |d| d.remote_cseq);
        let sender = Sender { now: self.now, node, life: self.nodes[node].life, taken };
        let checked = self.streams.emitted(sender, role.aor, request, &mut self.model, &self.ways);
        let state = request.text(HeaderName::SubscriptionState).unwrap_or_default();
        let text = format!(
            "node {node} notifies {} {}: {state} {:?}",
            request.call_id(),
            request.cseq().number,
            sip::tuples(request.body())
        );
        self.trace.note(self.now, text);
        if let Err(failure) = checked {
            self.fail(failure);
        }
    }

    fn response_leaves(&mut self, node: usize, response: &Response) {
        let Some(operation) = sip::operation_of(response.via().branch()) else { return };
        let code = response.status().as_u16();
        self.trace.note(self.now, format_args!("node {node} answers {operation}: {code}"));
        if !self.responded.insert((operation, self.nodes[node].life)) {
            return; // the same again
        }
        if let (412 | 481, Some(known)) = (code, self.model.operations.get(operation)) {
            let key = known.writes.first().map(|(key, _, _)| *key);
            if key.is_some_and(|key| self.model.must_follow(&key, operation, node, self.now, &self.ways)) {
                self.fail(format!("node {node} answers {code} to {operation}, which follows {known:?}"));
            }
        }
        if operation < self.model.operations.len() {
            let is_by_peer = self.setting.waits_for_peer && !self.alone.contains(&operation);
            self.model.answered(operation, self.now, code / 100 == 2, is_by_peer);
        }
    }
}

/// The network between nodes and clients.
impl World {
    fn transmit(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        let Setting { loss_milli, repeat_milli, delay_ms_max, .. } = self.setting;
        let is_mute = self.node_at(from).is_some_and(|node| self.nodes[node].is_mute);
        if (self.is_busy && self.rng.random_range(0..1000) < loss_milli) || is_mute {
            return;
        }
        let is_repeated = self.is_busy && self.rng.random_range(0..1000) < repeat_milli;
        for _ in 0..1 + u32::from(is_repeated) {
            let delay = if self.is_busy { self.rng.random_range(1..=delay_ms_max) } else { 2 };
            self.after(delay, Event::Datagram(from, to, bytes.clone()));
        }
    }

    fn node_at(&self, address: SocketAddr) -> Option<usize> {
        (0..self.setting.nodes).find(|node| port::of_node(*node) == address)
    }

    fn datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        if let Some(node) = self.node_at(to) {
            if self.nodes[node].is_frozen {
                self.nodes[node].held.push(Event::Datagram(from, to, bytes));
                return;
            }
            let (now, _) = self.enter(node);
            let Node { process: Some(process), is_deaf: false, life, .. } = &self.nodes[node] else { return };
            let is_response = bytes.starts_with(b"SIP/2.0 ");
            // As a worker of the server does: what waited while the process was stopped is as old as what it knows.
            if !process.is_serving() || (!is_response && process.replica.is_behind(now)) {
                return;
            }
            let framed = Framed::datagram(bytes, &Limits::default());
            if let Framed::Response(response) = &framed {
                let (call_id, cseq) = (response.call_id(), response.cseq().number);
                let code = response.status().as_u16();
                self.streams.answered(self.now, node, *life, call_id, cseq, code, &mut self.model);
            }
            process.receive(now, from, framed);
            self.settle(node);
        } else if let Some(client) = port::client_at(to) {
            let framed = Framed::datagram(bytes, &Limits::default());
            if client >= self.clients.len() {
                self.observe(from, framed);
                return;
            }
            self.with_client(client, |client, scene| match &framed {
                Framed::Request(request) => client.notified(scene, from, request),
                Framed::Response(response) => {
                    if let Some(operation) = sip::operation_of(response.via().branch()) {
                        client.answered(scene, operation, response);
                    }
                    Ok(())
                }
                Framed::Malformed(_) | Framed::Ping | Framed::Pong => {
                    Err("a datagram that says nothing".into())
                }
            });
        }
    }

    /// Something comes to the observer, who answers NOTIFYs.
    fn observe(&mut self, from: SocketAddr, framed: Framed) {
        match framed {
            Framed::Response(response) => {
                if let Some(operation) = sip::operation_of(response.via().branch()) {
                    self.observed.entry(operation).or_default().0 = Some(response);
                }
            }
            Framed::Request(request) => {
                let own = port::of_client(self.clients.len());
                self.transmit(own, from, sip::answer(&request, 200));
                let operation = request.call_id().strip_prefix("observer").and_then(|text| text.parse().ok());
                if let Some(operation) = operation {
                    self.observed.entry(operation).or_default().1 = Some(request);
                }
            }
            Framed::Malformed(_) | Framed::Ping | Framed::Pong => {}
        }
    }

    fn with_client(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Client, &mut Scene<'_>) -> Result<(), String>,
    ) {
        let client = &mut self.clients[index];
        let before = client.due;
        let mut scene = Scene {
            now: self.now,
            rng: &mut self.rng,
            model: &mut self.model,
            setting: &self.setting,
            is_busy: self.is_busy,
            sent: Vec::new(),
        };
        let outcome = act(client, &mut scene);
        let (sent, due) = (scene.sent, client.due);
        if due != before && due != Ms::MAX {
            self.after(due.saturating_sub(self.now), Event::Client(index));
        }
        for (at, from, to, bytes) in sent {
            if at > self.now {
                // It takes its time before it sends.
                self.after(at - self.now, Event::Datagram(from, to, bytes));
            } else {
                self.transmit(from, to, bytes);
            }
        }
        if let Err(failure) = outcome {
            self.fail(failure);
        }
    }
}

/// What the connections between nodes need of it.
impl World {
    pub(crate) fn connections(&mut self) -> &mut BTreeMap<u64, Connection> {
        &mut self.connections
    }

    pub(crate) fn next_connection(&mut self) -> u64 {
        self.last_connection += 1;
        self.last_connection
    }

    pub(crate) fn turn(&self, node: usize) -> (Instant, i64) {
        self.enter(node)
    }
}
