//! One shard of the state: presentities with their publications, and their watchers, under one lock of the owner.
//!
//! Everything that concerns one AOR is in one shard, so its changes are serialised. Nothing is sent from here: what is to be
//! sent is put out as octets, and the owner sends it when it has let go of the lock.

use std::hash::BuildHasher;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashMap};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use replication::{Durable, Persistence};
use sip_event::{Cause, Dialog, Failure, Input, Notify, NotifyBody, Output, Outputs, Permission, Reason};
use sip_message::{Aor, Request, Scheme, Transport, Uri};
use sip_service::{ClientFailure, Flow, Identity, LocateError, Network};
use sip_transaction::{ClientId, Due, Wheel};

use crate::entity_tag::{EntityTag, EntityTags};
use crate::error::RETRY_AFTER_SECONDS;
use crate::hop::flow_to_watcher;
use crate::keep::is_own;
use crate::keys::{LocalTag, SHARDS, WatcherKey};
use crate::persist;
use crate::presentity::{Change, Presentity, WatcherRef};
use crate::publish::{IfMatch, PublishRequest};
use crate::scene::{Outgoing, Scene};
use crate::settings::Served;
use crate::slots::Slots;
use crate::subscribe::SubscribeRequest;
use crate::view::View;
use crate::watcher::{Versions, Watcher};
use crate::{DomainConfig, Error, PACKAGE, PIDF, Watchers};

/// What a 200 to PUBLISH says.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) entity_tag: EntityTag,
    pub(crate) expires_seconds: u32,
    /// What the 200, and the NOTIFYs, have to wait for.
    pub(crate) durable: Option<Durable>,
}

/// What a 200 to SUBSCRIBE says.
#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) local_tag: LocalTag,
    pub(crate) contact: Box<str>,
    pub(crate) expires_seconds: u32,
    /// What the 200, and the NOTIFY, have to wait for.
    pub(crate) durable: Option<Durable>,
}

#[derive(Debug)]
pub(crate) enum Timer {
    Publications(Aor),
    Watcher(u32),
}

pub(crate) struct Shard {
    pub(crate) index: u32,
    pub(crate) presentities: HashMap<Aor, Presentity>,
    pub(crate) watchers: Slots<Watcher>,
    /// Where each watcher is.
    pub(crate) tags: HashMap<LocalTag, u32>,
    /// What watchers have that are not back yet.
    pub(crate) told: HashMap<LocalTag, Versions>,
    /// All that was kept is back: watchers are told.
    pub(crate) is_resumed: bool,
    wheel: Wheel<Timer>,
    rng: StdRng,
    entity_tags: EntityTags,
    hasher: DefaultHashBuilder,
}

