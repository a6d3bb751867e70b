//! A user agent that watches (RFC 6665 §4.1).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use rand::RngExt;
use sip_message::{HeaderName, Request};

use super::{Outcome, Scene};
use crate::clock::Ms;
use crate::model::{Key, Operation};
use crate::node::DOMAIN;
use crate::port;
use crate::setting::pick;
use crate::sip::{self, Draft, Tuple};

pub(crate) struct Watching {
    pub(crate) aor: usize,
    ordinal: u32,
    dialog: Option<Dialog>,
    asked: Asked,
}

/// A subscription as the watcher sees it.
pub(crate) struct Dialog {
    pub(crate) ordinal: u32,
    /// The notifier's tag: by the first NOTIFY or the 200, whichever came first.
    pub(crate) to_tag: Option<String>,
    target: String,
    cseq: u32,
    /// Of the last NOTIFY that was accepted.
    pub(crate) remote_cseq: u32,
    /// Whether a 200 has come.
    pub(crate) is_confirmed: bool,
    /// Whether it was asked to end.
    pub(crate) is_ending: bool,
    pub(crate) until: Ms,
    /// The request that last succeeded.
    operation: Option<usize>,
    /// The state that it has.
    pub(crate) shown: Option<Vec<Tuple>>,
    /// How many NOTIFYs it accepted.
    pub(crate) accepted: u32,
    /// How it answered NOTIFYs, by branch.
    answers: BTreeMap<String, u16>,
}

#[derive(Clone, Copy, Default)]
struct Asked {
    at: Ms,
    lifetime: Ms,
}

impl Watching {
    pub(crate) fn new(aor: usize) -> Self {
        Self { aor, ordinal: 0, dialog: None, asked: Asked::default() }
    }

    pub(crate) fn until(&self) -> Option<Ms> {
        self.dialog.as_ref().map(|dialog| dialog.until)
    }

    pub(crate) fn dialog(&self) -> Option<&Dialog> {
        self.dialog.as_ref()
    }

    pub(crate) fn act(
        &mut self,
        scene: &mut Scene<'_>,
        client: usize,
        node: usize,
    ) -> Option<(usize, Bytes)> {
        if self.dialog.as_ref().is_some_and(|dialog| dialog.until <= scene.now) {
            self.dialog = None;
        }
        if self.dialog.as_ref().is_some_and(|dialog| dialog.is_ending) {
            return None; // until its last NOTIFY comes, or its time is over
        }
        let is_new = self.dialog.is_none();
        self.ordinal += u32::from(is_new);
        let ordinal = self.ordinal;
        let user = sip::user(self.aor);
        let dialog = self.dialog.get_or_insert_with(|| Dialog {
            ordinal,
            to_tag: None,
            target: format!("sip:{user}@{DOMAIN}"),
            cseq: 0,
            remote_cseq: 0,
            is_confirmed: false,
            is_ending: false,
            until: scene.now + 40_000,
            operation: None,
            shown: None,
            accepted: 0,
            answers: BTreeMap::new(),
        });
        let is_end = !is_new && scene.rng.random_bool(0.1);
        let seconds: u32 = if is_end { 0 } else { *pick(scene.rng, &[30, 60, 120, 300, 300]) };
        let lifetime = Ms::from(seconds) * 1000;
        self.asked = Asked { at: scene.now, lifetime };
        dialog.cseq += 1;
        let key = Key::Subscription { client, ordinal };
        let operation = scene.model.begin(Operation {
            node,
            writes: vec![(key, (!is_end).then_some(1), if is_end { 600_000 } else { lifetime })],
            follows: dialog.operation,
            is_first: is_new,
            is_change: false,
        });
        let address = port::of_client(client);
        let text = Draft {
            method: "SUBSCRIBE",
            uri: &dialog.target,
            operation,
            address,
            from: &format!("watcher{client}"),
            from_tag: &from_tag(client, ordinal),
            to: &user,
            to_tag: dialog.to_tag.as_deref(),
            call_id: &call_id(client, ordinal),
            cseq: dialog.cseq,
            lines: &format!(
                "Contact: <sip:watcher{client}@{address}>\r\nEvent: presence\r\nExpires: {seconds}\r\n"
            ),
            body: "",
        };
        Some((operation, text.write()))
    }

