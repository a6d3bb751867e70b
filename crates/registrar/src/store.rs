//! The bindings of all AORs, in shards, and the exact end of each.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hashbrown::hash_map::{Entry as MapEntry, HashMap};
use replication::{
    Assertion, Durable, Kind, Malformed, Owner, PARTS, Persistence, Record, Replicated, Succession, part_of,
};
use sip_message::Aor;
use sip_service::{Due, Registrations, Stripe, Target};
use smallvec::SmallVec;

use crate::persist;
use crate::{Binding, Bindings, Change, Config, Error, Metrics, Outcome, Register};

/// Told whenever an AOR went from registered to not, or back: by a REGISTER or by expiry. It is called with no lock held,
/// so two calls about one AOR may pass each other: it says that there is something to see, and
/// [`Registrations::is_registered`] what.
pub type Changes = Arc<dyn Fn(Instant, &Aor) + Send + Sync>;

/// All bindings. Everything that concerns one AOR is under the lock of its shard; no two locks are ever held at once.
pub struct Store {
    shards: Box<[Stripe<Shard>]>,
    looked: Looked,
    metrics: Metrics,
    changes: Changes,
    persistence: OnceLock<Persistence>,
}

/// What a REGISTER came to.
#[derive(Debug)]
pub struct Registered<T> {
    /// What `answer` returned.
    pub answer: T,
    /// For the counter.
    pub outcome: Outcome,
    /// What the acknowledgement has to wait for.
    pub durable: Option<Durable>,
    /// The AOR went from registered to not, or back: [`Store::announce`] is to be called with the acknowledgement, as the
    /// listener was not told yet.
    pub is_untold: bool,
}

/// AORs that one lock is held for while they expire; others get in between.
const EXPIRY_BATCH: usize = 128;

struct Shard {
    aors: HashMap<Aor, Entry>,
    /// Each AOR once, at a time no later than its first expiry. A refresh, which moves that further away, leaves it: when
    /// the time comes, the AOR is looked at and put in again.
    due: BTreeSet<(Instant, Aor)>,
    /// The latest time that the shard was told of.
    now: Option<Instant>,
    /// When something may expire, in milliseconds of [`Looked`].
    look_at: Due,
}

/// When all shards were last looked at: the time also of those in which nothing was to be done.
#[derive(Default)]
struct Looked {
    began: OnceLock<Instant>,
    latest_ns: AtomicU64,
}

struct Entry {
    bindings: Bindings,
    /// Where it is in `due`.
    due: Instant,
}

/// An AOR of which bindings expired.
struct Expired {
    aor: Aor,
    bindings: usize,
    is_last: bool,
}

impl Store {
    /// A store without bindings.
    pub fn new(metrics: Metrics, changes: Changes) -> Arc<Self> {
        let shards = (0..PARTS).map(|_| Shard::new()).map(|shard| Stripe::new(shard.look_at.clone(), shard));
        let (shards, looked) = (shards.collect(), Looked::default());
        Arc::new(Self { shards, looked, metrics, changes, persistence: OnceLock::new() })
    }

    /// From now on every change is written to a journal, which has been opened and whose bindings were restored.
    pub fn persist(&self, persistence: Persistence) {
        self.persistence.get_or_init(|| persistence);
    }

    /// Takes a binding back that a journal held at `now`, which is `unix_ms`, and returns the part that it is of. Nobody is
    /// told: that is for whoever starts the process, when all is there.
    ///
    /// # Errors
    /// If the record is none of ours.
    pub fn restore(&self, record: &Record<'_>, now: Instant, unix_ms: i64) -> Result<usize, Malformed> {
        if record.is_removed {
            return persist::aor_of(record.key).map(|aor| self.shard_index(&aor));
        }
        let (aor, binding) = persist::read(record, now, unix_ms)?;
        let part = self.shard_index(&aor);
        let mut shard = self.shards[part].lock();
        shard.learn(now);
        shard.change(&aor, |bindings| bindings.restore(binding));
        self.metrics.bindings(aor.domain(), 1);
        Ok(part)
    }

    /// Expires what is due at `now` in every `of`th shard from `share` on.
    pub fn tick(&self, now: Instant, share: usize, of: usize) {
        let now_ms = self.looked.note(now);
        for shard in self.shards.iter().skip(share).step_by(of.max(1)) {
            loop {
                let expired =
                    shard.if_due(now_ms).map(|mut shard| shard.expire(now, now_ms)).unwrap_or_default();
                for Expired { aor, bindings, is_last } in &expired {
                    self.metrics.bindings(aor.domain(), -count(*bindings));
                    if *is_last {
                        (self.changes)(now, aor);
                    }
                }
                if expired.len() < EXPIRY_BATCH {
                    break;
                }
            }
        }
    }