impl Shard {
    pub(crate) fn new(index: u32, seed: u64, now: Instant, unix_ms: i64) -> Self {
        Self {
            index,
            presentities: HashMap::new(),
            watchers: Slots::new(),
            tags: HashMap::new(),
            told: HashMap::new(),
            is_resumed: false,
            wheel: Wheel::new(now),
            rng: StdRng::seed_from_u64(seed ^ (u64::from(index) << 32)),
            entity_tags: EntityTags::new(unix_ms, index, SHARDS),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// A PUBLISH that its sender may send (RFC 3903 §6, from step 3 on). Watchers are told in `out`.
    pub(crate) fn publish(
        &mut self,
        scene: &Scene<'_>,
        aor: &Aor,
        served: Served<'_>,
        request: &Request,
        out: &mut Vec<Outgoing>,
    ) -> Result<Published, Error> {
        let config = &scene.settings.config;
        let presentity = self.presentities.get(aor);
        let wanted =
            PublishRequest::read(request, config, |tag| presentity.is_some_and(|p| p.has(scene.now, tag)))?;
        let expires_seconds = wanted.expires_seconds;
        let expires_at = scene.now + Duration::from_secs(expires_seconds.into());
        let receipt = presentity.map_or(scene.unix_ms, |p| p.receipt(scene.unix_ms));
        let new_tag = self.entity_tags.next(&mut self.rng);
        // What ends is taken even when the disk is full: the journal keeps some room for it.
        if let Some(kept) = scene.kept.publications.as_ref().filter(|_| expires_seconds > 0) {
            kept.admit()?;
        }
        let change = match (wanted.if_match, wanted.document) {
            (IfMatch::Foreign, _) => return Err(Error::ConditionFailed),
            (IfMatch::New, None) => return Err(Error::NoBody),
            // Step 5: valid, but nothing is stored.
            (IfMatch::New, Some(_)) if expires_seconds == 0 => None,
            (IfMatch::New, Some(document)) => {
                if let Some(presentity) = presentity {
                    presentity.admit(scene.now, config.publications_per_aor_max)?;
                }
                scene.counts.admit_publication(config.publications_max)?;
                served.metrics.publications.inc();
                Some(Change::Add { entity_tag: new_tag, document, received_unix_ms: receipt, expires_at })
            }
            (IfMatch::Tag(entity_tag), _) if expires_seconds == 0 => {
                scene.counts.publications.fetch_sub(1, Ordering::Relaxed);
                served.metrics.publications.dec();
                Some(Change::Remove { entity_tag })
            }
            (IfMatch::Tag(entity_tag), document) => {
                let body = document.map(|document| (document, receipt));
                Some(Change::Update { entity_tag, new_tag, body, expires_at })
            }
        };
        let mut durable = None;
        if let Some(change) = change {
            let presentity = self.presentities.entry(aor.clone()).or_default();
            if let Some(kept) = &scene.kept.publications {
                drop(kept.append(scene.now, scene.unix_ms, self.index as usize, |out| {
                    presentity.put(&change, out, aor, scene.now, scene.unix_ms);
                }));
            }
            presentity.apply(change, scene.now, scene.unix_ms);
            self.update(scene, aor, Some(scene.now), out);
            // What watchers have is unknown from now on, and that too is to be written before they are told.
            durable = scene.kept.publications.as_ref().and_then(Persistence::so_far);
        }
        Ok(Published { entity_tag: new_tag, expires_seconds, durable })
    }

    /// A SUBSCRIBE without To tag for an existing user (RFC 6665 §4.2.1.1). The first NOTIFY is in `out`.
    #[allow(clippy::too_many_arguments)] // one request and its surroundings
    pub(crate) fn subscribe(
        &mut self,
        scene: &Scene<'_>,
        aor: &Aor,
        served: Served<'_>,
        request: &Request,
        source: &Flow,
        identity: Option<&Identity>,
        out: &mut Vec<Outgoing>,
    ) -> Result<Subscribed, Error> {
        let config = &scene.settings.config;
        let wanted = SubscribeRequest::read(request, config)?;
        let fingerprint = self.hasher.hash_one((request.call_id(), request.from().tag())) as u32;
        if let Some(presentity) = self.presentities.get(aor) {
            let is_merge = |w: &WatcherRef| {
                w.fingerprint == fingerprint
                    && self.watchers.get(w.slot).is_some_and(|watcher| watcher.is_merge(scene.now, request))
            };
            if presentity.watchers.iter().any(is_merge) {
                return Err(Error::MergedRequest);
            }
            if presentity.watchers.len() >= config.watchers_per_presentity_max {
                let max = config.watchers_per_presentity_max;
                return Err(Error::TooManyWatchers { max, retry_after_seconds: RETRY_AFTER_SECONDS });
            }
        }
        if let Some(kept) = scene.kept.subscriptions.as_ref().filter(|_| wanted.expires_seconds > 0) {
            kept.admit()?;
        }
        let local_tag = LocalTag::new(self.rng.next_u64(), self.index);
        let contact = contact(scene.network, is_secure(&request.uri()), source, aor);
        let mut dialog = Dialog::create(request, &local_tag.to_string(), contact.clone(), PACKAGE)?;

        self.update(scene, aor, None, out);
        let presentity = self.presentities.entry(aor.clone()).or_default();
        presentity.show(scene, aor, served.config, None);
        let outputs = match presentity.shown.as_ref().filter(|shown| shown.view != View::Nothing) {
            Some(shown) => dialog
                .subscribe(scene.now, &scene.settings.policy, shown.version, &subscribe_of(&wanted))
                .map_err(Error::from)
                .and_then(|outputs| scene.counts.admit_watcher(config.subscriptions_max).map(|()| outputs)),
            None => Err(Error::NothingPublished),
        };
        let outputs = match outputs {
            Ok(outputs) => outputs,
            Err(error) => {
                self.forget_if_idle(aor);
                return Err(error);
            }
        };
        let flow = flow_to_watcher(request, source, dialog.remote_target());
        let user = match identity {
            Some(Identity::User(user)) => Some(user.clone()),
            Some(Identity::TrustedPeer | Identity::Anyone) | None => None,
        };
        served.metrics.subscriptions.inc();
        let slot = self.watchers.insert(Watcher {
            dialog,
            presentity: aor.clone(),
            tag: local_tag,
            is_ours: true,
            written: None,
            flow,
            user,
            began: Some(scene.now),
            armed: None,
            cseq_reserved: 0,
            is_told_kept: false,
            is_contested: false,
            is_end_claimed: false,
        });
        self.tags.insert(local_tag, slot);
        presentity.watchers.push(WatcherRef { slot, fingerprint });
        self.perform(scene, slot, outputs, out);
        let durable = self.keep_watcher(scene, slot);
        Ok(Subscribed { local_tag, contact, expires_seconds: wanted.expires_seconds, durable })
    }

    /// A SUBSCRIBE within a dialog: a refresh, an unsubscription, or another subscription (RFC 6665 §4.2.1.4, §4.5.2).
    pub(crate) fn resubscribe(
        &mut self,
        scene: &Scene<'_>,
        local_tag: LocalTag,
        request: &Request,
        source: &Flow,
        identity: Option<&Identity>,
        out: &mut Vec<Outgoing>,
    ) -> Result<Subscribed, Error> {
        let policy = &scene.settings.policy;
        let (slot, watcher) = self.watcher(local_tag, request).ok_or(Error::NoSubscription)?;
        let aor = watcher.presentity.clone();
        let served = scene.settings.of_aor(&aor).ok_or(Error::NoSubscription)?;
        authorize(served, identity)?;
        if !watcher.is_from_watcher(identity) {
            return Err(Error::Forbidden { action: "refresh the subscription of another" });
        }
        watcher.dialog.receive(request)?;
        let wanted = SubscribeRequest::read(request, &scene.settings.config)?;
        watcher.dialog.may_subscribe(scene.now, policy, wanted.id)?;
        if let Some(kept) = scene.kept.subscriptions.as_ref().filter(|_| wanted.expires_seconds > 0) {
            kept.admit()?;
        }
        watcher.dialog.retarget(request)?;
        watcher.flow = match watcher.dialog.has_routes() {
            true => None,
            false => flow_to_watcher(request, source, watcher.dialog.remote_target()),
        };

        // Whom a watcher comes to notifies it from now on; another node that did hears of it.
        if self.watchers.get(slot).is_some_and(|watcher| !watcher.is_ours) {
            self.show_before(scene, &aor, served.config, out);
        }
        if let Some(watcher) = self.watchers.get_mut(slot).filter(|watcher| !watcher.is_ours) {
            watcher.make_ours();
            watcher.written = None;
            watcher.dialog.set_contact(contact(scene.network, is_secure(&request.uri()), source, &aor));
        }
        self.update(scene, &aor, None, out);
        let version = self.presentities.get(&aor).and_then(|p| p.shown.as_ref()).map(|shown| shown.version);
        let watcher = self.watchers.get_mut(slot).ok_or(Error::NoSubscription)?;
        let before = watcher.dialog.len();
        let subscribe = subscribe_of(&wanted);
        let outputs =
            watcher.dialog.subscribe(scene.now, policy, version.ok_or(Error::NoSubscription)?, &subscribe)?;
        let added = watcher.dialog.len().saturating_sub(before);
        let contact = watcher.dialog.contact().into();
        served.metrics.subscriptions.add(added as i64);
        self.perform(scene, slot, outputs, out);
        let durable = self.keep_watcher(scene, slot);
        Ok(Subscribed { local_tag, contact, expires_seconds: wanted.expires_seconds, durable })
    }

    /// Shows a presentity before a watcher is ours, so that it is told once, by the NOTIFY that its SUBSCRIBE asks for. Where
    /// there is nothing to show it ends like all.
    fn show_before(&mut self, scene: &Scene<'_>, aor: &Aor, domain: &DomainConfig, out: &mut Vec<Outgoing>) {
        self.update(scene, aor, None, out);
        let Some(presentity) = self.presentities.get_mut(aor) else { return };
        presentity.show(scene, aor, domain, None);
        if presentity.shown.as_ref().is_some_and(|shown| shown.view == View::Nothing) {
            presentity.hide();
        }
    }

    /// Whether a request belongs to a dialog that lives.
    pub(crate) fn has_dialog(&mut self, local_tag: LocalTag, request: &Request) -> bool {
        self.watcher(local_tag, request).is_some()
    }

    /// What came of a NOTIFY.
    pub(crate) fn conclude(
        &mut self,
        scene: &Scene<'_>,
        key: WatcherKey,
        input: Input,
        out: &mut Vec<Outgoing>,
    ) {
        let slot = key.slot();
        if !self.is_current(key) {
            return;
        }
        if input.confirms_end() {
            self.keep_end(scene, slot);
        }
        self.drive(scene, slot, input, out);
        if matches!(input, Input::Answered { .. }) {
            self.keep_told(scene, slot);
        }
    }

    /// Whether what a key names is still the watcher that it was made for, as this node knew it.
    pub(crate) fn is_current(&self, key: WatcherKey) -> bool {
        self.watchers.get(key.slot()).is_some() && key.is_of(self.watchers.generation(key.slot()))
    }

    /// When there may be a timer that is due: a time since this shard began.
    pub(crate) fn due(&self) -> Due {
        self.wheel.due()
    }

    /// Takes out the timers that are due. Most ticks have none.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Timer> {
        let mut due = Vec::new();
        self.wheel.advance(now, |timer| due.push(timer));
        due
    }

    /// Expiry of publications and of subscriptions, retries, paced NOTIFYs.
    pub(crate) fn run(&mut self, scene: &Scene<'_>, due: Vec<Timer>, out: &mut Vec<Outgoing>) {
        for timer in due {
            match timer {
                Timer::Publications(aor) => {
                    if let Some(presentity) = self.presentities.get_mut(&aor) {
                        presentity.armed = presentity.armed.filter(|armed| scene.now < *armed);
                        self.update(scene, &aor, None, out);
                    }
                }
                Timer::Watcher(slot) => {
                    if let Some(watcher) = self.watchers.get_mut(slot) {
                        watcher.armed = watcher.armed.filter(|armed| scene.now < *armed);
                        self.drive(scene, slot, Input::Wake, out);
                    }
                }
            }
        }
    }

    /// Everything is looked at again under other settings. Where presence is no longer served, publications are dropped
    /// and subscriptions end as `deactivated`: the watcher subscribes again at once (RFC 6665 §4.1.3), and the proxy that
    /// now stands in the notifier's place takes it on (§4.4.2).
    pub(crate) fn reconfigure(&mut self, scene: &Scene<'_>, out: &mut Vec<Outgoing>) {
        let aors = self.aors();
        for aor in aors {
            let Some(presentity) = self.presentities.get_mut(&aor) else { continue };
            if scene.settings.of_aor(&aor).is_some() {
                presentity.recompose();
                self.update(scene, &aor, None, out);
                continue;
            }
            if let Some(kept) = &scene.kept.publications {
                drop(kept.append(scene.now, scene.unix_ms, self.index as usize, |change| {
                    for publication in presentity.publications() {
                        persist::remove_publication(change, &aor, publication);
                    }
                }));
            }
            let dropped = presentity.clear();
            let slots: Vec<u32> = presentity.watchers.iter().map(|w| w.slot).collect();
            scene.forget_publications(&aor, dropped);
            for slot in slots {
                self.drive(scene, slot, Input::End(Reason::Deactivated), out);
            }
            self.forget_if_idle(&aor);
        }
    }

    /// The publications or the registration of an AOR, or the time, may be others: makes what is shown follow, and tells
    /// the watchers if it became another.
    pub(crate) fn update(
        &mut self,
        scene: &Scene<'_>,
        aor: &Aor,
        published_at: Option<Instant>,
        out: &mut Vec<Outgoing>,
    ) {
        let Some(served) = scene.settings.of_aor(aor) else { return };
        let Some(presentity) = self.presentities.get_mut(aor) else { return };
        scene.forget_publications(aor, presentity.expire(scene.now));
        let own: Vec<u32> =
            presentity.watchers.iter().map(|w| w.slot).filter(|slot| is_own(&self.watchers, *slot)).collect();
        if own.is_empty() {
            // Composed when somebody looks.
            presentity.hide();
        } else if presentity.show(scene, aor, served.config, published_at) {
            let input = match presentity.shown.as_ref().map(|shown| shown.view) {
                Some(View::Nothing) | None => Input::End(Reason::NoResource),
                Some(View::Composed | View::SyntheticOpen | View::SyntheticClosed) => Input::Changed,
            };
            for slot in own {
                self.drive(scene, slot, input, out);
            }
        }
        self.arm_publications(aor);
        self.forget_if_idle(aor);
    }

    /// Tells one watcher's dialog what happened, and does what comes of it.
    pub(crate) fn drive(&mut self, scene: &Scene<'_>, slot: u32, input: Input, out: &mut Vec<Outgoing>) {
        let Some(watcher) = self.watchers.get_mut(slot) else { return };
        if !watcher.is_ours {
            return self.follow(scene, slot);
        }
        let shown = self.presentities.get(&watcher.presentity).and_then(|p| p.shown.as_ref());
        let version = shown.map_or(0, |shown| shown.version);
        let outputs = watcher.dialog.handle(scene.now, &scene.settings.policy, version, input);
        let is_other = self.perform(scene, slot, outputs, out);
        let must_be_kept = |w: &Watcher| {
            w.cseq_reserved > 0 && (is_other || w.must_be_kept() || w.dialog.expires_at().is_none())
        };
        if self.watchers.get(slot).is_some_and(must_be_kept) {
            self.keep_claim(scene, slot);
        }
    }

    /// Does what comes of an input. Returns whether a subscription of the dialog has ended, but not the last.
    fn perform(
        &mut self,
        scene: &Scene<'_>,
        slot: u32,
        mut outputs: Outputs,
        out: &mut Vec<Outgoing>,
    ) -> bool {
        let generation = self.watchers.generation(slot);
        let Some(watcher) = self.watchers.get_mut(slot) else { return false };
        let shown = self.presentities.get(&watcher.presentity).and_then(|p| p.shown.as_ref());
        let version = shown.map_or(0, |shown| shown.version);
        let (mut is_other, mut is_refused) = (false, false);
        // Again as long as something could not be sent: each round takes a subscription, or begins a pause.
        while !outputs.is_empty() {
            let mut is_unsent = false;
            for output in outputs.drain(..) {
                match output {
                    Output::Ended(cause) => {
                        scene.subscription_ended(watcher, cause);
                        is_other = true;
                        is_refused |= matches!(cause, Cause::Refused { .. });
                    }
                    Output::Notify(notify) => {
                        let client = ClientId(self.rng.next_u64());
                        let key = WatcherKey::new(slot, generation, self.index);
                        let body = shown.filter(|shown| shown.view != View::Nothing).map(|shown| &shown.body);
                        match outgoing(scene.network, watcher, &notify, client, key, body) {
                            Ok(mut outgoing) => {
                                watcher.forget_told(scene);
                                outgoing.published_at =
                                    shown.filter(|_| notify.is_change).and_then(|shown| shown.published_at);
                                out.push(outgoing);
                            }
                            Err(error) => {
                                tracing::debug!(watcher = watcher.dialog.remote_target(), %error, "no way to a watcher");
                                scene.metrics.notify_failed(ClientFailure::Unreachable);
                                is_unsent = true;
                            }
                        }
                    }
                }
            }
            if is_unsent {
                let failed = Input::Failed(Failure::Unreachable);
                outputs = watcher.dialog.handle(scene.now, &scene.settings.policy, version, failed);
            }
        }
        if watcher.dialog.is_empty() {
            // Whom this node does not reach may have come to another.
            if !is_refused && watcher.cseq_reserved > 0 {
                self.keep_claim(scene, slot);
            }
            self.remove_watcher(scene, slot);
            return false;
        }
        if let Some(due) = watcher.dialog.deadline(&scene.settings.policy, version)
            && watcher.armed.is_none_or(|armed| due < armed)
        {
            // A timer that is no longer meant only wakes for nothing, so there is at most one that matters.
            watcher.armed = Some(due);
            self.wheel.insert(due, Timer::Watcher(slot));
        }
        is_other
    }

    pub(crate) fn remove_watcher(&mut self, scene: &Scene<'_>, slot: u32) {
        let Some(watcher) = self.watchers.remove(slot) else { return };
        self.tags.remove(&watcher.tag);
        let is_said = watcher.is_ours && watcher.cseq_reserved > 0;
        if let Some(kept) = scene.kept.subscriptions.as_ref().filter(|_| is_said) {
            let part = self.index as usize;
            drop(
                kept.append(scene.now, scene.unix_ms, part, |out| persist::remove_watcher(out, watcher.tag)),
            );
        }
        scene.counts.watchers.fetch_sub(1, Ordering::Relaxed);
        if let Some(presentity) = self.presentities.get_mut(&watcher.presentity) {
            if let Some(at) = presentity.watchers.iter().position(|w| w.slot == slot) {
                presentity.watchers.swap_remove(at);
            }
            self.forget_if_idle(&watcher.presentity);
        }
    }

    pub(crate) fn arm_publications(&mut self, aor: &Aor) {
        let Some(presentity) = self.presentities.get_mut(aor) else { return };
        if let Some(due) = presentity.next_expiry()
            && presentity.armed.is_none_or(|armed| due < armed)
        {
            presentity.armed = Some(due);
            self.wheel.insert(due, Timer::Publications(aor.clone()));
        }
    }

    pub(crate) fn forget_if_idle(&mut self, aor: &Aor) {
        if self.presentities.get(aor).is_some_and(Presentity::is_idle) {
            self.presentities.remove(aor);
        }
    }

    fn watcher(&mut self, local_tag: LocalTag, request: &Request) -> Option<(u32, &mut Watcher)> {
        let slot = *self.tags.get(&local_tag)?;
        let watcher = self.watchers.get_mut(slot)?;
        watcher.dialog.is_of(request).then_some((slot, watcher))
    }

    pub(crate) fn arm(&mut self, due: Instant, timer: Timer) {
        self.wheel.insert(due, timer);
    }
}

/// Whether the domain lets somebody watch (RFC 3856 §6.6).
pub(crate) fn authorize(served: Served<'_>, identity: Option<&Identity>) -> Result<(), Error> {
    let is_allowed = match served.config.watchers {
        Watchers::Allow => true,
        Watchers::Authenticated => matches!(identity, Some(Identity::User(_) | Identity::TrustedPeer)),
        // Refused by validation; whoever skips that gets the safe answer.
        Watchers::Rules => false,
    };
    if is_allowed { Ok(()) } else { Err(Error::Forbidden { action: "watch" }) }
}

fn subscribe_of<'a>(wanted: &SubscribeRequest<'a>) -> sip_event::Subscribe<'a> {
    sip_event::Subscribe {
        id: wanted.id,
        expires_seconds: wanted.expires_seconds,
        permission: Permission::Granted,
    }
}

