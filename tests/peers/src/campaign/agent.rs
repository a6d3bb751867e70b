//! A user agent that does one thing after another: its socket, and its request under way (RFC 3261 §17.1.2).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::RngExt;

use super::scene::Scene;
use crate::client::{render, render_answer};
use crate::message::Message;

/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
/// How long a node may leave a request unanswered until the agent turns to another: less than Timer F, as telephones do
/// that know several servers.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Milliseconds from the end of a request to the next one.
const PAUSE_MS: std::ops::Range<u64> = 30..250;
/// How often an agent turns to another node though its own answers.
const WANDERING: f64 = 0.1;

/// What an agent is there for.
pub(crate) trait Role {
    /// What a request is to do.
    type Act;

    /// The next request, as for [`crate::UserAgent::request`]; `node` is where it will be sent.
    fn next(&mut self, scene: &mut Scene<'_>, node: usize) -> Option<(String, Self::Act)>;

    /// The node that the next request has to go to, if it matters.
    fn wanted_node(&self) -> Option<usize> {
        None
    }

    /// It was answered, finally, by that node.
    fn answered(&mut self, scene: &mut Scene<'_>, node: usize, act: Self::Act, response: &Message);

    /// It was not.
    fn given_up(&mut self, scene: &mut Scene<'_>, act: &Self::Act);

    /// It was answered long after it was given up.
    fn answered_late(&mut self, scene: &mut Scene<'_>, act: Self::Act, response: &Message);

    /// A request came from a node: the status and our tag, and whether the agent turns to that node.
    fn asked(
        &mut self,
        _scene: &mut Scene<'_>,
        _node: Option<usize>,
        _request: &Message,
    ) -> (&'static str, bool) {
        ("405 Method Not Allowed", false)
    }
}

/// An agent.
pub(crate) struct Agent<R: Role> {
    pub(crate) role: R,
    pub(crate) socket: UdpSocket,
    here: SocketAddr,
    /// To whom its next request goes.
    pub(crate) node: usize,
    under_way: Option<UnderWay<R::Act>>,
    given_up: BTreeMap<String, R::Act>,
    branches: u64,
    next_at: Instant,
    /// Its node was hit, then: it was not served since.
    pub(crate) hit_at: Option<Instant>,
}

struct UnderWay<A> {
    act: A,
    branch: String,
    text: String,
    node: usize,
    again_at: Instant,
    interval: Duration,
    until: Instant,
}

impl<R: Role> Agent<R> {
    pub(crate) fn new(role: R, node: usize, now: Instant) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let here = socket.local_addr()?;
        Ok(Self {
            role,
            socket,
            here,
            node,
            under_way: None,
            given_up: BTreeMap::new(),
            branches: 0,
            next_at: now,
            hit_at: None,
        })
    }

    /// Whether a request is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// When it has something to do by itself; an agent at rest begins nothing.
    pub(crate) fn due(&self, is_at_rest: bool) -> Option<Instant> {
        match &self.under_way {
            Some(under_way) => Some(under_way.again_at.min(under_way.until)),
            None => (!is_at_rest).then_some(self.next_at),
        }
    }

    /// Does what is due.
    pub(crate) fn act(&mut self, scene: &mut Scene<'_>, is_at_rest: bool) -> Result<()> {
        let now = scene.now;
        if let Some(under_way) = &mut self.under_way {
            if under_way.until <= now {
                self.give_up(scene);
            } else if under_way.again_at <= now {
                under_way.interval *= 2;
                under_way.again_at = now + under_way.interval;
                self.socket.send_to(under_way.text.as_bytes(), scene.nodes.sip[under_way.node])?;
            }
        } else if !is_at_rest && self.next_at <= now {
            self.next_at = now + Duration::from_millis(scene.rng.random_range(PAUSE_MS));
            if scene.rng.random_bool(WANDERING) {
                self.wander(scene);
            }
            self.node = self.role.wanted_node().unwrap_or(self.node);
            if let Some((text, act)) = self.role.next(scene, self.node) {
                self.branches += 1;
                let branch = format!("z9hG4bK{}-{}", self.here.port(), self.branches);
                let text = render(&text, "UDP", self.here, &branch)?;
                self.socket.send_to(text.as_bytes(), scene.nodes.sip[self.node])?;
                self.under_way = Some(UnderWay {
                    act,
                    branch,
                    text,
                    node: self.node,
                    again_at: now + T1,
                    interval: T1,
                    until: now + PATIENCE,
                });
            }
        }
        Ok(())
    }

    /// Takes what has come in.
    pub(crate) fn receive(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            let message = Message::new(String::from_utf8_lossy(&buffer[..length]));
            if message.start_line().starts_with("SIP/2.0 ") {
                self.answered(scene, &message);
            } else {
                self.asked(scene, from, &message)?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, scene: &mut Scene<'_>, response: &Message) {
        if response.start_line().starts_with("SIP/2.0 1") {
            return;
        }
        let branch = response.header("Via").split(";branch=").nth(1).and_then(|rest| rest.split(';').next());
        let branch = branch.unwrap_or_default();
        match self.under_way.take_if(|under_way| under_way.branch == branch) {
            Some(UnderWay { act, node, .. }) => {
                if response.start_line().starts_with("SIP/2.0 2")
                    && let Some(hit_at) = self.hit_at.take()
                {
                    let took = scene.now.saturating_duration_since(hit_at);
                    scene.tally.served.push(took);
                }
                self.role.answered(scene, node, act, response);
            }
            None => {
                if let Some(act) = self.given_up.remove(branch) {
                    self.role.answered_late(scene, act, response);
                }
            }
        }
    }

    fn asked(&mut self, scene: &mut Scene<'_>, from: SocketAddr, request: &Message) -> Result<()> {
        let node = scene.nodes.at_port(from.port());
        let (status, turns) = self.role.asked(scene, node, request);
        if turns && let Some(node) = node {
            self.node = node;
        }
        let answer = render_answer(request, status, "agent", "", self.here);
        self.socket.send_to(answer.as_bytes(), from)?;
        Ok(())
    }

    fn give_up(&mut self, scene: &mut Scene<'_>) {
        let Some(UnderWay { act, branch, .. }) = self.under_way.take() else { return };
        self.role.given_up(scene, &act);
        self.given_up.insert(branch, act);
        self.wander(scene);
        self.next_at = scene.now;
    }

    /// Turns to another node.
    fn wander(&mut self, scene: &mut Scene<'_>) {
        let nodes = scene.nodes.sip.len();
        self.node = (self.node + scene.rng.random_range(1..nodes)) % nodes;
    }
}
