//! User agents: each does one thing, as a careful client does it, over datagrams that get lost.

mod publish;
mod register;
mod watch;

use std::net::SocketAddr;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use sip_message::{HeaderName, Request, Response};

pub(crate) use publish::Publishing;
pub(crate) use register::{Registering, contact_uri};
pub(crate) use watch::{Dialog, Watching};

use crate::clock::Ms;
use crate::model::Model;
use crate::port;
use crate::setting::Setting;

/// RFC 3261 §17.1.2.2.
const T1_MS: Ms = 500;
const T2_MS: Ms = 4_000;

/// A user agent.
pub(crate) struct Client {
    pub(crate) index: usize,
    /// The node that it talks to at present.
    pub(crate) node: usize,
    /// When it is to be woken.
    pub(crate) due: Ms,
    pub(crate) role: Role,
    transaction: Option<Transaction>,
}

/// What a user agent does.
pub(crate) enum Role {
    Registering(Registering),
    Publishing(Publishing),
    Watching(Watching),
}

/// The request under way.
struct Transaction {
    operation: usize,
    text: Bytes,
    node: usize,
    interval: Ms,
    next_at: Ms,
    give_up_at: Ms,
}

/// What a user agent acts in.
pub(crate) struct Scene<'a> {
    pub(crate) now: Ms,
    pub(crate) rng: &'a mut StdRng,
    pub(crate) model: &'a mut Model,
    pub(crate) setting: &'a Setting,
    /// Whether there is anything to be done, but for what is under way.
    pub(crate) is_busy: bool,
    /// What is sent: when, from whom, to where.
    pub(crate) sent: Vec<(Ms, SocketAddr, SocketAddr, Bytes)>,
}

/// How a request ended.
pub(crate) enum Outcome<'a> {
    Answered(&'a Response),
    /// Nobody answered: it may have been executed or not.
    Timeout,
}

impl Outcome<'_> {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Answered(response) => Some(response.status().as_u16()),
            Self::Timeout => None,
        }
    }

    fn number(&self, name: HeaderName) -> Option<u32> {
        match self {
            Self::Answered(response) => response.number(name)?.ok(),
            Self::Timeout => None,
        }
    }
}

impl Client {
    pub(crate) fn new(index: usize, node: usize, due: Ms, role: Role) -> Self {
        Self { index, node, due, role, transaction: None }
    }

    /// It is time to do something.
    pub(crate) fn wake(&mut self, scene: &mut Scene<'_>) {
        match &mut self.transaction {
            Some(transaction) if scene.now >= transaction.give_up_at => {
                let operation = transaction.operation;
                self.transaction = None;
                self.conclude(scene, operation, &Outcome::Timeout);
            }
            Some(transaction) if scene.now >= transaction.next_at => {
                transaction.send(scene, self.index);
                self.due = transaction.next_at.min(transaction.give_up_at);
            }
            Some(transaction) => self.due = transaction.next_at.min(transaction.give_up_at),
            None if scene.is_busy => self.act(scene),
            None => self.due = Ms::MAX,
        }
    }

    fn act(&mut self, scene: &mut Scene<'_>) {
        if scene.rng.random_bool(0.15) {
            self.node = scene.rng.random_range(0..scene.setting.nodes);
        }
        let begun = match &mut self.role {
            Role::Registering(role) => role.act(scene, self.index, self.node),
            Role::Publishing(role) => role.act(scene, self.index, self.node),
            Role::Watching(role) => role.act(scene, self.index, self.node),
        };
        let Some((operation, text)) = begun else {
            self.pause(scene);
            return;
        };
        let patience = scene.rng.random_range(3_000..=9_000);
        let mut transaction = Transaction {
            operation,
            text,
            node: self.node,
            interval: T1_MS,
            next_at: scene.now,
            give_up_at: scene.now + patience,
        };
        transaction.send(scene, self.index);
        self.due = transaction.next_at;
        self.transaction = Some(transaction);
    }

    /// A response comes.
    pub(crate) fn answered(&mut self, scene: &mut Scene<'_>, operation: usize, response: &Response) {
        if response.status().is_final() && self.transaction.as_ref().is_some_and(|t| t.operation == operation)
        {
            self.transaction = None;
            self.conclude(scene, operation, &Outcome::Answered(response));
        }
    }

    fn conclude(&mut self, scene: &mut Scene<'_>, operation: usize, outcome: &Outcome<'_>) {
        let is_at_once = match &mut self.role {
            Role::Registering(role) => role.conclude(scene, outcome),
            Role::Publishing(role) => role.conclude(scene, operation, outcome),
            Role::Watching(role) => role.conclude(scene, operation, outcome),
        };
        if matches!(outcome.code(), None | Some(503)) {
            // Elsewhere.
            self.node = (self.node + scene.rng.random_range(1..scene.setting.nodes)) % scene.setting.nodes;
        }
        if is_at_once {
            self.due = scene.now + scene.rng.random_range(50..=1_000);
        } else {
            self.pause(scene);
        }
    }

    fn pause(&mut self, scene: &mut Scene<'_>) {
        let (until, weight) = match &self.role {
            Role::Registering(role) => (role.until(), 2),
            Role::Publishing(role) => (role.until(), 1),
            Role::Watching(role) => (role.until(), scene.setting.patience),
        };
        let pause = scene.rng.random_range(500..=20_000 * weight);
        // A careful client refreshes in time.
        let latest = until.map_or(Ms::MAX, |until| until.saturating_sub(8_000));
        self.due = (scene.now + pause).min(latest).max(scene.now + 100);
    }

    /// A NOTIFY comes. Returns what is wrong with it, if something is.
    pub(crate) fn notified(
        &mut self,
        scene: &mut Scene<'_>,
        from: SocketAddr,
        request: &Request,
    ) -> Result<(), String> {
        let Role::Watching(role) = &mut self.role else {
            return Err(format!("a NOTIFY to client {}, who watches nobody", self.index));
        };
        let is_over = role.notified(scene, self.index, from, request)?;
        if is_over && self.transaction.is_none() {
            self.due = scene.now + scene.rng.random_range(50..=1_000);
        }
        Ok(())
    }

    /// Its subscription, if it is there.
    pub(crate) fn dialog(&self) -> Option<&Dialog> {
        match &self.role {
            Role::Watching(role) => role.dialog(),
            Role::Registering(_) | Role::Publishing(_) => None,
        }
    }
}

impl Transaction {
    fn send(&mut self, scene: &mut Scene<'_>, client: usize) {
        scene.sent.push((scene.now, port::of_client(client), port::of_node(self.node), self.text.clone()));
        self.next_at = scene.now + self.interval;
        self.interval = (2 * self.interval).min(T2_MS);
    }
}