/// Our Contact in a dialog: an address of ours at which the watcher reaches us (RFC 3261 §12.1.1). The user part is the
/// presentity's, for whoever reads traces; the dialog is found by the tag.
pub(crate) fn contact(network: &dyn Network, is_secure: bool, flow: &Flow, aor: &Aor) -> Box<str> {
    let scheme = if is_secure { "sips" } else { "sip" };
    let (user, sent_by) = (aor.user(), network.sent_by(flow));
    match flow.transport {
        Transport::Udp => format!("<{scheme}:{user}@{sent_by}>"),
        other => format!("<{scheme}:{user}@{sent_by};transport={}>", other.token()),
    }
    .into()
}

pub(crate) fn is_secure(uri: &Uri<'_>) -> bool {
    uri.scheme() == Scheme::Sips
}

fn outgoing(
    network: &dyn Network,
    watcher: &Watcher,
    notify: &Notify,
    client: ClientId,
    key: WatcherKey,
    body: Option<&Bytes>,
) -> Result<Outgoing, LocateError> {
    let body = body.filter(|_| notify.with_state);
    let hop = watcher.hop(network, body.map_or(0, Bytes::len))?;
    let body = body.map(|octets| NotifyBody { content_type: PIDF, octets });
    let bytes = watcher.render(notify, &hop, client, body);
    Ok(Outgoing { client, flow: hop.flow, bytes, key, published_at: None })
}
