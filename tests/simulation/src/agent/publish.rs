//! A user agent that publishes (RFC 3903 §4).

use bytes::Bytes;
use rand::RngExt;
use sip_message::HeaderName;

use super::{Outcome, Scene};
use crate::clock::Ms;
use crate::model::{Key, Operation};
use crate::node::DOMAIN;
use crate::port;
use crate::setting::pick;
use crate::sip::{self, Draft, Tuple};

pub(crate) struct Publishing {
    pub(crate) aor: usize,
    /// Of its initial PUBLISHes.
    ordinal: u32,
    version: u32,
    cseq: u32,
    min_expires: u32,
    live: Option<Live>,
    asked: Asked,
}

/// Its publication, as far as it knows.
struct Live {
    entity_tag: String,
    operation: usize,
    version: u32,
    until: Ms,
}

/// What the request under way asks for.
#[derive(Clone, Copy, Default)]
struct Asked {
    at: Ms,
    lifetime: Ms,
    version: u32,
    is_removal: bool,
}

impl Publishing {
    pub(crate) fn new(aor: usize) -> Self {
        Self { aor, ordinal: 0, version: 0, cseq: 0, min_expires: 0, live: None, asked: Asked::default() }
    }

    pub(crate) fn until(&self) -> Option<Ms> {
        self.live.as_ref().map(|live| live.until)
    }

    pub(crate) fn act(
        &mut self,
        scene: &mut Scene<'_>,
        client: usize,
        node: usize,
    ) -> Option<(usize, Bytes)> {
        if self.live.as_ref().is_some_and(|live| live.until <= scene.now) {
            self.live = None;
        }
        self.cseq += 1;
        let is_new = self.live.is_none();
        self.ordinal += u32::from(is_new);
        let is_removal = !is_new && scene.rng.random_bool(0.15);
        let is_refresh = !is_new && !is_removal && scene.rng.random_bool(0.4);
        let seconds = (*pick(scene.rng, &[10, 30, 60, 120, 300, 300])).max(self.min_expires);
        let seconds = if is_removal { 0 } else { seconds };
        let mut version = self.live.as_ref().map_or(0, |live| live.version);
        let mut body = String::new();
        if !is_removal && !is_refresh {
            self.version += 1;
            version = self.version;
            body = sip::document(self.aor, Tuple { client, ordinal: self.ordinal, version });
        }
        let lifetime = Ms::from(seconds) * 1000;
        self.asked = Asked { at: scene.now, lifetime, version, is_removal };
        let key = Key::Publication { aor: self.aor, client, ordinal: self.ordinal };
        let value = (!is_removal).then_some(version);
        let operation = scene.model.begin(Operation {
            node,
            writes: vec![(key, value, if is_removal { 600_000 } else { lifetime })],
            follows: self.live.as_ref().map(|live| live.operation),
            is_first: is_new,
            is_change: !is_refresh,
        });
        let mut lines = format!("Event: presence\r\nExpires: {seconds}\r\n");
        if let Some(live) = &self.live {
            lines += &format!("SIP-If-Match: {}\r\n", live.entity_tag);
        }
        if !body.is_empty() {
            lines += "Content-Type: application/pidf+xml\r\n";
        }
        let user = sip::user(self.aor);
        let text = Draft {
            method: "PUBLISH",
            uri: &format!("sip:{user}@{DOMAIN}"),
            operation,
            address: port::of_client(client),
            from: &user,
            from_tag: "p",
            to: &user,
            to_tag: None,
            call_id: &format!("p{client}"),
            cseq: self.cseq,
            lines: &lines,
            body: &body,
        };
        Some((operation, text.write()))
    }

    /// Returns whether to try again soon.
    pub(crate) fn conclude(&mut self, _: &mut Scene<'_>, operation: usize, outcome: &Outcome<'_>) -> bool {
        match outcome {
            Outcome::Answered(response) if response.status().is_success() => {
                let entity_tag = response.text(HeaderName::SipEtag).unwrap_or_default().to_owned();
                let Asked { at, lifetime, version, is_removal } = self.asked;
                let live = Live { entity_tag, operation, version, until: at + lifetime };
                self.live = (!is_removal).then_some(live);
                false
            }
            // RFC 3903 §4.1: it begins anew.
            Outcome::Answered(response) if response.status().as_u16() == 412 => {
                self.live = None;
                true
            }
            Outcome::Answered(_) => {
                if let Some(seconds) = outcome.number(HeaderName::MinExpires) {
                    self.min_expires = seconds;
                }
                true
            }
            Outcome::Timeout => true,
        }
    }
}
