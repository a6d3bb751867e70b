//! This node's part in a cluster: the versions of all records, what it changed, and what the others are told.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use parking_lot::Mutex;

use crate::assertion::Assertion;
use crate::foreign::Foreign;
use crate::members::{Members, Succession};
use crate::metrics::PeerMetrics;
use crate::outlog::{Outlog, PeerAck};
use crate::part::{
    BUCKETS, End, KeyHash, Listed, Mark, Part, TOMBSTONE_MARGIN, Tombstone, milliseconds, scale,
};
use crate::pause::Pause;
use crate::record::{self, Place, Record};
use crate::wire::PARTS;
use crate::{Clock, Journal, Kind, NodeId, Owner, ReplicaMetrics, Stamp, Version, frame};

/// How a node behaves towards the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaOptions {
    /// Whether acknowledgements wait until another node has the change.
    pub ack: Ack,
    /// How long. Then the change is acknowledged all the same, and counted. Default 500 ms.
    pub ack_wait: Duration,
    /// Octets of changes that are kept for nodes that were away: who missed more compares all. Default 32 MiB.
    pub outlog_bytes_max: usize,
    /// How often all is compared. Default 30 s.
    pub digest_interval: Duration,
    /// How long nothing is heard of a node until others act for it. Default 5 s.
    pub peer_timeout: Duration,
}

/// When a change is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// When it is kept here.
    #[default]
    Local,
    /// When another node has it too.
    Peer,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self {
            ack: Ack::default(),
            ack_wait: Duration::from_millis(500),
            outlog_bytes_max: 32 << 20,
            digest_interval: Duration::from_secs(30),
            peer_timeout: Duration::from_secs(5),
        }
    }
}

/// What a change counts against those that it does not know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It counts from now on.
    Change,
    /// It takes the place of what is known, and of nothing else.
    Claim,
}

/// Whoever has state that other nodes have too.
pub trait Replicated: Owner {
    /// The kinds of its records.
    fn kinds(&self) -> &'static [Kind];

