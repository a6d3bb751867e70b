//! The NOTIFYs of each subscription as they leave the nodes (RFC 6665 §4.2.2, RFC 3261 §12.2): order, one at a time, none
//! for nothing, and no state that was not true.

use std::collections::BTreeMap;

use sip_message::{HeaderName, Request};

use crate::clock::Ms;
use crate::link::Ways;
use crate::model::{CATCH_UP_MS, Key, LAG_MS, Model};
use crate::sip::{self, Tuple};

/// RFC 3261 §17.1.2.2: Timer F, after which a NOTIFY is no longer in flight.
const TIMER_F_MS: Ms = 32_000;
/// How long what a watcher has may take to be on the disk, after its answer came.
const TOLD_MS: Ms = 3_000;

/// The subscriptions, by user agent and ordinal.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) list: BTreeMap<(usize, u32), Stream>,
    pub(crate) notifies: u64,
    /// NOTIFYs whose CSeq went back, as two nodes that could not talk both sent them.
    pub(crate) fenced: u64,
}

/// What was sent to one watcher in one dialog.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    emissions: Vec<Emission>,
    /// When a SUBSCRIBE was last executed.
    pub(crate) subscribed_at: Ms,
    /// From tag of its NOTIFYs.
    pub(crate) tag: Option<String>,
}

#[derive(Debug)]
struct Emission {
    at: Ms,
    node: usize,
    life: u64,
    cseq: u32,
    branch: String,
    shown: Option<Vec<Tuple>>,
    is_last: bool,
    /// When the subscription ends, by what it says.
    until: Ms,
    /// Whether the node that sent it must know of the last SUBSCRIBE.
    is_informed: bool,
    /// When the answer came to the node that sent it, and its code.
    answered: Option<(Ms, u16)>,
    /// Nodes that know that it was answered, a bit each.
    known_to: u32,
}

/// Who sends, and when.
#[derive(Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) now: Ms,
    pub(crate) node: usize,
    pub(crate) life: u64,
    /// CSeq of the last NOTIFY of the dialog that the watcher took; 0 if it has the dialog no more.
    pub(crate) taken: u32,
}

/// The subscription that a Call-ID names.
pub(crate) fn subscription_of(call_id: &str) -> Option<(usize, u32)> {
    let (client, ordinal) = call_id.strip_prefix('w')?.split_once('-')?;
    Some((client.parse().ok()?, ordinal.parse().ok()?))
}

impl Streams {
    /// A NOTIFY leaves a node: a new one, or a copy.
    pub(crate) fn emitted(
        &mut self,
        sender: Sender,
        aor: usize,
        request: &Request,
        model: &mut Model,
        ways: &Ways,
    ) -> Result<(), String> {
        let call_id = request.call_id();
        let subscription =
            subscription_of(call_id).ok_or_else(|| format!("a NOTIFY of no dialog: {call_id}"))?;
        let stream = self.list.entry(subscription).or_default();
        let branch = request.via().branch();
        if stream.emissions.iter().rev().any(|e| e.branch == branch) {
            return Ok(());
        }
        self.notifies += 1;
        let state = request.text(HeaderName::SubscriptionState).unwrap_or_default();
        let is_last = state.starts_with("terminated");
        let seconds = state.strip_prefix("active;expires=").and_then(|seconds| seconds.parse::<Ms>().ok());
        if !is_last && seconds.is_none() {
            return Err(format!("{call_id}: Subscription-State is {state:?}"));
        }
        if request.text(HeaderName::Event) != Some("presence")
            || request.header(HeaderName::Contact).is_none()
        {
            return Err(format!("{call_id}: a NOTIFY without Event or Contact"));
        }
        let tag = request.from().tag().unwrap_or_default();
        if stream.tag.get_or_insert_with(|| tag.to_owned()) != tag {
            // A SUBSCRIBE that was executed again by the next life of a node makes another dialog, which the watcher refuses.
            let (client, ordinal) = subscription;
            if model.keys.get(&Key::Subscription { client, ordinal }).is_some_and(|h| h.is_doubled) {
                return Ok(());
            }
            return Err(format!("{call_id}: a NOTIFY with another From tag"));
        }
        let shown = (!request.body().is_empty()).then(|| sip::tuples(request.body()));
        let cseq = request.cseq().number;
        let outcome = stream
            .check_order(sender, cseq, model, ways)
            .and_then(|is_fenced| {
                self.fenced += u64::from(is_fenced);
                stream.check_need(sender, aor, shown.as_deref(), model, ways)
            })
            .and_then(|()| check_truth(sender, aor, shown.as_deref(), model, ways));
        let (client, ordinal) = subscription;
        let key = Key::Subscription { client, ordinal };
        // A notifier gives up after the third in a row that was not taken (`Policy::failures_max`), whatever another one tells.
        if (is_last || stream.failures(sender) >= 2)
            && let Some(history) = model.keys.get_mut(&key)
        {
            history.has_ended = true;
        }
        let Sender { now: at, node, life, .. } = sender;
        let branch = branch.to_owned();
        let is_informed = model.knows_last(&key, (node, life), at, ways);
        stream.emissions.push(Emission {
            at,
            node,
            life,
            cseq,
            branch,
            shown,
            is_last,
            until: at + seconds.unwrap_or(0) * 1000,
            is_informed,
            answered: None,
            known_to: 0,
        });
        outcome.map_err(|error| format!("{call_id} CSeq {cseq}: {error}"))
    }

