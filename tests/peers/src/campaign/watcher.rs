//! Agents that watch (RFC 6665 §4.1): they subscribe, refresh and leave, and hold what they are told against what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::RngExt;

use super::agent::Role;
use super::cluster::{LAG_MAX, NAMES};
use super::document::Document;
use super::scene::{Made, Scene};
use crate::message::Message;

/// How long after a SUBSCRIBE a NOTIFY with the same state is its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// From how many CSeq numbers on a step tells that another node took the subscription over, or this one took it back.
const TAKEN_OVER: u32 = 1_000;

/// Somebody who watches a publisher.
pub(crate) struct Watcher {
    name: String,
    /// The number of the publisher.
    pub(crate) of: usize,
    dialogs: u32,
    dialog: Option<Dialog>,
}

/// The dialog that it has (RFC 6665 §4.4.1).
#[derive(Default)]
struct Dialog {
    call_id: String,
    /// The node's tag, when it is known.
    remote_tag: Option<String>,
    local_cseq: u32,
    /// Of the last NOTIFY that was accepted, with its branch: a copy of it is not another.
    remote_cseq: u32,
    branch: String,
    /// Who sent it, in which of its lives.
    teller: Option<(usize, u32)>,
    last: Option<Document>,
    /// The highest number that was shown of each publication.
    shown: BTreeMap<u64, u64>,
    /// Publications that were shown, and then no longer.
    gone: BTreeSet<u64>,
    /// When another node began to tell it, and what that one has shown of each publication since.
    turned_at: Option<Instant>,
    shown_by_teller: BTreeMap<u64, u64>,
    /// SUBSCRIBEs that a NOTIFY has yet to follow (RFC 6665 §4.2.1.2).
    asks: Vec<Ask>,
    /// A SUBSCRIBE was acknowledged.
    is_acknowledged: bool,
    /// It was asked to end, or nobody knows.
    may_end: bool,
    /// Nodes that do not know it.
    unknown_to: BTreeSet<usize>,
}

/// A SUBSCRIBE that a NOTIFY with the same state may follow.
#[derive(Debug)]
struct Ask {
    cseq: u32,
    /// When it was sent, or answered if that was late.
    at: Instant,
    is_answered: bool,
}

/// What a SUBSCRIBE is to do.
pub(crate) struct Subscribe {
    call_id: String,
    cseq: u32,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Begin,
    Refresh,
    End,
}

impl Watcher {
    pub(crate) fn new(number: usize, of: usize) -> Self {
        Self { name: format!("w{number}"), of, dialogs: 0, dialog: None }
    }

    /// What it was told last, if its subscription was acknowledged and is to go on.
    pub(crate) fn told(&self) -> Option<Option<&Document>> {
        let dialog = self.dialog.as_ref().filter(|dialog| dialog.is_acknowledged && !dialog.may_end)?;
        Some(dialog.last.as_ref())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The dialog that a response is about, if it is still that one.
    fn dialog_of(&mut self, act: &Subscribe) -> Option<&mut Dialog> {
        self.dialog.as_mut().filter(|dialog| dialog.call_id == act.call_id)
    }

    fn lost(&mut self, scene: &mut Scene<'_>, why: &str) {
        if let Some(dialog) = self.dialog.take().filter(|dialog| dialog.is_acknowledged && !dialog.may_end) {
            scene.tally.lost += 1;
            let (name, call_id) = (&self.name, dialog.call_id);
            let (teller, cseq) = (dialog.teller, dialog.remote_cseq);
            scene.tally.complain(format!(
                "the subscription {call_id} of {name} was lost: {why}; told last by {teller:?} with CSeq {cseq}"
            ));
        }
    }
}

impl Role for Watcher {
    type Act = Subscribe;

    fn wanted_node(&self) -> Option<usize> {
        let unknown_to = &self.dialog.as_ref()?.unknown_to;
        (0..NAMES.len()).find(|node| !unknown_to.is_empty() && !unknown_to.contains(node))
    }

    fn next(&mut self, scene: &mut Scene<'_>, node: usize) -> Option<(String, Subscribe)> {
        let kind = match &self.dialog {
            Some(dialog) if dialog.remote_tag.is_some() && !dialog.may_end => {
                match scene.rng.random_range(0..20) {
                    _ if !dialog.unknown_to.is_empty() => Kind::Refresh,
                    0 => Kind::End,
                    1..8 => Kind::Refresh,
                    _ => return None,
                }
            }
            _ => Kind::Begin,
        };
        if kind == Kind::Begin {
            self.dialogs += 1;
            let call_id = format!("{}-{}", self.name, self.dialogs);
            self.dialog = Some(Dialog { call_id, ..Dialog::default() });
        }
        let dialog = self.dialog.as_mut()?;
        dialog.local_cseq += 1;
        dialog.asks.push(Ask { cseq: dialog.local_cseq, at: scene.now, is_answered: false });
        dialog.may_end |= kind == Kind::End;
        let (name, call_id, cseq, of) = (&self.name, dialog.call_id.clone(), dialog.local_cseq, self.of);
        let (uri, tag) = match &dialog.remote_tag {
            None => (format!("sip:p{of}@example.test"), String::new()),
            // As through one name that all nodes have.
            Some(tag) => (format!("sip:p{of}@{}", scene.nodes.sip[node]), format!(";tag={tag}")),
        };
        let expires = if kind == Kind::End { 0 } else { 3_600 };
        let text = format!(
            "SUBSCRIBE {uri} SIP/2.0
             From: <sip:{name}@example.test>;tag=s
             To: <sip:p{of}@example.test>{tag}
             Call-ID: {call_id}
             CSeq: {cseq} SUBSCRIBE
             Contact: <sip:{name}@{{here}}>
             Event: presence
             Expires: {expires}"
        );
        Some((text, Subscribe { call_id, cseq, kind }))
    }

