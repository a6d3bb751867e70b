//! What the peer says becomes changes of one more node of the map, whose stamps are made of the ages that came.
//!
//! `repro_sync::decide` says what is to be done; it is done through the owners of the state, so that tombstones, the journal
//! and the other nodes have it like any change. Between looking and doing somebody may change the same: then the map, which
//! takes only a greater version, leaves what came, as it does with every other node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use presence::{
    EntityTag, PACKAGE, PUBLICATION, Publication, Retired, publication_key, publication_note,
    publication_value, read_publication_key, read_publication_note,
};
use registrar::{BINDING, Binding, Gone, binding_key, binding_value, gone_note, read_gone};
use replication::{Place, Record, Version, part_of};
use repro_sync::{
    ContactInfo, ContactKey, Decision, Event, Held, Kept, Offered, Origin, PubInfo, RegInfo, Stamp, decide,
};
use sip_message::{Aor, Uri};
use sip_service::Domains;

use super::agenda::{Agenda, Subject, Touch};
use super::contacts::{self, Fault};
use super::memory::PAUSE;
use super::owners::{Owners, prefix, stamp_of};
use super::scribe::Scribe;

/// How long a removal is remembered of something that was not here: another node may have it, and be away.
const REMOVAL_MEMORY_MS: i64 = 3_600_000;
/// How far the ends of two copies of one thing may be apart: they are cut to whole seconds on their way there and back.
const SAME_END_SECONDS: u64 = 2;

/// Why something that the peer says is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untaken {
    #[error("an address-of-record that is none, or of no domain of ours")]
    Aor,
    #[error(transparent)]
    Contact(#[from] Fault),
    #[error("more contacts than registrar.bindings_per_aor_max")]
    TooManyContacts,
    #[error("an entity-tag that no repro writes")]
    EntityTag,
    #[error("an event package other than presence")]
    Package,
    #[error("a document that came encrypted")]
    Encrypted,
    #[error(transparent)]
    Document(#[from] presence::Error),
}

/// What is to be known where the peer is told.
#[derive(Clone, Copy)]
pub(super) struct Back<'a> {
    pub(super) agenda: &'a Agenda,
    pub(super) scribe: &'a Scribe,
}

/// Takes what the peer says.
pub(super) struct Importer {
    owners: Owners,
    config: registrar::Config,
    domains: Arc<Domains>,
    /// When the peer's copy of a publication ends, as it said last; kept when it is refreshed here, as the peer's timer is.
    peer_expires: Mutex<BTreeMap<(Aor, EntityTag), Stamp>>,
}

/// A contact that is held, or was.
struct HeldContact {
    key: Vec<u8>,
    version: Version,
    binding: Option<Binding>,
}

/// A publication that is held, or was.
struct HeldPublication {
    id: EntityTag,
    version: Version,
    /// Its tag, former tags, document, receipt and end.
    live: Option<Live>,
    tags: Vec<EntityTag>,
}

struct Live {
    tag: EntityTag,
    retired: Box<[Retired]>,
    next_retired: Box<[Retired]>,
    body: Vec<u8>,
    received_unix_ms: i64,
    expires_at: Instant,
}

impl Importer {
    pub(super) fn new(owners: Owners, config: registrar::Config, domains: Arc<Domains>) -> Self {
        Self { owners, config, domains, peer_expires: Mutex::default() }
    }

    /// Takes events that came together; returns what of them was not taken.
    ///
    /// A publication that ends as another of its AOR begins has another tag now: that is how a Rollcall says that it was
    /// changed or refreshed. Taken as one change, watchers do not see both in between.
    pub(super) fn take(&self, now: Instant, unix_ms: i64, events: &[Event], back: &Back<'_>) -> Vec<Untaken> {
        let mut untaken = Vec::new();
        let mut events = events.iter().peekable();
        while let Some(event) = events.next() {
            match event {
                Event::RegInfo(info) => untaken.extend(self.contacts(now, unix_ms, info, back)),
                Event::PubInfo(_) if !self.owners.has_publications => {}
                Event::PubInfo(info) => {
                    let former = match events.peek() {
                        Some(Event::PubInfo(end)) => self.former_tag(now, unix_ms, info, end, back),
                        Some(Event::RegInfo(_)) | None => None,
                    };
                    if former.is_some() {
                        events.next();
                    }
                    untaken.extend(self.publication(now, unix_ms, info, former, back).err());
                }
            }
        }
        untaken
    }