    /// Takes a change that another node made, whole: under the lock of that part, [`crate::Persistence::adopt`] tells which
    /// of its records are news.
    fn apply(self: Arc<Self>, now: Instant, unix_ms: i64, part: usize, records: &[Record<'_>]);

    /// A node is gone: acts for those of its records that fall to this one.
    fn take_over(self: Arc<Self>, now: Instant, succession: &Succession);
}

/// This node's part in a cluster.
pub struct Replica {
    pub(crate) name: String,
    pub(crate) node: NodeId,
    /// A number for this life of the node: what it told in another may not have been heard.
    pub(crate) incarnation: u64,
    pub(crate) options: ReplicaOptions,
    pub(crate) clock: Clock,
    pub(crate) outlog: Arc<Outlog>,
    pub(crate) members: Mutex<Members>,
    pub(crate) metrics: ReplicaMetrics,
    /// Of each member.
    peer_metrics: Box<[PeerMetrics]>,
    pause: Pause,
    began: Instant,
    parts: Box<[Mutex<Part>]>,
    /// When there is something to forget in each.
    sweep_at_ms: Box<[Arc<AtomicU64>]>,
    owners: OnceLock<Vec<Weak<dyn Replicated>>>,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Somebody who tells a node of another kind what changes here.
    pub(crate) foreign: OnceLock<Foreign>,
    /// Whether there are other nodes that are told.
    pub(crate) has_peers: bool,
}

impl Replica {
    /// A node without state at `now`, which is `unix_ms`, in a cluster with `peers`. `incarnation` has to be another at
    /// every start.
    pub fn new(
        name: &str,
        peers: &[String],
        options: ReplicaOptions,
        metrics: ReplicaMetrics,
        incarnation: u64,
        now: Instant,
        unix_ms: i64,
    ) -> Arc<Self> {
        let members = Members::new(name, peers, options.peer_timeout, now);
        let outlog = Outlog::to_nodes();
        Self::with(name, members, outlog, options, metrics, incarnation, now, unix_ms)
    }

    /// A node that shares an engine with others.
    pub fn on_engine(
        name: &str,
        options: ReplicaOptions,
        metrics: ReplicaMetrics,
        incarnation: u64,
        now: Instant,
        unix_ms: i64,
    ) -> Arc<Self> {
        let members = Members::of_engine(name, options.peer_timeout, now);
        let outlog = Outlog::to_engine();
        Self::with(name, members, outlog, options, metrics, incarnation, now, unix_ms)
    }

    #[allow(clippy::too_many_arguments)] // what a replica consists of
    fn with(
        name: &str,
        members: Members,
        outlog: Outlog,
        options: ReplicaOptions,
        metrics: ReplicaMetrics,
        incarnation: u64,
        now: Instant,
        unix_ms: i64,
    ) -> Arc<Self> {
        let parts: Box<[Part]> = (0..PARTS).map(|_| Part::new()).collect();
        Arc::new(Self {
            name: name.into(),
            node: NodeId::of(name),
            incarnation,
            options,
            clock: Clock::new(now, unix_ms),
            outlog: Arc::new(outlog),
            has_peers: !members.list.is_empty(),
            peer_metrics: members.list.iter().map(|member| metrics.of_peer(&member.name)).collect(),
            members: Mutex::new(members),
            metrics,
            pause: Pause::new(now, options.peer_timeout),
            began: now,
            sweep_at_ms: parts.iter().map(Part::sweep_at_ms).collect(),
            parts: parts.into_iter().map(Mutex::new).collect(),
            owners: OnceLock::new(),
            wake: OnceLock::new(),
            foreign: OnceLock::new(),
        })
    }

    /// Names those whose state this is.
    pub fn set_owners(&self, owners: Vec<Weak<dyn Replicated>>) {
        self.owners.get_or_init(|| owners);
    }

    /// Says whom to tell that there is something to send. It is called while locks are held, and must do no more than
    /// wake somebody.
    pub fn set_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.wake.get_or_init(|| Box::new(wake));
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Keys that are known, removed ones included.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes note of a record that was found in the journal, of the part that its owner says. One without a version is of
    /// a time when this node was alone: anything newer counts more.
    pub fn restore(&self, now: Instant, unix_ms: i64, part: usize, record: &Record<'_>) {
        let alone = Version { stamp: Stamp(1), node: self.node };
        let version = record.place.map_or(alone, |place| place.version);
        self.clock.observe(now, version.stamp);
        self.part(part).lock().mark(&self.mark(now, unix_ms, record, version));
    }

    /// The node that changed a record last, if it is known.
    pub fn owner(&self, part: usize, kind: Kind, key: &[u8]) -> Option<NodeId> {
        self.part(part).lock().version(kind, key).map(|version| version.node)
    }

    /// Forgets what is over, in every `of`th part from `share` on.
    pub fn sweep(&self, now: Instant, share: usize, of: usize) {
        let now_ms = self.scale(now);
        for (part, at_ms) in self.parts.iter().zip(&self.sweep_at_ms).skip(share).step_by(of.max(1)) {
            if at_ms.load(Ordering::Acquire) <= now_ms {
                part.lock().sweep(now_ms);
            }
        }
    }

    /// Makes a group of what changed, for links to send. To be called when [`Replica::set_wake`] was, and from time to time.
    pub fn gather(&self, now: Instant) {
        self.outlog.gather(now, self.options.outlog_bytes_max);
    }

    /// Whether this node was stopped for so long that others may have acted for it, and has not heard since what they did:
    /// then it should take no requests, which it would answer by what was. A peer that says nothing is not waited for
    /// longer than `peer_timeout`.
    pub fn is_behind(&self, now: Instant) -> bool {
        self.pause.is_behind(now, || self.clock.now(now))
    }

    /// This node did nothing for a while: what it did not hear meanwhile says nothing. To be called before [`Replica::tick`].
    pub fn was_away(&self, now: Instant) {
        self.members.lock().was_away(now);
    }

    /// To be called a few times a second: gives up waiting, and sees who is gone.
    pub fn tick(&self, now: Instant) {
        self.pause.look(
            now,
            || self.clock.now(now),
            |since| {
                let members = self.members.lock();
                members.list.iter().all(|member| member.taken.up_to >= since)
            },
        );
        if let Some(before) = now.checked_sub(self.options.ack_wait) {
            self.outlog.give_up(before);
        }
        let succession = {
            let mut members = self.members.lock();
            for (at, (member, metrics)) in members.list.iter().zip(&self.peer_metrics).enumerate() {
                let waits_since = self.outlog.waits_since(member.has);
                let lag = waits_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
                metrics.set(lag, members.is_there(at, now));
            }
            members.look(now).then(|| members.succession())
        };
        if let Some(succession) = succession {
            self.take_over(now, &succession);
        }
    }

    /// Has owners act for those of their records that fall to this node.
    pub(crate) fn take_over(&self, now: Instant, succession: &Succession) {
        self.owners().for_each(|owner| owner.take_over(now, succession));
    }

    /// Who acts for whom, now.
    pub fn succession(&self) -> Succession {
        self.members.lock().succession()
    }

    /// Whether all peers that are there have told all they have.
    pub fn is_caught_up(&self, now: Instant) -> bool {
        let members = self.members.lock();
        (0..members.list.len()).all(|at| members.list[at].taken.is_synced || !members.is_there(at, now))
    }
}

/// What owners do through [`crate::Persistence`].
impl Replica {
    /// A change that this node makes, as its owner wrote it: gives it a version, tells the others, and gives it to
    /// `journal` as it is to be written down. Returns the group to wait for.
    pub(crate) fn append(
        &self,
        weight: Weight,
        now: Instant,
        unix_ms: i64,
        part: usize,
        change: &[u8],
        journal: impl FnOnce(&[Record<'_>]),
    ) -> u64 {
        let Ok(mut records) = record::read(change) else { return 0 };
        let group = {
            leave_last_of_each_key(&mut records);
            let mut state = self.part(part).lock();
            let version = Version { stamp: self.clock.next(now), node: self.node };
            records.retain_mut(|record| {
                let version = match weight {
                    Weight::Change => version,
                    Weight::Claim => self.just_after(&state, record, version),
                };
                self.place(&mut state, now, unix_ms, part, version, record)
            });
            if records.is_empty() {
                return 0;
            }
            let group = self.tell(now, unix_ms, part, &records);
            self.observe(part, &records);
            journal(&records);
            group
        };
        self.call();
        group
    }

    /// Puts what changed where other nodes are told of it, and returns the group to wait for: 0 if there is no other node.
    fn tell(&self, now: Instant, unix_ms: i64, part: usize, records: &[Record<'_>]) -> u64 {
        if !self.has_peers {
            return 0;
        }
        self.outlog.append(part, records.iter().map(|record| self.told(now, unix_ms, record)))
    }

    /// Has somebody come who tells it. It may be called while locks are held.
    fn call(&self) {
        if self.has_peers
            && self.outlog.call()
            && let Some(wake) = self.wake.get()
        {
            wake();
        }
    }

    /// The least version of ours beyond the one that is known.
    fn just_after(&self, state: &Part, record: &Record<'_>, otherwise: Version) -> Version {
        let Some(known) = state.version(record.kind, record.key) else { return otherwise };
        let stamp = Stamp(known.stamp.0.saturating_add(1));
        // No later change gets it again.
        self.clock.keep_above(stamp);
        Version { stamp, node: self.node }
    }

    /// Gives a record of ours its place; `false` if there is nothing to say.
    fn place(
        &self,
        state: &mut Part,
        now: Instant,
        unix_ms: i64,
        part: usize,
        version: Version,
        record: &mut Record<'_>,
    ) -> bool {
        let part = u8::try_from(part % PARTS).unwrap_or(0);
        let mut mark = self.mark(now, unix_ms, record, version);
        if record.is_removed && state.version(record.kind, record.key).is_none() {
            // Another node may have it, and may be away: that is the least that it is remembered for.
            mark.expires_ms = mark.expires_ms.saturating_add(milliseconds(TOMBSTONE_MARGIN));
        }
        let Some(End { expires_ms, beyond_ms }) = state.mark(&mark) else { return false };
        record.place = Some(Place { part, version, beyond_ms });
        record.expires_unix_ms = self.unix_ms_of(now, unix_ms, expires_ms);
        true
    }

    /// A change that another node made: takes note of it, and returns the records that are news. What a node made that only
    /// this one hears is told to the others.
    pub(crate) fn adopt<'r, 'a>(
        &self,
        now: Instant,
        unix_ms: i64,
        part: usize,
        records: &'r [Record<'a>],
        journal: impl FnOnce(&[Record<'_>]),
    ) -> Vec<&'r Record<'a>> {
        let mut state = self.part(part).lock();
        let (mut news, mut kept) = (Vec::new(), Vec::new());
        for record in records {
            let Some(place) = record.place else { continue };
            let Some(end) = state.mark(&self.mark(now, unix_ms, record, place.version)) else { continue };
            let place = Some(Place { beyond_ms: end.beyond_ms, ..place });
            let expires_unix_ms = self.unix_ms_of(now, unix_ms, end.expires_ms);
            news.push(record);
            kept.push(Record { place, expires_unix_ms, ..*record });
        }
        if !news.is_empty() {
            self.observe(part, &kept);
            journal(&kept);
            let of_foreign = self.of_foreign(&kept);
            if !of_foreign.is_empty() {
                self.tell(now, unix_ms, part, &of_foreign);
                self.call();
            }
        }
        news
    }

    /// What is to wait for that another node has a group.
    pub(crate) fn peer_ack(&self, part: usize, group: u64) -> Option<PeerAck> {
        // 0: nothing was told.
        let is_awaited = self.options.ack == Ack::Peer && group > 0;
        is_awaited.then(|| PeerAck::of(&self.outlog, part, group))
    }

    /// The same for all that was told so far.
    pub(crate) fn peer_ack_so_far(&self) -> Option<PeerAck> {
        let group = self.outlog.so_far();
        let is_awaited = self.options.ack == Ack::Peer && group > 0;
        is_awaited.then(|| PeerAck::of_all(&self.outlog, group))
    }

    /// Gives a record that its owner says again its place, and its end as it is known here: one version has one end, on every
    /// node.
    pub(crate) fn place_again(&self, now: Instant, unix_ms: i64, part: usize, record: &mut Record<'_>) {
        let Some((version, end)) = self.part(part).lock().end(record.kind, record.key) else { return };
        let Ok(part) = u8::try_from(part) else { return };
        record.expires_unix_ms = self.unix_ms_of(now, unix_ms, end.expires_ms);
        record.place = Some(Place { part, version, beyond_ms: end.beyond_ms });
    }
}

/// What the links do.
impl Replica {
    /// Gives a change of another node to its owners. Its times are on that node's scale, which showed `sent_ms`.
    /// Returns the latest stamp of what was told.
    pub(crate) fn apply(&self, now: Instant, unix_ms: i64, sent_ms: u64, changes: &[u8]) -> Stamp {
        let mut latest = Stamp::default();
        for change in frame::each(changes) {
            let Ok(mut records) = record::read(change) else {
                self.metrics.unreadable.inc();
                continue;
            };
            for record in &mut records {
                let left = record.expires_unix_ms.saturating_sub(i64::try_from(sent_ms).unwrap_or(i64::MAX));
                record.expires_unix_ms = unix_ms.saturating_add(left.max(0));
                if let Some(place) = record.place {
                    self.clock.observe(now, place.version.stamp);
                    latest = latest.max(place.version.stamp);
                }
            }
            self.give(now, unix_ms, &records);
        }
        latest
    }

    /// Gives a change of another node, of one part, to the owner of its records. Its times are by the wall clock.
    pub(crate) fn give(&self, now: Instant, unix_ms: i64, records: &[Record<'_>]) {
        let Some((kind, place)) = records.first().and_then(|r| Some((r.kind, r.place?))) else { return };
        match self.owners().find(|owner| owner.kinds().contains(&kind)) {
            Some(owner) => owner.apply(now, unix_ms, place.part.into(), records),
            None => self.metrics.unreadable.inc(),
        }
    }

    /// Makes frames of what is asked for of a part, as this node has it. What nobody has here is forgotten: it came without
    /// what it belongs to, and would be asked for again and again.
    pub(crate) fn said_again(
        &self,
        now: Instant,
        unix_ms: i64,
        part: usize,
        wanted: &HashSet<KeyHash>,
    ) -> Vec<u8> {
        let live = self.part(part).lock().live(wanted);
        let collected = Journal::bare();
        let into = Assertion { journal: &collected, replica: Some(self), wanted: Some(wanted), now, unix_ms };
        self.owners().filter(|owner| part < owner.parts()).for_each(|owner| owner.assert(part, &into));
        self.assert(part, &into);
        let mut lanes = vec![Vec::new(); Journal::lanes()];
        collected.take(&mut lanes);
        let (mut told, mut said) = (Vec::new(), HashSet::new());
        for change in lanes.iter().flat_map(|lane| frame::each(lane)) {
            let mut out = frame::Frame::begin(&mut told);
            for record in record::read(change).into_iter().flatten() {
                said.insert(KeyHash::of(record.kind, record.key));
                self.told(now, unix_ms, &record).write(out.octets());
            }
            // It was within bounds.
            let _ = out.end();
        }
        let unsaid = live.iter().filter(|listed| !said.contains(&listed.hash));
        unsaid.for_each(|listed| self.part(part).lock().forget(listed));
        told
    }

    /// A digest of all that is known, removed keys included: the same on nodes that know the same.
    pub fn digest(&self) -> u64 {
        self.digests().into_iter().fold(0, |digest, bucket| digest.rotate_left(1) ^ bucket)
    }

    pub(crate) fn digests(&self) -> Vec<u64> {
        self.parts.iter().flat_map(|part| *part.lock().digests()).collect()
    }

    /// The parts of which another node's digests differ from ours, with a bit for each bucket.
    pub(crate) fn differing(&self, digests: &[u64]) -> Vec<(u8, u64)> {
        let buckets = |theirs: &[u64], ours: &[u64; BUCKETS]| {
            let differs = theirs.iter().zip(ours).map(|(theirs, ours)| u64::from(theirs != ours));
            differs.rev().fold(0, |buckets, bit| buckets << 1 | bit)
        };
        let parts = (0..).zip(digests.chunks_exact(BUCKETS).zip(&self.parts));
        let differing = parts.map(|(part, (theirs, ours))| (part, buckets(theirs, ours.lock().digests())));
        differing.filter(|(_, buckets)| *buckets != 0).collect()
    }

    pub(crate) fn list(&self, now: Instant, part: usize, buckets: u64) -> Vec<Listed> {
        self.part(part).lock().list(buckets, self.scale(now))
    }

    /// Those that somebody has and that are news here.
    pub(crate) fn lacking(&self, part: usize, listed: &[Listed]) -> Vec<Listed> {
        let state = self.part(part).lock();
        listed.iter().filter(|listed| state.lacks(listed)).copied().collect()
    }

    /// An instant on this replica's scale.
    pub(crate) fn scale(&self, at: Instant) -> u64 {
        scale(self.began, at)
    }

    fn owners(&self) -> impl Iterator<Item = Arc<dyn Replicated>> {
        self.owners.get().into_iter().flatten().filter_map(Weak::upgrade)
    }

    pub(crate) fn part(&self, part: usize) -> &Mutex<Part> {
        &self.parts[part % PARTS]
    }

    fn mark<'r>(&self, now: Instant, unix_ms: i64, record: &Record<'r>, version: Version) -> Mark<'r> {
        let left = u64::try_from(record.expires_unix_ms.saturating_sub(unix_ms)).unwrap_or(0);
        Mark {
            kind: record.kind,
            key: record.key,
            note: if record.is_removed { record.value } else { &[] },
            version,
            is_removed: record.is_removed,
            expires_ms: self.scale(now).saturating_add(left),
            beyond_ms: record.place.map_or(0, |place| place.beyond_ms),
        }
    }

    /// A record as it is told to others: its times on our scale.
    fn told<'r>(&self, now: Instant, unix_ms: i64, record: &Record<'r>) -> Record<'r> {
        let left = u64::try_from(record.expires_unix_ms.saturating_sub(unix_ms)).unwrap_or(0);
        let at = i64::try_from(self.scale(now).saturating_add(left)).unwrap_or(i64::MAX);
        Record { expires_unix_ms: at, ..*record }
    }

    fn unix_ms_of(&self, now: Instant, unix_ms: i64, at_ms: u64) -> i64 {
        let left = at_ms.saturating_sub(self.scale(now));
        unix_ms.saturating_add(i64::try_from(left).unwrap_or(i64::MAX))
    }
}

/// What was removed has no other owner.
impl Owner for Replica {
    fn parts(&self) -> usize {
        PARTS
    }

    fn assert(&self, part: usize, into: &Assertion<'_>) {
        let mut state = self.part(part).lock();
        // What ended a moment ago, before an earlier version would have, is not its owner's to say any more.
        state.sweep(self.scale(into.now));
        let place = |version| Some(Place::new(u8::try_from(part).unwrap_or(0), version));
        for (hash, Tombstone { kind, key, note }, version, expires_ms) in state.tombstones() {
            if into.wanted.is_none_or(|wanted| wanted.contains(&hash)) {
                let expires_unix_ms = self.unix_ms_of(into.now, into.unix_ms, expires_ms);
                let plain = Record::present(*kind, key, note, expires_unix_ms);
                let record = Record { is_removed: true, place: place(version), ..plain };
                into.journal.append(part, |change| change.copy(&record));
            }
        }
    }
}

/// A change may say of a key that it is removed and then that it is there: one version has one meaning.
fn leave_last_of_each_key(records: &mut Vec<Record<'_>>) {
    for at in (0..records.len()).rev() {
        let (kind, key) = (records[at].kind, records[at].key);
        if records[at + 1..].iter().any(|later| later.kind == kind && later.key == key) {
            records.remove(at);
        }
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("name", &self.name).finish_non_exhaustive()
    }
}