    /// The bindings of an AOR that live at `now`, in no particular order.
    pub fn bindings(&self, aor: &Aor, now: Instant) -> Vec<Binding> {
        let shard = self.shard(aor).lock();
        let bindings = shard.aors.get(aor).map(|entry| entry.bindings.iter());
        bindings.into_iter().flatten().filter(|binding| binding.is_live(now)).cloned().collect()
    }

    /// Does to an AOR's bindings what a REGISTER asks for, and has `answer` look at the result before anything else can
    /// change it.
    ///
    /// # Errors
    /// As [`Bindings::decide`], and [`Error::Storage`] if no change can be kept; then nothing has changed.
    pub fn register<T>(
        &self,
        now: Instant,
        aor: &Aor,
        register: &Register<'_>,
        config: &Config,
        answer: impl FnOnce(&Bindings) -> T,
    ) -> Result<Registered<T>, Error> {
        let (answer, outcome, durable, before, after) = {
            let lane = self.shard_index(aor);
            let mut shard = self.shards[lane].lock();
            shard.learn(now);
            let Shard { aors, due, .. } = &mut *shard;
            match aors.entry(aor.clone()) {
                MapEntry::Occupied(mut occupied) => {
                    let entry = occupied.get_mut();
                    let change = entry.bindings.decide(now, register, config)?;
                    let (outcome, before) = (change.outcome, entry.bindings.len());
                    let durable = self.keep(lane, now, aor, &entry.bindings, &change)?;
                    entry.bindings.apply(change);
                    let done = (answer(&entry.bindings), outcome, durable, before, entry.bindings.len());
                    match entry.bindings.first_expiry() {
                        Some(first) => entry.set_due(aor, first, due),
                        None => {
                            due.remove(&(entry.due, aor.clone()));
                            occupied.remove();
                        }
                    }
                    done
                }
                MapEntry::Vacant(vacant) => {
                    let mut bindings = Bindings::default();
                    let change = bindings.decide(now, register, config)?;
                    let outcome = change.outcome;
                    let durable = self.keep(lane, now, aor, &bindings, &change)?;
                    bindings.apply(change);
                    let done = (answer(&bindings), outcome, durable, 0, bindings.len());
                    if let Some(first) = bindings.first_expiry() {
                        due.insert((first, aor.clone()));
                        vacant.insert(Entry { bindings, due: first });
                    }
                    done
                }
            }
        };
        self.metrics.bindings(aor.domain(), count(after) - count(before));
        let is_transition = (before == 0) != (after == 0);
        // What a crash could still undo is not told.
        let is_untold = is_transition && durable.is_some();
        if is_transition && !is_untold {
            self.announce(now, aor);
        }
        Ok(Registered { answer, outcome, durable, is_untold })
    }

    /// Tells the listener that an AOR went from registered to not, or back.
    pub fn announce(&self, now: Instant, aor: &Aor) {
        (self.changes)(now, aor);
    }

    /// Writes down a change that is about to be applied, under the lock of the AOR's shard.
    fn keep(
        &self,
        lane: usize,
        now: Instant,
        aor: &Aor,
        bindings: &Bindings,
        change: &Change,
    ) -> Result<Option<Durable>, Error> {
        let Some(persistence) = self.persistence.get() else { return Ok(None) };
        // Who removes a binding has done so on all nodes, also where it has not come to yet.
        let absent = persistence.replica.as_ref().map_or(&[][..], |_| &change.absent[..]);
        // What only its time has ended is not written down: another node may have heard of a refresh, which that would undo.
        let removed = || bindings.of(&change.removed).filter(|binding| binding.is_live(now));
        if removed().next().is_none() && change.stored.is_empty() && absent.is_empty() {
            return Ok(None);
        }
        // What ends is taken even when the disk is full: the journal keeps some room for it.
        if !change.stored.is_empty() {
            persistence.admit()?;
        }
        let unix_ms = (persistence.unix_ms)();
        Ok(persistence.append(now, unix_ms, lane, |out| {
            for binding in removed().chain(absent) {
                persist::remove(out, aor, binding);
            }
            for binding in &change.stored {
                persist::put(out, aor, binding, now, unix_ms);
            }
        }))
    }