    /// The tag that a publication had until it got another with `info`, if `end` says that it ended and it is here.
    fn former_tag(
        &self,
        now: Instant,
        unix_ms: i64,
        info: &PubInfo,
        end: &PubInfo,
        back: &Back<'_>,
    ) -> Option<EntityTag> {
        let is_pair = (&info.event_type, &info.document_key) == (&end.event_type, &end.document_key)
            && info.contents.is_some()
            && info.expires_seconds != 0
            && end.expires_seconds == 0;
        let aor = Aor::parse(&info.document_key).filter(|_| is_pair)?;
        let (tag, former) = (EntityTag::parse(&info.etag)?, EntityTag::parse(&end.etag)?);
        let is_new = self.held_publication(now, unix_ms, &aor, tag, back).is_none();
        let held = self.held_publication(now, unix_ms, &aor, former, back);
        // One that has another tag here by now goes on under that.
        let is_here = held.and_then(|held| held.live).is_some_and(|live| live.tag == former);
        (is_new && is_here).then_some(former)
    }

    /// Forgets ends that are over.
    pub(super) fn sweep(&self, now: Instant) {
        let now = self.owners.now(now);
        self.peer_expires.lock().retain(|_, end| end.plus(60) > now);
    }

    fn contacts(&self, now: Instant, unix_ms: i64, info: &RegInfo, back: &Back<'_>) -> Vec<Untaken> {
        let aor = Aor::parse(&info.aor).filter(|aor| self.domains.find(aor.domain()).is_some());
        let Some(aor) = aor else { return vec![Untaken::Aor] };
        let taken = info.contacts.iter().map(|contact| self.contact(now, unix_ms, &aor, contact, back));
        taken.filter_map(Result::err).collect()
    }

    fn contact(
        &self,
        now: Instant,
        unix_ms: i64,
        aor: &Aor,
        info: &ContactInfo,
        back: &Back<'_>,
    ) -> Result<(), Untaken> {
        let now_stamp = self.owners.now(now);
        let offered = Offered::contact(info, now_stamp);
        let age_seconds = offered.stamp.age_seconds(now_stamp);
        let mut binding = contacts::read(info, aor, age_seconds, now, &self.config)?;
        let key = binding_key(aor, &binding);
        let known = self.owners.known(aor, BINDING, &key).map(|known| known.version);
        let (held, live_count) = self.held_contact(aor, &binding, now);
        let contents = contacts::contents(&binding, now);
        let offered = Offered { contents: offered.expires.map(|_| &contents[..]), ..offered };
        let held_contents =
            held.as_ref().and_then(|h| h.binding.as_ref()).map(|b| contacts::contents(b, now));
        let as_held = held.as_ref().map(|held| Held {
            stamp: stamp_of(held.version.stamp),
            expires: held.binding.as_ref().map(|b| now_stamp.plus(b.expires_seconds(now))),
            contents: held_contents.as_deref(),
            origin: self.origin(held.version),
            // repro says nothing when a contact ends by its time.
            peer_expires: None,
        });
        let version = self.version(now, &offered, known.max(held.as_ref().map(|held| held.version)));
        let expires_unix_ms = replication::unix_ms_of(binding.expires_at, now, unix_ms);
        match self.decide(as_held.as_ref(), &offered, now_stamp) {
            Decision::Store | Decision::Refresh => {
                let is_new = held.as_ref().is_none_or(|held| held.binding.is_none());
                if is_new && live_count >= self.config.bindings_per_aor_max {
                    return Err(Untaken::TooManyContacts);
                }
                if let Some(own) = held.as_ref().and_then(|held| held.binding.as_ref()) {
                    keep_own(&mut binding, own, info);
                }
                let old = held.as_ref().filter(|held| held.key != key && held.binding.is_some());
                let value = binding_value(&binding);
                let mut records = Vec::new();
                let old_note = old.and_then(|old| old.binding.as_ref()).map(gone_note).unwrap_or_default();
                if let Some(old) = old {
                    records.push(removal(BINDING, &old.key, &old_note, unix_ms));
                }
                records.push(Record::present(BINDING, &key, &value, expires_unix_ms));
                self.apply(now, aor, version, records);
            }
            Decision::Remove | Decision::Restamp => {
                let note =
                    gone_note(held.as_ref().and_then(|held| held.binding.as_ref()).unwrap_or(&binding));
                let key = held.as_ref().map_or(&key, |held| &held.key);
                self.apply(now, aor, version, vec![removal(BINDING, key, &note, unix_ms)]);
            }
            Decision::Keep(kept) => {
                if let Some(HeldContact { key, version, .. }) = held {
                    self.announce(
                        now,
                        kept,
                        Touch { subject: Subject::Contacts(aor.clone()), key, version },
                        back,
                    );
                }
            }
        }
        Ok(())
    }

