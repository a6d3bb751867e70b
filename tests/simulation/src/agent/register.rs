//! A user agent that registers one contact or several (RFC 3261 §10.2).

use bytes::Bytes;
use rand::RngExt;
use sip_message::HeaderName;

use super::{Outcome, Scene};
use crate::clock::Ms;
use crate::model::{Key, Operation};
use crate::node::DOMAIN;
use crate::port;
use crate::setting::pick;
use crate::sip::{self, Draft};

pub(crate) struct Registering {
    pub(crate) aor: usize,
    contacts: Vec<Contact>,
    cseq: u32,
    versions: u32,
    min_expires: u32,
    /// What the request under way makes of each contact.
    asked: Vec<(usize, Option<Ms>)>,
    asked_at: Ms,
}

#[derive(Clone, Default)]
struct Contact {
    /// When it ends, if it is there as far as this user agent knows.
    until: Option<Ms>,
}

impl Registering {
    pub(crate) fn new(aor: usize, contacts: usize) -> Self {
        let contacts = vec![Contact::default(); contacts];
        Self { aor, contacts, cseq: 0, versions: 0, min_expires: 0, asked: Vec::new(), asked_at: 0 }
    }

    pub(crate) fn until(&self) -> Option<Ms> {
        self.contacts.iter().filter_map(|contact| contact.until).min()
    }

    pub(crate) fn act(
        &mut self,
        scene: &mut Scene<'_>,
        client: usize,
        node: usize,
    ) -> Option<(usize, Bytes)> {
        self.cseq += 1;
        self.asked.clear();
        self.asked_at = scene.now;
        let (mut lines, mut writes) = (String::new(), Vec::new());
        let first = scene.rng.random_range(0..self.contacts.len());
        for at in 0..self.contacts.len() {
            if at != first && scene.rng.random_bool(0.5) {
                continue;
            }
            self.versions += 1;
            let seconds = (*pick(scene.rng, &[20, 60, 60, 120, 300])).max(self.min_expires);
            let is_removed = self.contacts[at].until.is_some() && scene.rng.random_bool(0.2);
            let seconds = if is_removed { 0 } else { seconds };
            let uri = contact_uri(self.aor, client, at);
            lines += &format!("Contact: <{uri}>;v={};expires={seconds}\r\n", self.versions);
            let lifetime = Ms::from(seconds) * 1000;
            let key = Key::Binding { aor: self.aor, client, contact: at };
            let removed = (key, None, 600_000);
            writes.push(if is_removed { removed } else { (key, Some(self.versions), lifetime) });
            self.asked.push((at, (!is_removed).then_some(lifetime)));
        }
        let operation =
            scene.model.begin(Operation { node, writes, follows: None, is_first: false, is_change: false });
        let user = sip::user(self.aor);
        let text = Draft {
            method: "REGISTER",
            uri: &format!("sip:{DOMAIN}"),
            operation,
            address: port::of_client(client),
            from: &user,
            from_tag: "r",
            to: &user,
            to_tag: None,
            call_id: &format!("r{client}"),
            cseq: self.cseq,
            lines: &lines,
            body: "",
        };
        Some((operation, text.write()))
    }

    /// Returns whether to try again soon.
    pub(crate) fn conclude(&mut self, _: &mut Scene<'_>, outcome: &Outcome<'_>) -> bool {
        match outcome.code() {
            Some(200) => {
                for (at, lifetime) in &self.asked {
                    self.contacts[*at].until = lifetime.map(|lifetime| self.asked_at + lifetime);
                }
                false
            }
            Some(423) => {
                self.min_expires = outcome.number(HeaderName::MinExpires).unwrap_or(60);
                true
            }
            _ => true,
        }
    }
}

/// The URI of a contact.
pub(crate) fn contact_uri(aor: usize, client: usize, contact: usize) -> String {
    format!("sip:{}-{contact}@{}", sip::user(aor), port::of_client(client))
}