    fn answered(&mut self, scene: &mut Scene<'_>, node: usize, act: Subscribe, response: &Message) {
        let line = response.start_line().to_owned();
        let is_accepted = line.starts_with("SIP/2.0 200");
        if let Some(dialog) = self.dialog_of(&act) {
            dialog.asks.retain(|ask| ask.cseq != act.cseq || is_accepted);
            dialog.asks.iter_mut().filter(|ask| ask.cseq == act.cseq).for_each(|ask| ask.is_answered = true);
        }
        if is_accepted {
            scene.tally.acknowledged += 1;
            if let Some(dialog) = self.dialog_of(&act) {
                dialog.remote_tag = tag_of(response.header("To"));
                dialog.is_acknowledged = true;
                dialog.unknown_to.clear();
            }
        } else if line.starts_with("SIP/2.0 481") {
            // Another node may know of it what this one has not heard yet.
            scene.tally.unknown += 1;
            if let Some(dialog) = self.dialog_of(&act) {
                dialog.unknown_to.insert(node);
                if dialog.unknown_to.len() == NAMES.len() || dialog.may_end {
                    self.lost(scene, "no node knows it");
                }
            }
        } else {
            scene.tally.refused(response);
            if let Some(dialog) = self.dialog_of(&act).filter(|_| act.kind != Kind::Refresh) {
                dialog.may_end = true;
            }
        }
    }

    fn given_up(&mut self, _: &mut Scene<'_>, act: &Subscribe) {
        // One that began or ended may have done so or not; whoever notifies it is told that nobody knows it.
        if let Some(dialog) = self.dialog_of(act).filter(|_| act.kind != Kind::Refresh) {
            dialog.may_end = true;
        }
    }

    fn answered_late(&mut self, scene: &mut Scene<'_>, act: Subscribe, response: &Message) {
        if response.start_line().starts_with("SIP/2.0 200") {
            scene.tally.late += 1;
            let now = scene.now;
            if let Some(dialog) = self.dialog_of(&act) {
                dialog.asks.push(Ask { cseq: act.cseq, at: now, is_answered: true });
            }
        }
    }