    /// What is known of the contact that this one is to repro, and how many the AOR has.
    fn held_contact(&self, aor: &Aor, binding: &Binding, now: Instant) -> (Option<HeldContact>, usize) {
        let owners = &self.owners;
        let key = binding_key(aor, binding);
        let name = Name::of(binding);
        let (live, count) = owners.bindings.view(aor, |bindings| {
            let with_key = bindings.iter().map(|b| (binding_key(aor, b), b));
            let found = with_key.filter(|(other, b)| *other == key || Name::of(b).is(&name));
            // Of several that match, the one with the same key is it.
            let found = found.max_by_key(|(other, _)| *other == key);
            let live = found.and_then(|(key, b)| {
                let version = owners.known(aor, BINDING, &key)?.version;
                Some(HeldContact { key, version, binding: Some(b.clone()) })
            });
            (live, bindings.iter().filter(|b| b.is_live(now)).count())
        });
        if live.is_some() {
            return (live, count);
        }
        // What was removed, also by another name; or what ended by itself a moment ago.
        let same_key = owners.known(aor, BINDING, &key).map(|known| (key, known.version));
        let prefix = prefix(aor);
        let part = part_of(aor.as_str());
        let removals = owners.replica.removals(part, BINDING, |other| other.starts_with(&prefix));
        let by_name = removals.into_iter().filter_map(|removed| {
            let (_, gone) = read_gone(&removed.key, &removed.note).ok()?;
            Name::of_gone(&gone).is(&name).then(|| (removed.key.into_vec(), removed.version))
        });
        let last = same_key.into_iter().chain(by_name).max_by_key(|(_, version)| *version);
        (last.map(|(key, version)| HeldContact { key, version, binding: None }), count)
    }

