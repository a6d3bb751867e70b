//! The shell: shards under locks, and what is sent once they are let go.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Waker};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use replication::{
    Assertion, Durable, Kind, Malformed, NodeId, Owner, Persistence, Record, Replicated, Succession, part_of,
};
use sip_event::{Failure, Input};
use sip_message::{Aor, Reply, Request, Response};
use sip_service::{
    Answer, ClientFailure, ClientUser, Endpoint, Identity, Registrations, ServerTransaction, SipRequest,
    Stripe, Unsent,
};

use crate::answers::Answers;
use crate::follow::KINDS;
use crate::keys::{LocalTag, SHARDS, WatcherKey};
use crate::persist;
use crate::scene::{Counts, Kept, Outgoing, Scene};
use crate::settings::Current;
use crate::shard::{Published, Shard, Subscribed, authorize};
use crate::watcher::Watcher;
use crate::{Error, Metrics, Settings, headers};

/// The clocks, so that tests have their own.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Milliseconds since 1970 UTC: what timestamps in documents are made of.
    pub unix_ms: fn() -> i64,
    /// For durations that are measured; decisions take the time they are given.
    pub monotonic: fn() -> Instant,
}

/// Publications and subscriptions of all presentities. Survives a change of configuration.
///
/// A presentity's publications and watchers are in one shard, under one lock. While it is held, registrations may be asked
/// and a next hop located; nothing is sent, and nobody who holds a lock of the registrar or of the endpoint calls in.
pub struct Presence {
    endpoint: Arc<Endpoint>,
    answers: Arc<Answers>,
    registrations: Arc<dyn Registrations>,
    settings: ArcSwap<Current>,
    metrics: Metrics,
    clock: Clock,
    counts: Counts,
    kept: OnceLock<Kept>,
    /// NOTIFYs that wait until their CSeq numbers are reserved on the disk.
    held: Mutex<Vec<(Durable, Vec<Outgoing>)>>,
    began: Instant,
    shards: Box<[Stripe<Shard>]>,
}

impl Presence {
    /// Presence without publications or subscriptions. `seed` makes tags and entity-tags unpredictable, so it has to come
    /// from the operating system, but for tests.
    pub fn new(
        endpoint: Arc<Endpoint>,
        registrations: Arc<dyn Registrations>,
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
        seed: u64,
        now: Instant,
    ) -> Arc<Self> {
        let unix_ms = (clock.unix_ms)();
        Arc::new_cyclic(|presence| Self {
            endpoint,
            answers: Arc::new(Answers(Weak::clone(presence))),
            registrations,
            settings: ArcSwap::from_pointee(Current::new(settings, &metrics)),
            metrics,
            clock,
            counts: Counts::default(),
            began: now,
            shards: (0..SHARDS)
                .map(|index| Shard::new(index, seed, now, unix_ms))
                .map(|shard| Stripe::new(shard.due(), shard))
                .collect(),
            kept: OnceLock::new(),
            held: Mutex::default(),
        })
    }

    /// Takes back what a journal held at `now`, and returns the part that it is of; `None` for a record of another kind.
    /// Nobody is told anything yet. `own` is this node, if it is one of several: it notifies those whom it notified last.
    ///
    /// # Errors
    /// If a record of ours is not readable, or is of no domain that is served: it is not taken back.
    pub fn restore(
        &self,
        now: Instant,
        record: &Record<'_>,
        own: Option<NodeId>,
    ) -> Result<Option<usize>, Malformed> {
        let settings = self.settings.load();
        let scene = self.scene(now, &settings);
        let lifetime_max = scene.lifetime_max();
        if record.is_removed {
            return persist::part(record).map(Some);
        }
        match record.kind {
            persist::PUBLICATION => {
                let limits = settings.config.document_limits();
                let (aor, publication) =
                    persist::read_publication(record, now, scene.unix_ms, lifetime_max, &limits)?;
                settings.of_aor(&aor).ok_or(Malformed)?;
                scene.remember_publications(&aor, 1);
                self.shard_of(&aor).lock().restore_publication(&aor, publication);
            }
            persist::SUBSCRIPTION => {
                let mut watcher = Watcher::read(record, now, scene.unix_ms, lifetime_max)?;
                settings.of_aor(&watcher.presentity).ok_or(Malformed)?;
                // A tag is of the shard of its presentity, always.
                let is_of_shard = shard_index(&watcher.presentity) == watcher.tag.shard() as usize;
                if watcher.dialog.is_empty() || !is_of_shard {
                    return Err(Malformed);
                }
                let last = record.place.map(|place| place.version.node);
                watcher.is_ours = last.is_none() || own.is_none() || last == own;
                scene.remember_watcher(&watcher);
                self.shard_of(&watcher.presentity).lock().restore_watcher(watcher);
            }
            persist::TOLD => {
                let (tag, told) = persist::read_told(record)?;
                self.shards.get(tag.shard() as usize).ok_or(Malformed)?.lock().restore_told(tag, told);
            }
            _ => return Ok(None),
        }
        persist::part(record).map(Some)
    }

