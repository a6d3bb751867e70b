//! Agents that publish, modify, refresh and remove (RFC 3903 §4). Each publication has a tuple of its own, and each of
//! its documents a number that rises.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use rand::RngExt;

use super::agent::Role;
use super::document::pidf;
use super::record::Record;
use super::scene::{Made, PUBLICATION_SECONDS, Scene};
use crate::message::Message;

/// Somebody who publishes.
pub(crate) struct Publisher {
    number: usize,
    pub(crate) user: String,
    /// The publication that it goes on with: its tuple and its entity-tag.
    current: Option<(u64, String)>,
    tuples: u64,
    /// The number of the next document.
    documents: u64,
}

/// What a PUBLISH is to do.
pub(crate) struct Publish {
    tuple: u64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A document with that number.
    Document(u64),
    Refresh,
    Removal,
}

impl Publisher {
    pub(crate) fn new(number: usize) -> Self {
        Self { number, user: format!("p{number}"), current: None, tuples: 0, documents: 0 }
    }

    fn made<'a>(&self, scene: &'a mut Scene<'_>, tuple: u64) -> &'a mut Made {
        scene.truth.0[self.number].entry(tuple).or_insert_with(|| Made {
            record: Record::new(None),
            sent: 0,
            sent_to: BTreeMap::new(),
            removed_at: None,
            given_up: BTreeSet::new(),
            refreshed: scene.now,
            changed: scene.now,
        })
    }

    fn wanted(&self, scene: &mut Scene<'_>, act: &Publish) -> Option<u64> {
        match act.kind {
            Kind::Document(number) => Some(number),
            Kind::Refresh => self.made(scene, act.tuple).record.acknowledged(),
            Kind::Removal => None,
        }
    }
}

impl Role for Publisher {
    type Act = Publish;

    fn next(&mut self, scene: &mut Scene<'_>, node: usize) -> Option<(String, Publish)> {
        let (tuple, tag, kind) = match &self.current {
            None => {
                self.tuples += 1;
                (self.tuples, None, Kind::Document(0))
            }
            Some((tuple, tag)) => {
                let kind = match scene.rng.random_range(0..10) {
                    0..6 => Kind::Document(0),
                    6..8 => Kind::Refresh,
                    _ => Kind::Removal,
                };
                (*tuple, Some(tag.clone()), kind)
            }
        };
        let (kind, body) = match kind {
            Kind::Document(_) => {
                self.documents += 1;
                (Kind::Document(self.documents), pidf(&self.user, tuple, self.documents))
            }
            other => (other, String::new()),
        };
        let act = Publish { tuple, kind };
        let wanted = self.wanted(scene, &act);
        let now = scene.now;
        let made = self.made(scene, tuple);
        made.record.begin(wanted);
        if kind == Kind::Removal {
            made.changed = now;
            made.removed_at = Some(node);
        }
        if let Kind::Document(number) = kind {
            made.changed = now;
            made.sent = number;
            made.sent_to.insert(number, (node, now));
        }
        let user = &self.user;
        let expires = if kind == Kind::Removal { 0 } else { PUBLICATION_SECONDS };
        let condition = tag.map(|tag| format!("SIP-If-Match: {tag}")).unwrap_or_default();
        let content_type = if body.is_empty() { "" } else { "Content-Type: application/pidf+xml" };
        let text = format!(
            "PUBLISH sip:{user}@example.test SIP/2.0
             From: <sip:{user}@example.test>;tag=p
             To: <sip:{user}@example.test>
             Call-ID: {user}-{{here}}
             CSeq: {} PUBLISH
             Event: presence
             Expires: {expires}
             {condition}
             {content_type}

{body}",
            self.documents + 1
        );
        Some((text, act))
    }

    fn answered(&mut self, scene: &mut Scene<'_>, _: usize, act: Publish, response: &Message) {
        let wanted = self.wanted(scene, &act);
        let now: Instant = scene.now;
        let made = self.made(scene, act.tuple);
        if response.start_line().starts_with("SIP/2.0 200") {
            made.record.acknowledge(wanted);
            made.refreshed = now;
            if act.kind != Kind::Refresh {
                made.changed = now;
            }
            let tag = response.header("SIP-ETag").to_owned();
            self.current = (act.kind != Kind::Removal).then_some((act.tuple, tag));
            scene.tally.acknowledged += 1;
        } else if response.start_line().starts_with("SIP/2.0 412") {
            // The node does not know the entity-tag, as a request that was given up changed it, or not yet. What it named
            // stays until it expires; the agent begins anew (RFC 3903 §4.4).
            made.record.refuse();
            self.current = None;
            scene.tally.unknown += 1;
        } else {
            made.record.give_up();
            scene.tally.refused(response);
        }
    }

    fn given_up(&mut self, scene: &mut Scene<'_>, act: &Publish) {
        let wanted = self.wanted(scene, act);
        let made = self.made(scene, act.tuple);
        made.record.give_up();
        made.given_up.extend(wanted);
        if made.record.acknowledged().is_none() {
            // Nobody knows its entity-tag.
            self.current = None;
        }
    }

    fn answered_late(&mut self, scene: &mut Scene<'_>, act: Publish, response: &Message) {
        if response.start_line().starts_with("SIP/2.0 200") {
            let wanted = self.wanted(scene, &act);
            self.made(scene, act.tuple).record.doubt(wanted);
            scene.tally.late += 1;
        }
    }
}