    fn publication(
        &self,
        now: Instant,
        unix_ms: i64,
        info: &PubInfo,
        former: Option<EntityTag>,
        back: &Back<'_>,
    ) -> Result<(), Untaken> {
        if info.event_type != PACKAGE {
            return Err(Untaken::Package);
        }
        let aor = Aor::parse(&info.document_key).ok_or(Untaken::Aor)?;
        let tag = EntityTag::parse(&info.etag).ok_or(Untaken::EntityTag)?;
        if info.contents.as_ref().is_some_and(|contents| contents.encryption.is_some()) {
            return Err(Untaken::Encrypted);
        }
        if !self.owners.presence.serves(&aor) {
            return Err(Untaken::Aor);
        }
        let now_stamp = self.owners.now(now);
        let offered = Offered::publication(info, now_stamp);
        let held = self.held_publication(now, unix_ms, &aor, former.unwrap_or(tag), back);
        let peer_expires = self.peer_expires.lock().get(&(aor.clone(), tag)).copied();
        if let Some(end) = offered.expires {
            self.peer_expires.lock().insert((aor.clone(), tag), end);
        }
        let live = held.as_ref().and_then(|held| held.live.as_ref());
        let is_former = live.is_some_and(|live| live.tag != tag);
        if is_former && offered.expires.is_none() {
            // It ended there under a tag that it no longer has here: by the peer's timer, or as it was told (§7, 20).
            return Ok(());
        }
        let end_of = |live: &Live| {
            let left = live.expires_at.saturating_duration_since(now);
            now_stamp.plus(left.as_secs() + u64::from(left.subsec_nanos() > 0))
        };
        let as_held = held.as_ref().map(|held| Held {
            stamp: stamp_of(held.version.stamp),
            expires: held.live.as_ref().map(end_of),
            contents: held.live.as_ref().map(|live| &live.body[..]),
            origin: self.origin(held.version),
            peer_expires,
        });
        let id = held.as_ref().map_or(tag, |held| held.id);
        if offered.expires.is_some() {
            let left_ms = i64::try_from(info.expires_seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
            back.scribe.peer_has(&aor, id, tag, unix_ms.saturating_add(left_ms));
        }
        let key = publication_key(&aor, id);
        let version = self.version(now, &offered, held.as_ref().map(|held| held.version));
        let decision = match self.decide(as_held.as_ref(), &offered, now_stamp) {
            // It has another tag all the same.
            Decision::Keep(Kept::Same) if former.is_some() => Decision::Store,
            decision => decision,
        };
        match decision {
            Decision::Store | Decision::Refresh => {
                let body = offered.contents.or(live.map(|live| &live.body[..])).unwrap_or_default();
                self.owners.presence.admit(now, &aor, body, live.is_none())?;
                let age_ms = i64::try_from(offered.stamp.age_seconds(now_stamp).saturating_mul(1000));
                let received = match live.filter(|live| decision == Decision::Refresh || live.body == body) {
                    Some(live) => live.received_unix_ms,
                    None => unix_ms.saturating_sub(age_ms.unwrap_or(i64::MAX)).max(0),
                };
                let retired = match live {
                    Some(live) if is_former => {
                        live.next_retired.iter().filter(|r| r.tag != tag).copied().collect()
                    }
                    Some(live) => live.retired.to_vec(),
                    None => Vec::new(),
                };
                let value = publication_value(tag, &retired, received, body);
                let left = Duration::from_secs(info.expires_seconds.min(contacts::LIFETIME_MAX_SECONDS));
                let until = replication::unix_ms_of(now + left, now, unix_ms);
                self.apply(now, &aor, version, vec![Record::present(PUBLICATION, &key, &value, until)]);
                if is_former && former.is_none() {
                    // The peer may have it under the later tag as well, which is over now.
                    back.agenda.tell(now, Subject::Publication(aor, id));
                }
            }
            Decision::Remove | Decision::Restamp => {
                let tags = held.as_ref().map(|held| held.tags.clone()).unwrap_or_default();
                let note = publication_note(id, tags.into_iter());
                self.apply(now, &aor, version, vec![removal(PUBLICATION, &key, &note, unix_ms)]);
            }
            Decision::Keep(kept) => {
                let subject = Subject::Publication(aor.clone(), id);
                if let Some(HeldPublication { version, .. }) = held {
                    self.announce(now, kept, Touch { subject, key, version }, back);
                }
                if is_former && kept == Kept::Newer {
                    // It does not know yet that this tag is over.
                    back.agenda.tell(now, Subject::Publication(aor, id));
                }
            }
        }
        Ok(())
    }

    /// The publication that has, or had, this tag.
    fn held_publication(
        &self,
        now: Instant,
        unix_ms: i64,
        aor: &Aor,
        tag: EntityTag,
        back: &Back<'_>,
    ) -> Option<HeldPublication> {
        let owners = &self.owners;
        // Of many tags not all are written down with it.
        let ids = [Some(tag), back.scribe.id_of(aor, tag)];
        let is_named = |p: &Publication| ids.contains(&Some(p.id)) || p.tags().any(|other| other == tag);
        let has = |p: &&Publication| now < p.expires_at && is_named(p);
        let live = owners.presence.view(aor, |publications| {
            // The one that has it now before one that had it.
            let found = publications.iter().filter(has).max_by_key(|p| p.entity_tag == tag)?;
            let known = owners.known(aor, PUBLICATION, &publication_key(aor, found.id))?;
            let live = Live {
                tag: found.entity_tag,
                retired: found.retired.clone(),
                next_retired: found.retire(now, unix_ms),
                body: found.document.bytes().to_vec(),
                received_unix_ms: found.received_unix_ms,
                expires_at: found.expires_at,
            };
            let tags = found.tags().collect();
            Some(HeldPublication { id: found.id, version: known.version, live: Some(live), tags })
        });
        if live.is_some() {
            return live;
        }
        let part = part_of(aor.as_str());
        // What ended by itself a moment ago is known, too.
        let by_id = ids.into_iter().flatten().filter_map(|id| {
            let key = publication_key(aor, id);
            let version = owners.known(aor, PUBLICATION, &key)?.version;
            let note = owners.replica.removed(part, PUBLICATION, &key).map(|removed| removed.note);
            let tags = read_publication_note(&note.unwrap_or_default()).collect();
            Some(HeldPublication { id, version, live: None, tags })
        });
        let prefix = prefix(aor);
        let removals = owners.replica.removals(part, PUBLICATION, |other| other.starts_with(&prefix));
        let by_note = removals.into_iter().filter_map(|removed| {
            let (_, id) = read_publication_key(&removed.key).ok()?;
            let tags: Vec<EntityTag> = read_publication_note(&removed.note).collect();
            tags.contains(&tag).then_some(HeldPublication { id, version: removed.version, live: None, tags })
        });
        by_id.chain(by_note).max_by_key(|held| held.version)
    }

    fn origin(&self, version: Version) -> Origin {
        if self.owners.is_of_peer(version) { Origin::Peer } else { Origin::Here }
    }

    /// As [`decide`] says; but what says the same and ends when what is held ends is that, however old it claims to be: a
    /// refresh would end later. So what comes back of a change that was told, or comes again in another dump, does not make
    /// it newer, second by second, than what happens next.
    fn decide(&self, held: Option<&Held<'_>>, offered: &Offered<'_>, now: Stamp) -> Decision {
        let is_echo = held.is_some_and(|held| match (held.expires, offered.expires) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                let is_same_text = offered.contents.is_none_or(|contents| held.contents == Some(contents));
                is_same_text && a.distance_seconds(b) <= SAME_END_SECONDS
            }
            (None, Some(_)) | (Some(_), None) => false,
        });
        if is_echo { Decision::Keep(Kept::Same) } else { decide(held, offered, now) }
    }

    /// The version of what came: its time on the clock of the map, but later than what it replaces, as far as that was
    /// looked at, which `decide` has compared in whole seconds.
    fn version(&self, now: Instant, offered: &Offered<'_>, held: Option<Version>) -> Version {
        let owners = &self.owners;
        let clock = owners.replica.stamp(now);
        let age_ms = offered.stamp.age_seconds(stamp_of(clock)).saturating_mul(1000);
        let at = clock.unix_ms().saturating_sub(age_ms) << 16;
        let least = held.map_or(1, |held| held.stamp.0.saturating_add(1));
        Version { stamp: replication::Stamp(at.max(least)), node: owners.peer }
    }

    fn apply(&self, now: Instant, aor: &Aor, version: Version, mut records: Vec<Record<'_>>) {
        let part = u8::try_from(part_of(aor.as_str())).unwrap_or(0);
        records.iter_mut().for_each(|record| record.place = Some(Place::new(part, version)));
        self.owners.apply(now, aor, &records);
    }

    /// What stays although the peer has another, and would not learn so, is to be a change of then.
    fn announce(&self, now: Instant, kept: Kept, touch: Touch, back: &Back<'_>) {
        let Some(at) = kept.announce_at() else { return };
        let wait = Duration::from_secs(at.distance_seconds(self.owners.now(now).min(at)));
        back.agenda.touch(now + wait.max(PAUSE), touch);
    }
}