    /// From now on changes are written down, and those of other nodes are taken.
    pub fn keep(&self, kept: Kept) {
        self.kept.get_or_init(|| kept);
    }

    /// All that was kept is back, bindings too, and what other nodes have: from now on watchers are told what they do not
    /// have.
    pub fn resume(self: &Arc<Self>, now: Instant) {
        for shard in &self.shards {
            self.with_scene(now, |scene, out| shard.lock().resume(scene, out));
        }
    }

    /// Replaces the settings. Where presence is no longer served, publications are dropped and subscriptions end
    /// (`deactivated`); elsewhere watchers are told what the new settings change.
    pub fn reconfigure(self: &Arc<Self>, now: Instant, settings: Settings) {
        self.settings.store(Arc::new(Current::new(settings, &self.metrics)));
        for shard in &self.shards {
            self.with_scene(now, |scene, out| shard.lock().reconfigure(scene, out));
        }
    }

    /// The bindings of an AOR changed, or one expired. Called by the registrar without a lock; the registrations are asked
    /// again, so calls that come in another order do no harm.
    pub fn registration_changed(self: &Arc<Self>, now: Instant, aor: &Aor) {
        if self.settings.load().of_aor(aor).is_some_and(|served| served.config.uses_registration_state) {
            self.with_scene(now, |scene, out| self.shard_of(aor).lock().update(scene, aor, None, out));
        }
    }

    /// Expiry, retries and paced NOTIFYs of every `of`th shard from `share` on: each worker has its share, and calls this
    /// every tick.
    pub fn tick(self: &Arc<Self>, now: Instant, share: usize, of: usize) {
        let now_ms = now.saturating_duration_since(self.began).as_millis() as u64;
        for shard in self.shards.iter().skip(share).step_by(of.max(1)) {
            let due = shard.if_due(now_ms).map(|mut shard| shard.take_due(now)).unwrap_or_default();
            if !due.is_empty() {
                self.with_scene(now, |scene, out| shard.lock().run(scene, due, out));
            }
        }
    }

    /// Whether a request, whatever its method, belongs to a subscription dialog that lives: such a request other than
    /// SUBSCRIBE is to be answered 405, one that belongs to none 481 (RFC 3261 §12.2.2).
    pub fn is_in_dialog(&self, request: &Request) -> bool {
        let Some(tag) = request.to().tag().and_then(LocalTag::parse) else { return false };
        self.shards.get(tag.shard() as usize).is_some_and(|shard| shard.lock().has_dialog(tag, request))
    }

    /// Live publications of all domains.
    pub fn publications(&self) -> usize {
        self.counts.publications.load(Ordering::Relaxed)
    }

    /// Live subscription dialogs of all domains.
    pub fn subscription_dialogs(&self) -> usize {
        self.counts.watchers.load(Ordering::Relaxed)
    }

    /// RFC 3903 §6 steps 1 and 2, and §14.1: a user publishes for its own AOR, a trusted peer for any.
    pub(crate) fn publish(&self, request: &SipRequest, out: &mut Vec<Outgoing>) -> Result<Published, Error> {
        let message = request.message();
        let settings = self.settings.load();
        let served = settings.of_uri(&message.uri()).ok_or(Error::NotFound)?;
        let aor = Aor::of(&message.uri()).ok_or(Error::NotFound)?;
        let may_publish = match &request.identity {
            Some(Identity::User(user)) => *user == aor,
            Some(Identity::TrustedPeer | Identity::Anyone) => true,
            None => false,
        };
        // Before existence: what is forbidden to all tells nothing of who exists.
        if !may_publish {
            return Err(Error::Forbidden { action: "publish for this AOR" });
        }
        if !settings.directory.exists(&aor) {
            return Err(Error::NotFound);
        }
        headers::check_require(message)?;
        headers::event(message)?;
        let scene = self.scene(request.now, &settings);
        self.shard_of(&aor).lock().publish(&scene, &aor, served, message, out)
    }