    fn asked(
        &mut self,
        scene: &mut Scene<'_>,
        node: Option<usize>,
        request: &Message,
    ) -> (&'static str, bool) {
        let call_id = request.header("Call-ID");
        let Some(dialog) = self.dialog.as_mut().filter(|dialog| dialog.call_id == call_id) else {
            return ("481 Subscription Does Not Exist", false);
        };
        let remote_tag = tag_of(request.header("From"));
        if dialog.remote_tag.is_some() && dialog.remote_tag != remote_tag {
            return ("481 Subscription Does Not Exist", false);
        }
        let cseq = request.header("CSeq").split(' ').next().and_then(|cseq| cseq.parse().ok()).unwrap_or(0);
        if cseq <= dialog.remote_cseq {
            if cseq == dialog.remote_cseq && dialog.branch == request.header("Via") {
                return ("200 OK", false);
            }
            // RFC 3261 §12.2.2.
            scene.tally.fenced += 1;
            return ("500 Out Of Order", false);
        }
        dialog.remote_tag = remote_tag;
        let last_cseq = std::mem::replace(&mut dialog.remote_cseq, cseq);
        dialog.branch = request.header("Via").to_owned();
        let teller = node.map(|node| (node, scene.nodes.lives[node]));
        let is_over = request.header("Subscription-State").starts_with("terminated");
        if !is_over || !request.body().is_empty() {
            let asks = format!("{:?}", dialog.asks);
            let finding =
                dialog.look(scene, self.of, teller, cseq - last_cseq, Document::read(request.body()));
            if let Some(finding) = finding {
                let (name, last) = (&self.name, dialog.teller);
                scene.tally.complain(format!(
                    "{name} in {call_id}, CSeq {cseq} after {last_cseq}, by {teller:?} after {last:?}, asked {asks}: \
                     {finding}"
                ));
            }
        }
        dialog.teller = teller;
        if is_over {
            let why = request.header("Subscription-State").to_owned();
            self.lost(scene, &format!("its NOTIFY says {why}"));
        }
        ("200 OK", true)
    }
}

impl Dialog {
    /// Holds a document against what was shown before and what is true. Returns what is wrong with it.
    fn look(
        &mut self,
        scene: &mut Scene<'_>,
        of: usize,
        teller: Option<(usize, u32)>,
        skipped: u32,
        document: Document,
    ) -> Option<String> {
        let (now, made) = (scene.now, &scene.truth.0[of]);
        self.asks.retain(|ask| now.saturating_duration_since(ask.at) < ANSWER_LIMIT);
        let mut finding = None;
        if self.last.as_ref() == Some(&document) {
            // Two nodes that did not hear each other may both have told it: who goes on does not know what it has.
            let was_split =
                teller.is_some_and(|(node, _)| scene.nodes.deaf.iter().any(|(hearer, _)| *hearer == node));
            // A node that begins to tell it may do so by itself, not knowing what the watcher has. What another SUBSCRIBE asks
            // for is yet to come.
            let may_follow = |ask: &Ask| ask.is_answered || self.teller == teller;
            if let Some(at) = self.asks.iter().rposition(may_follow) {
                self.asks.remove(at);
            } else if self.teller != teller || skipped >= TAKEN_OVER || was_split {
                scene.tally.told_again += 1;
            } else {
                scene.tally.duplicated += 1;
                finding = Some(format!("told the same again: {document:?}"));
            }
        }
        let node = teller.map(|(node, _)| node);
        // A watcher that is told by another node is shown what that one has heard so far, and then what it hears.
        if self.teller.map(|(node, _)| node) != node {
            self.turned_at = Some(now);
            self.shown_by_teller.clear();
        }
        let is_lately = |at: Instant| now.saturating_duration_since(at) < LAG_MAX;
        let has_turned = self.turned_at.is_some_and(is_lately);
        let by_teller = &self.shown_by_teller;
        let deaf = &scene.nodes.deaf;
        // Of a publication that is not shown the number is 0.
        let excuse = |made: &Made, highest: u64, tuple: &u64, number: u64| {
            let is_hearing = has_turned && by_teller.get(tuple).is_none_or(|before| *before <= number);
            let is_recent = is_lately(made.changed);
            let written_at =
                made.sent_to.get(&highest).map(|(node, _)| *node).into_iter().chain(made.removed_at);
            let is_deaf =
                node.is_some_and(|hearer| written_at.into_iter().any(|at| deaf.contains(&(hearer, at))));
            is_deaf || (is_hearing && is_recent)
        };
        let mut verdict = Verdict::True;
        for (tuple, number) in &document.0 {
            let Some(made) = made.get(tuple).filter(|made| *number <= made.sent) else {
                verdict = Verdict::False(format!("{tuple}={number} was never published"));
                continue;
            };
            let highest = self.shown.get(tuple).copied().unwrap_or(0);
            let came_back = self.gone.contains(tuple) && !made.record.may_be(Some(*number));
            if *number < highest || came_back {
                // A request that was carried out late is counted where it is answered.
                let is_late = made.given_up.contains(number) || made.certain(now).is_none();
                let what = || {
                    format!(
                        "{tuple}={number} after {highest}, gone: {came_back}; {}",
                        made.describe(highest, now)
                    )
                };
                if !is_late {
                    verdict.join(excuse(made, highest, tuple, *number), what);
                }
            }
        }
        for (tuple, highest) in &self.shown {
            let is_shown = document.0.contains_key(tuple) || self.gone.contains(tuple);
            if let Some(made) = made.get(tuple).filter(|made| !is_shown && !made.may_be_gone(now)) {
                let what =
                    || format!("{tuple}={highest} is no longer shown; {}", made.describe(*highest, now));
                verdict.join(excuse(made, *highest, tuple, 0), what);
            }
        }
        match verdict {
            Verdict::True => {}
            Verdict::Behind => scene.tally.behind += 1,
            Verdict::False(what) => {
                scene.tally.falsely += 1;
                finding = Some(what);
            }
        }
        self.gone = self.shown.keys().filter(|tuple| !document.0.contains_key(tuple)).copied().collect();
        for (tuple, number) in &document.0 {
            let highest = self.shown.entry(*tuple).or_default();
            *highest = (*highest).max(*number);
            self.shown_by_teller.insert(*tuple, *number);
        }
        self.last = Some(document);
        finding
    }
}

/// What is to be said of a document.
enum Verdict {
    True,
    /// It was shown by a node that could not hear of what is newer, or not yet: the watcher turned to it.
    Behind,
    False(String),
}

impl Verdict {
    /// A publication is shown in an older state than before.
    fn join(&mut self, is_excused: bool, what: impl FnOnce() -> String) {
        match self {
            _ if !is_excused => *self = Self::False(what()),
            Self::True => *self = Self::Behind,
            Self::Behind | Self::False(_) => {}
        }
    }
}

fn tag_of(value: &str) -> Option<String> {
    value.split(";tag=").nth(1).map(|tag| tag.split(';').next().unwrap_or_default().to_owned())
}