fn removal<'a>(kind: replication::Kind, key: &'a [u8], note: &'a [u8], unix_ms: i64) -> Record<'a> {
    let until = unix_ms.saturating_add(REMOVAL_MEMORY_MS);
    Record { is_removed: true, ..Record::present(kind, key, note, until) }
}

/// What a copy from the peer cannot have is kept: the connection, if it is of the same phone, and what orders its requests.
fn keep_own(binding: &mut Binding, own: &Binding, info: &ContactInfo) {
    let Some(flow) = own.flow.as_ref().filter(|flow| contacts::is_flow(flow, info.received_from.as_ref()))
    else {
        return;
    };
    binding.flow = Some(flow.clone());
    binding.call_id = own.call_id.clone();
    binding.cseq = own.cseq;
}

/// By what repro knows a contact (CIR:72-96).
struct Name<'a> {
    uri: &'a str,
    instance: &'a str,
    reg_id: u32,
}

impl<'a> Name<'a> {
    fn of(binding: &'a Binding) -> Self {
        let instance = binding.instance.as_deref().unwrap_or_default();
        Self { uri: &binding.uri, instance, reg_id: binding.reg_id.map_or(0, Into::into) }
    }

    fn of_gone(gone: &'a Gone) -> Self {
        let instance = gone.instance.as_deref().unwrap_or_default();
        Self { uri: &gone.uri, instance, reg_id: gone.reg_id.map_or(0, Into::into) }
    }

    fn is(&self, other: &Self) -> bool {
        let key = |name: &Self| ContactKey { uri: name.uri, instance: name.instance, reg_id: name.reg_id };
        let key = (key(self), key(other));
        key.0.matches(&key.1, |a, b| match (Uri::parse(a.as_bytes()), Uri::parse(b.as_bytes())) {
            (Ok(a), Ok(b)) => a.equivalent(&b),
            _ => a == b,
        })
    }
}