    /// An answer to a NOTIFY comes to the node that sent it.
    #[allow(clippy::too_many_arguments)] // which NOTIFY it is, and what came of it
    pub(crate) fn answered(
        &mut self,
        now: Ms,
        node: usize,
        life: u64,
        call_id: &str,
        cseq: u32,
        code: u16,
        model: &mut Model,
    ) {
        let Some(subscription) = subscription_of(call_id) else { return };
        let Some(stream) = self.list.get_mut(&subscription) else { return };
        let is_it = |e: &&mut Emission| (e.node, e.life, e.cseq) == (node, life, cseq);
        let Some(emission) = stream.emissions.iter_mut().rev().find(is_it) else { return };
        if emission.answered.is_none() && now < emission.at + TIMER_F_MS {
            emission.answered = Some((now, code));
        }
        let (client, ordinal) = subscription;
        if !(200..300).contains(&code)
            && code != 500
            && let Some(history) = model.keys.get_mut(&Key::Subscription { client, ordinal })
        {
            history.has_ended = true;
        }
    }

    /// Whether what a watcher was last told was known to one node alone, which has lost all: nobody knows that it has another
    /// state than that told before.
    pub(crate) fn has_lost(&self, client: usize, ordinal: u32, model: &Model) -> bool {
        let emissions = self.list.get(&(client, ordinal)).map(|stream| stream.emissions.iter());
        emissions.into_iter().flatten().max_by_key(|e| e.cseq).is_some_and(|last| {
            let is_over = model.standing[last.node].life != last.life;
            is_over && !model.has_kept_disk(last.node) && last.known_to == 0
        })
    }

    /// The way from one node to another, on which all went that was said before, is about to be cut.
    pub(crate) fn parted(&mut self, now: Ms, from: usize, to: usize, healthy_since: Ms) {
        if healthy_since.saturating_add(CATCH_UP_MS) > now {
            return;
        }
        for emission in self.list.values_mut().filter_map(|stream| stream.emissions.last_mut()) {
            if emission.node == from && emission.answered.is_some_and(|(at, _)| at + LAG_MS <= now) {
                emission.known_to |= 1 << to;
            }
        }
    }
}

impl Emission {
    fn is_accepted(&self) -> bool {
        matches!(self.answered, Some((_, 200..300)))
    }

    /// It was over for its node, which had not heard of a refresh; the watcher did not take that, and the node forgot it all.
    fn is_forgotten(&self, now: Ms) -> bool {
        let is_lost = self.at + TIMER_F_MS <= now;
        self.is_last && !self.is_informed && self.answered.map_or(is_lost, |(_, code)| code == 500)
    }
}

impl Stream {
    /// How many NOTIFYs in a row the watcher did not take of this life of a node, before the one that leaves.
    fn failures(&self, sender: Sender) -> usize {
        let own = self.emissions.iter().rev().filter(|e| (e.node, e.life) == (sender.node, sender.life));
        own.take_while(|e| !e.is_accepted()).count()
    }

    /// A SUBSCRIBE is executed.
    pub(crate) fn subscribed(&mut self, at: Ms) {
        self.subscribed_at = at;
    }