    /// Returns whether to try again soon.
    pub(crate) fn conclude(
        &mut self,
        scene: &mut Scene<'_>,
        operation: usize,
        outcome: &Outcome<'_>,
    ) -> bool {
        let Some(dialog) = &mut self.dialog else { return true };
        match outcome {
            Outcome::Answered(response) if response.status().is_success() => {
                let text = |name| response.text(name).unwrap_or_default();
                let contact = text(HeaderName::Contact);
                dialog.target = contact.trim_matches(|c| c == '<' || c == '>').to_owned();
                let tag = response.to().tag().map(str::to_owned);
                dialog.to_tag = dialog.to_tag.take().or(tag);
                dialog.is_confirmed = true;
                dialog.operation = Some(operation);
                dialog.is_ending |= self.asked.lifetime == 0;
                let lifetime = if self.asked.lifetime == 0 { 40_000 } else { self.asked.lifetime };
                dialog.until = self.asked.at + lifetime;
                false
            }
            // It is over, or another one may be had; one that never began is left, and its NOTIFYs are refused.
            _ => {
                let is_gone = matches!(outcome.code(), Some(404 | 480 | 481 | 482));
                if is_gone || !dialog.is_confirmed || dialog.until <= scene.now {
                    self.dialog = None;
                }
                true
            }
        }
    }

    /// Returns whether the subscription is over by it.
    pub(crate) fn notified(
        &mut self,
        scene: &mut Scene<'_>,
        client: usize,
        from: SocketAddr,
        request: &Request,
    ) -> Result<bool, String> {
        let own = port::of_client(client);
        let branch = request.via().branch();
        let is_own = |d: &&mut Dialog| call_id(client, d.ordinal) == request.call_id();
        let Some(dialog) = self.dialog.as_mut().filter(is_own) else {
            scene.sent.push((scene.now, own, from, sip::answer(request, 481)));
            return Ok(false);
        };
        if let Some(code) = dialog.answers.get(branch) {
            scene.sent.push((scene.now, own, from, sip::answer(request, *code)));
            return Ok(false);
        }
        if scene.is_busy && scene.rng.random_bool(0.03) {
            return Ok(false); // as if it had been lost
        }
        let tag = request.from().tag().unwrap_or_default();
        if request.to().tag() != Some(&*from_tag(client, dialog.ordinal)) {
            return Err(format!("a NOTIFY whose To tag is not that of {}", request.call_id()));
        }
        if dialog.to_tag.as_deref().is_some_and(|known| known != tag) {
            scene.sent.push((scene.now, own, from, sip::answer(request, 481)));
            return Ok(false);
        }
        dialog.to_tag.get_or_insert_with(|| tag.to_owned());
        let cseq = request.cseq().number;
        // RFC 3261 §12.2.2.
        let code = if cseq <= dialog.remote_cseq { 500 } else { 200 };
        let is_late = scene.is_busy && scene.rng.random_bool(0.1);
        let at = scene.now + if is_late { scene.rng.random_range(100..=3_000) } else { 0 };
        dialog.answers.insert(branch.to_owned(), code);
        scene.sent.push((at, own, from, sip::answer(request, code)));
        if code == 500 {
            return Ok(false);
        }
        dialog.remote_cseq = cseq;
        dialog.accepted += 1;
        let contact = request.text(HeaderName::Contact).unwrap_or_default();
        dialog.target = contact.trim_matches(|c| c == '<' || c == '>').to_owned();
        let state = request.text(HeaderName::SubscriptionState).unwrap_or_default();
        if !request.body().is_empty() {
            dialog.shown = Some(sip::tuples(request.body()));
        }
        let is_over = state.starts_with("terminated");
        if is_over {
            self.dialog = None;
        }
        Ok(is_over)
    }
}

/// The Call-ID of a subscription.
pub(crate) fn call_id(client: usize, ordinal: u32) -> String {
    format!("w{client}-{ordinal}")
}

fn from_tag(client: usize, ordinal: u32) -> String {
    format!("w{client}t{ordinal}")
}