    pub(crate) fn subscribe(
        &self,
        request: &SipRequest,
        out: &mut Vec<Outgoing>,
    ) -> Result<Subscribed, Error> {
        let message = request.message();
        let settings = self.settings.load();
        let scene = self.scene(request.now, &settings);
        let (source, identity) = (request.source(), request.identity.as_ref());
        if let Some(tag) = message.to().tag() {
            let tag = LocalTag::parse(tag).ok_or(Error::NoSubscription)?;
            let shard = self.shards.get(tag.shard() as usize).ok_or(Error::NoSubscription)?;
            return shard.lock().resubscribe(&scene, tag, message, source, identity, out);
        }
        let served = settings.of_uri(&message.uri()).ok_or(Error::NotFound)?;
        let aor = Aor::of(&message.uri()).ok_or(Error::NotFound)?;
        authorize(served, identity)?;
        if !settings.directory.exists(&aor) {
            return Err(Error::NotFound);
        }
        self.shard_of(&aor).lock().subscribe(&scene, &aor, served, message, source, identity, out)
    }

    /// Answers a request that was accepted and sends the NOTIFYs that come of it: at once, or when the change is on the disk.
    /// So nobody is told what a crash could still undo.
    pub(crate) fn acknowledge(
        self: Arc<Self>,
        transaction: ServerTransaction,
        now: Instant,
        reply: Reply,
        out: Vec<Outgoing>,
        durable: Option<Durable>,
    ) -> Answer<Error> {
        let Some(durable) = durable else {
            let answered = transaction.finish(&reply);
            self.send(now, out);
            return Answer::now(Ok(answered));
        };
        Answer::later(async move {
            let kept = durable.await;
            let answered = kept.map(|()| transaction.finish(&reply)).map_err(Error::from);
            // The state is what it is: whoever watches is told, even if a failing disk keeps it from being acknowledged.
            self.send_late((self.clock.monotonic)(), out);
            answered
        })
    }

    /// Sends what had to wait. Another node may have taken a watcher's dialog on meanwhile, and this one heard of it: that
    /// has moved the CSeq numbers, so what was made before would come too late (RFC 3261 §12.2.2).
    fn send_late(self: &Arc<Self>, now: Instant, mut out: Vec<Outgoing>) {
        out.retain(|Outgoing { key, .. }| {
            self.shards.get(key.shard() as usize).is_some_and(|shard| shard.lock().is_current(*key))
        });
        self.send(now, out);
    }

    /// Sends what was put out; no lock is held.
    pub(crate) fn send(self: &Arc<Self>, now: Instant, out: Vec<Outgoing>) {
        for Outgoing { client, flow, bytes, key, published_at } in out {
            let user: Arc<dyn ClientUser> = Arc::<Answers>::clone(&self.answers);
            match self.endpoint.request(now, client, false, bytes, &flow, user, key.0) {
                Ok(()) => {
                    if let Some(published_at) = published_at {
                        let lag = (self.clock.monotonic)().saturating_duration_since(published_at);
                        self.metrics.notify_lag().observe(lag.as_secs_f64());
                    }
                }
                Err(error) => {
                    match error {
                        Unsent::Unreachable(_) => {}
                        Unsent::TooManyTransactions => {
                            tracing::warn!("NOTIFY not sent: too many client transactions")
                        }
                    }
                    self.failed(now, key, ClientFailure::Unreachable);
                }
            }
        }
    }

    /// A NOTIFY has its final response.
    pub(crate) fn answered(self: &Arc<Self>, now: Instant, key: WatcherKey, response: &Response) {
        let code = response.status();
        self.metrics.notify_answered(code);
        let retry_after_seconds = headers::retry_after_seconds(response);
        self.conclude(now, key, Input::Answered { code, retry_after_seconds });
    }