    /// Looks at the bindings of an AOR, the expired ones included, while nobody can change them.
    pub fn view<T>(&self, aor: &Aor, look: impl FnOnce(&Bindings) -> T) -> T {
        let shard = self.shard(aor).lock();
        match shard.aors.get(aor) {
            Some(entry) => look(&entry.bindings),
            None => look(&Bindings::default()),
        }
    }

    /// The AORs of a part that have bindings.
    pub fn aors(&self, part: usize) -> Vec<Aor> {
        self.shards.get(part).map(|shard| shard.lock().aors.keys().cloned().collect()).unwrap_or_default()
    }

    /// Says again that an AOR has the binding that a key names, as a change of now: somebody did not take it. `false` if it
    /// has none that lives.
    pub fn touch(&self, now: Instant, aor: &Aor, key: &[u8]) -> bool {
        let Some(persistence) = self.persistence.get() else { return false };
        let part = self.shard_index(aor);
        let shard = self.shards[part].lock();
        let bindings = shard.aors.get(aor).map(|entry| entry.bindings.iter());
        let is_it = |binding: &&Binding| binding.is_live(now) && persist::is_key_of(key, aor, binding);
        let Some(binding) = bindings.into_iter().flatten().find(is_it) else { return false };
        let unix_ms = (persistence.unix_ms)();
        // Nobody waits for it: it says what is kept already.
        drop(persistence.append(now, unix_ms, part, |out| persist::put(out, aor, binding, now, unix_ms)));
        true
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The targets of an AOR by falling q, of equal q the most recently registered first (RFC 5627 §6.1 wants that among
    /// the contacts of one instance). What has expired by the latest time that this store was told of is no target.
    pub(crate) fn targets(&self, aor: &Aor) -> Vec<Target> {
        let shard = self.shard(aor).lock();
        let Some(entry) = shard.aors.get(aor) else { return Vec::new() };
        let now = shard.now.max(self.looked.latest());
        let is_live = |binding: &&Binding| now.is_none_or(|now| binding.is_live(now));
        let mut live: SmallVec<[&Binding; 8]> = entry.bindings.iter().filter(is_live).collect();
        live.sort_by_key(|binding| Reverse((q_milli(binding), binding.updated_at())));
        live.into_iter().map(target).collect()
    }

    fn shard(&self, aor: &Aor) -> &Stripe<Shard> {
        &self.shards[self.shard_index(aor)]
    }

    /// The same on every node. Who may choose AORs could crowd one shard, and slow it down, no more.
    fn shard_index(&self, aor: &Aor) -> usize {
        part_of(aor.as_str())
    }
}

impl Owner for Store {
    fn parts(&self) -> usize {
        PARTS
    }

    fn assert(&self, part: usize, into: &Assertion<'_>) {
        let Some(persistence) = self.persistence.get() else { return };
        let shard = self.shards[part].lock();
        // The latest time that the shard was told of; one that was never told of any is empty.
        let Some(now) = shard.now.max(self.looked.latest()) else { return };
        let unix_ms = (persistence.unix_ms)();
        #[allow(clippy::disallowed_methods)] // they are sorted: the order is the same in every run
        let mut entries: Vec<(&Aor, &Entry)> = shard.aors.iter().collect();
        entries.sort_unstable_by_key(|(aor, _)| *aor);
        for (aor, entry) in entries {
            into.append(part, |out| {
                for binding in entry.bindings.iter() {
                    persist::put(out, aor, binding, now, unix_ms);
                }
            });
        }
    }
}

impl Replicated for Store {
    fn kinds(&self) -> &'static [Kind] {
        &[persist::BINDING]
    }

    fn apply(self: Arc<Self>, now: Instant, unix_ms: i64, part: usize, records: &[Record<'_>]) {
        let Some(persistence) = self.persistence.get() else { return };
        let mut transitions = Vec::new();
        let mut shard = self.shards[part % PARTS].lock();
        shard.learn(now);
        for record in persistence.adopt(now, unix_ms, part, records) {
            let Ok(aor) = persist::aor_of(record.key) else { continue };
            let is_it = |binding: &Binding| persist::is_key_of(record.key, &aor, binding);
            let (before, after) = match persist::read(record, now, unix_ms) {
                _ if record.is_removed => shard.change(&aor, |bindings| bindings.drop_one(is_it)),
                Ok((_, binding)) => shard.change(&aor, |bindings| bindings.put(binding, is_it)),
                Err(Malformed) => {
                    tracing::warn!("a binding of another node is not readable");
                    continue;
                }
            };
            self.metrics.bindings(aor.domain(), count(after) - count(before));
            if (before == 0) != (after == 0) {
                transitions.push(aor);
            }
        }
        drop(shard);
        // Of an AOR that came and went there is nothing to say; whoever hears of it asks for the state.
        transitions.iter().for_each(|aor| self.announce(now, aor));
    }

    /// Every node expires its bindings itself: there is nothing to act for.
    fn take_over(self: Arc<Self>, _: Instant, _: &Succession) {}
}

impl Registrations for Store {
    fn is_registered(&self, aor: &Aor, now: Instant) -> bool {
        self.shard(aor).lock().aors.get(aor).is_some_and(|entry| entry.bindings.is_live(now))
    }
}

impl Looked {
    /// It is done now. Returns the milliseconds since the first time.
    fn note(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(*self.began.get_or_init(|| now));
        self.latest_ns.fetch_max(elapsed.as_nanos() as u64, Ordering::Relaxed);
        elapsed.as_millis() as u64
    }

    fn latest(&self) -> Option<Instant> {
        let elapsed = Duration::from_nanos(self.latest_ns.load(Ordering::Relaxed));
        self.began.get().map(|began| *began + elapsed)
    }
}

impl Shard {
    fn new() -> Self {
        Self { aors: HashMap::new(), due: BTreeSet::new(), now: None, look_at: Due::never() }
    }

    /// Something is about to be done with it: the next tick looks at what expires when.
    fn learn(&mut self, now: Instant) {
        self.now = self.now.max(Some(now));
        self.look_at.set(0);
    }

    /// Changes the bindings of an AOR, and returns how many it had and has.
    fn change(&mut self, aor: &Aor, change: impl FnOnce(&mut Bindings)) -> (usize, usize) {
        let (mut bindings, was_due) = match self.aors.remove(aor) {
            Some(entry) => (entry.bindings, Some(entry.due)),
            None => (Bindings::default(), None),
        };
        let before = bindings.len();
        change(&mut bindings);
        let after = bindings.len();
        let first = bindings.first_expiry();
        let due = match (was_due, first) {
            (Some(was_due), Some(first)) => Some(was_due.min(first)),
            (None, first) => first,
            (Some(_), None) => None,
        };
        if due != was_due {
            if let Some(was_due) = was_due {
                self.due.remove(&(was_due, aor.clone()));
            }
            if let Some(due) = due {
                self.due.insert((due, aor.clone()));
            }
        }
        if let Some(due) = due {
            self.aors.insert(aor.clone(), Entry { bindings, due });
        }
        (before, after)
    }

    /// Removes what has expired, of at most [`EXPIRY_BATCH`] AORs, in the order of time.
    fn expire(&mut self, now: Instant, now_ms: u64) -> Vec<Expired> {
        self.learn(now);
        let mut expired = Vec::new();
        while expired.len() < EXPIRY_BATCH {
            if self.due.first().is_none_or(|(due, _)| *due > now) {
                break;
            }
            let Some((_, aor)) = self.due.pop_first() else { break };
            let MapEntry::Occupied(mut occupied) = self.aors.entry(aor.clone()) else { continue };
            let entry = occupied.get_mut();
            let bindings = entry.bindings.expire(now);
            let first = entry.bindings.first_expiry();
            match first {
                Some(first) => {
                    entry.due = first;
                    self.due.insert((first, aor.clone()));
                }
                None => {
                    occupied.remove();
                }
            }
            if bindings > 0 {
                expired.push(Expired { aor, bindings, is_last: first.is_none() });
            }
        }
        let left = self.due.first().map(|(due, _)| due.saturating_duration_since(now).as_millis() as u64);
        self.look_at.set(left.map_or(u64::MAX, |left_ms| now_ms + left_ms));
        expired
    }
}

impl Entry {
    /// Moves the AOR to an earlier place in `due` if it must be.
    fn set_due(&mut self, aor: &Aor, first: Instant, due: &mut BTreeSet<(Instant, Aor)>) {
        if first < self.due {
            due.remove(&(self.due, aor.clone()));
            due.insert((first, aor.clone()));
            self.due = first;
        }
    }
}

fn target(binding: &Binding) -> Target {
    Target {
        uri: Arc::clone(&binding.uri),
        q_milli: q_milli(binding),
        path: binding.path.as_deref().map(<[_]>::to_vec).unwrap_or_default(),
        flow: binding.flow.as_deref().copied(),
        instance: binding.instance.clone(),
    }
}

fn q_milli(binding: &Binding) -> u16 {
    binding.q_milli.unwrap_or(1000)
}

fn count(bindings: usize) -> i64 {
    i64::try_from(bindings).unwrap_or(i64::MAX)
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