    /// The numbers of a dialog rise, and one NOTIFY is under way at a time. Returns whether this one goes back, as the nodes
    /// did not know of each other: the watcher will refuse it.
    fn check_order(&self, sender: Sender, cseq: u32, model: &Model, ways: &Ways) -> Result<bool, String> {
        let is_own = |e: &Emission| (e.node, e.life) == (sender.node, sender.life);
        // Up to an end that it forgot, a node knows no number of its own: it has the dialog anew, from another one.
        let forgotten = self.emissions.iter().rposition(|e| is_own(e) && e.is_forgotten(sender.now));
        let is_known =
            |(at, e): &(usize, &Emission)| !(is_own(e) && forgotten.is_some_and(|last| *at <= last));
        let known = self.emissions.iter().enumerate().filter(is_known).map(|(_, e)| e);
        let Some(highest) = known.clone().max_by_key(|e| e.cseq) else { return Ok(forgotten.is_some()) };
        let own = known.rev().find(|e| is_own(e));
        if let Some(own) = own {
            if cseq <= own.cseq {
                return Err(format!("CSeq goes back, from {}, on one node", own.cseq));
            }
            // A gap says that the dialog was another node's in between; the earlier NOTIFY is a matter of the past then.
            let is_next = cseq == own.cseq + 1;
            if is_next && own.answered.is_none() && sender.now < own.at + TIMER_F_MS {
                return Err(format!("sent while {} is not answered", own.cseq));
            }
            let is_latest = self.emissions.last().is_some_and(|last| last.branch == own.branch);
            let is_end = own.is_last && (own.is_informed || (own.is_accepted() && is_next));
            if is_end && is_latest && self.subscribed_at <= own.at {
                return Err("sent after the last one".to_owned());
            }
        }
        if cseq > highest.cseq {
            return Ok(false);
        }
        // It was over for a node, which forgot it, and which did not reach the watcher: one that had not heard of a refresh, as
        // the two could not talk, or one that was asked to end it.
        if highest.is_last && (highest.node, highest.life) != (sender.node, sender.life) {
            return Ok(true);
        }
        // So it was for one that had not heard of a refresh, and died before it could say so: its next life found nothing of the
        // dialog on its disk, and the watcher took none of those numbers, or was told by them when it ends (RFC 6665 §4.1.3),
        // and has not asked since.
        let standing = &model.standing[highest.node];
        let was_over = highest.until <= standing.thawed_at + model.early_ms;
        let is_left = highest.until <= sender.now && self.subscribed_at <= highest.at;
        let is_of_no_use = sender.taken < highest.cseq || is_left;
        if standing.life != highest.life && !highest.is_informed && was_over && is_of_no_use {
            return Ok(true);
        }
        // What only a node knew that lost all is not known to anybody.
        if model.standing[highest.node].life != highest.life && !model.has_kept_disk(highest.node) {
            return Ok(true);
        }
        let since =
            if highest.node == sender.node { 0 } else { ways.healthy_since[highest.node][sender.node] };
        if since.saturating_add(CATCH_UP_MS) <= sender.now && highest.at + LAG_MS <= sender.now {
            return Err(format!("CSeq goes back, from {} of node {}", highest.cseq, highest.node));
        }
        Ok(true)
    }

    /// Whoever has a state is not told it again, unless it asked.
    fn check_need(
        &self,
        sender: Sender,
        aor: usize,
        shown: Option<&[Tuple]>,
        model: &Model,
        ways: &Ways,
    ) -> Result<(), String> {
        let (Some(last), Some(shown)) = (self.emissions.last(), shown) else { return Ok(()) };
        let Some((answered_at, 200..300)) = last.answered else { return Ok(()) };
        if self.emissions.iter().any(|e| e.cseq > last.cseq) {
            return Ok(()); // two nodes notify, and have yet to hear of each other
        }
        // The last one may have waited before it left.
        let is_asked = self.subscribed_at + model.hold_ms >= last.at;
        // A node that went on for a time, and died before it told anything, leaves it open what the watcher has.
        let was_whole = ways.all_healthy_since().is_some_and(|since| since + CATCH_UP_MS <= last.at);
        let is_changed = !was_whole
            && (model.changed_at.get(&aor).is_some_and(|at| at + model.hold_ms + LAG_MS >= last.at)
                || !model.knows_all(aor, sender.node, last.at, ways));
        if last.is_last || is_asked || is_changed || last.shown.as_deref() != Some(shown) {
            return Ok(());
        }
        let must_know = if last.node != sender.node {
            last.known_to >> sender.node & 1 == 1
        } else if last.life == sender.life {
            true
        } else {
            // Its disk had it, when the process was killed.
            model.standing[sender.node].crash.is_some_and(|crash| {
                crash.keeps_disk && crash.life == last.life && answered_at + TOLD_MS <= crash.at
            })
        };
        if must_know { Err(format!("what was told by {} is told again", last.cseq)) } else { Ok(()) }
    }
}

/// What a node shows is composed of what it must know, and of what it may.
pub(crate) fn check_truth(
    sender: Sender,
    aor: usize,
    shown: Option<&[Tuple]>,
    model: &Model,
    ways: &Ways,
) -> Result<(), String> {
    let Some(shown) = shown else { return Ok(()) };
    for (key, _) in model.publications(aor) {
        let Key::Publication { client, ordinal, .. } = *key else { continue };
        let is_it = |tuple: &&Tuple| (tuple.client, tuple.ordinal) == (client, ordinal);
        let version = shown.iter().find(is_it).map(|tuple| tuple.version);
        let allowed = model.allowed(key, sender.node, sender.now, ways);
        if !allowed.contains(&version) {
            return Err(format!(
                "{key:?} is shown as {version:?} by node {}, not as {allowed:?}",
                sender.node
            ));
        }
    }
    let is_known =
        |t: &Tuple| model.keys.contains_key(&Key::Publication { aor, client: t.client, ordinal: t.ordinal });
    match shown.iter().find(|tuple| !is_known(tuple)) {
        Some(tuple) => Err(format!("{tuple:?} was never published")),
        None => Ok(()),
    }
}