    /// A NOTIFY will have none.
    pub(crate) fn failed(self: &Arc<Self>, now: Instant, key: WatcherKey, failure: ClientFailure) {
        self.metrics.notify_failed(failure);
        let failure = match failure {
            ClientFailure::Timeout => Failure::Timeout,
            ClientFailure::Unreachable => Failure::Unreachable,
        };
        self.conclude(now, key, Input::Failed(failure));
    }

    /// The outcome of a NOTIFY, and what comes of it.
    fn conclude(self: &Arc<Self>, now: Instant, key: WatcherKey, input: Input) {
        if let Some(shard) = self.shards.get(key.shard() as usize) {
            self.with_scene(now, |scene, out| shard.lock().conclude(scene, key, input, out));
        }
    }

    fn with_scene(self: &Arc<Self>, now: Instant, act: impl FnOnce(&Scene<'_>, &mut Vec<Outgoing>)) {
        let mut out = Vec::new();
        let settings = self.settings.load();
        let scene = self.scene(now, &settings);
        act(&scene, &mut out);
        let reserved =
            scene.kept.subscriptions.as_ref().filter(|_| scene.has_reserved.get() && !out.is_empty());
        match reserved.and_then(Persistence::so_far) {
            Some(durable) => self.held.lock().push((durable, out)),
            None => self.send(now, out),
        }
    }

    /// Sends the NOTIFYs whose CSeq numbers are reserved by now; to be called every tick. Only those wait that come after a
    /// start or after another node's: if this process ended before the reserve is on the disk, the next would use the same
    /// numbers again (RFC 3261 §12.2.1.1).
    pub fn send_held(self: &Arc<Self>, now: Instant) {
        let mut context = Context::from_waker(Waker::noop());
        // The state is what it is: watchers are told even if a failing disk keeps nothing.
        let is_kept = |(durable, _): &mut (Durable, _)| Pin::new(durable).poll(&mut context).is_ready();
        let ready: Vec<_> = self.held.lock().extract_if(.., is_kept).collect();
        ready.into_iter().for_each(|(_, out)| self.send_late(now, out));
    }

    /// How often NOTIFYs wait for their numbers.
    pub fn held(&self) -> usize {
        self.held.lock().len()
    }

    pub(crate) fn scene<'a>(&'a self, now: Instant, settings: &'a Current) -> Scene<'a> {
        Scene {
            now,
            unix_ms: (self.clock.unix_ms)(),
            clock: self.clock,
            settings,
            registrations: &*self.registrations,
            network: &**self.endpoint.network(),
            metrics: &self.metrics,
            counts: &self.counts,
            kept: self.kept.get().unwrap_or(&NOTHING_KEPT),
            has_reserved: Cell::new(false),
        }
    }

    pub(crate) fn shard_of(&self, aor: &Aor) -> &Stripe<Shard> {
        &self.shards[shard_index(aor)]
    }

    pub(crate) fn shards(&self) -> &[Stripe<Shard>] {
        &self.shards
    }

    pub(crate) fn settings(&self) -> Guard<Arc<Current>> {
        self.settings.load()
    }
}

impl Owner for Presence {
    fn parts(&self) -> usize {
        self.shards.len()
    }

    fn assert(&self, part: usize, into: &Assertion<'_>) {
        let settings = self.settings.load();
        let scene = self.scene((self.clock.monotonic)(), &settings);
        self.shards[part].lock().assert(&scene, into);
    }
}

impl Replicated for Presence {
    fn kinds(&self) -> &'static [Kind] {
        KINDS
    }

    fn apply(self: Arc<Self>, now: Instant, _: i64, part: usize, records: &[Record<'_>]) {
        if let Some(shard) = self.shards.get(part) {
            self.with_scene(now, |scene, out| shard.lock().apply(scene, records, out));
        }
    }

    fn take_over(self: Arc<Self>, now: Instant, succession: &Succession) {
        for shard in &self.shards {
            self.with_scene(now, |scene, out| shard.lock().take_over(scene, succession, out));
        }
    }
}

/// A shard's number is part of the tags of its watchers' dialogs, which outlive the process, and is the same on every node.
/// Who may choose AORs could crowd one shard, and slow it down, no more.
fn shard_index(aor: &Aor) -> usize {
    part_of(aor.as_str())
}

static NOTHING_KEPT: Kept = Kept { publications: None, subscriptions: None };

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence")
            .field("publications", &self.publications())
            .field("subscription_dialogs", &self.subscription_dialogs())
            .finish_non_exhaustive()
    }
}
