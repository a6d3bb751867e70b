//! What the peer is told: the state as it is, as repro writes it (presence-and-replication §6.4, §6.5).
//!
//! A publication is named by its entity-tag there, and has another with each PUBLISH here (RFC 3903 §6 step 6). So a PUBLISH
//! that changes or refreshes one is told as a new publication, always with its document, and then the end of the one with
//! the former tag: a publisher that turns to the peer shows the latest tag, and is known.
//!
//! repro takes nothing that is only as new as what it has, in whole seconds of its clock (§6.8, §7, 25). So what changed twice
//! in a second is told again when that is over, as if it had changed then ([`super::memory`]).

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::Mutex;
use presence::{
    EntityTag, PACKAGE, PUBLICATION, publication_key, read_publication_key, read_publication_note,
};
use registrar::{BINDING, Binding, Gone, binding_key, read_gone};
use replication::{PARTS, Version, part_of};
use repro_sync::{ContactInfo, ContactKey, Contents, Event, PubInfo, RegInfo};
use sip_message::Aor;

use super::agenda::Subject;
use super::contacts;
use super::memory::{Entry, Memory};
use super::owners::{Owners, prefix};

/// Writes events, and remembers what was said lately.
pub(super) struct Scribe {
    owners: Owners,
    memory: Mutex<Memory>,
}

/// What there is to be said of a subject.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) events: Vec<Event>,
    /// When the rest can be said.
    pub(super) again_at: Option<Instant>,
}

/// Why something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// It changed.
    Change,
    /// A reader is to have all, also what the peer said itself: it may have been started anew.
    Dump,
}

/// How far a dump has come.
#[derive(Debug, Default)]
pub(super) struct Dump {
    /// Parts that were listed: first for contacts, then for publications.
    listed: usize,
    subjects: VecDeque<Subject>,
}

impl Scribe {
    pub(super) fn new(owners: Owners) -> Self {
        Self { owners, memory: Mutex::default() }
    }

    /// Says what is to be said of a subject now.
    pub(super) fn write(&self, now: Instant, unix_ms: i64, subject: &Subject, occasion: Occasion) -> Text {
        let mut memory = self.memory.lock();
        match subject {
            Subject::Contacts(aor) => self.contacts(now, aor, occasion, &mut memory),
            Subject::Publication(..) if !self.owners.has_publications => Text::default(),
            Subject::Publication(aor, id) => self.publication(now, unix_ms, aor, *id, occasion, &mut memory),
        }
    }

    /// What comes next of a dump, and what it is about; `None` when it is complete.
    pub(super) fn next(&self, now: Instant, unix_ms: i64, dump: &mut Dump) -> Option<(Subject, Text)> {
        loop {
            if let Some(subject) = dump.subjects.pop_front() {
                let text = self.write(now, unix_ms, &subject, Occasion::Dump);
                return Some((subject, text));
            }
            let part = dump.listed;
            dump.listed += 1;
            dump.subjects = match part {
                0..PARTS => self.list_contacts(part),
                _ if part < 2 * PARTS && self.owners.has_publications => self.list_publications(part - PARTS),
                _ => return None,
            };
        }
    }

    /// The peer says that it has a publication under a tag.
    pub(super) fn peer_has(&self, aor: &Aor, id: EntityTag, tag: EntityTag, until_unix_ms: i64) {
        self.memory.lock().peer_has(aor, id, tag, until_unix_ms);
    }

    /// The first tag of the publication that the peer has, or had, under a tag.
    pub(super) fn id_of(&self, aor: &Aor, tag: EntityTag) -> Option<EntityTag> {
        self.memory.lock().id_of(aor, tag)
    }

    /// Forgets what was said long ago; see [`Memory::sweep`].
    pub(super) fn sweep(&self, now: Instant, unix_ms: i64, is_read: bool) {
        self.memory.lock().sweep(now, unix_ms, is_read);
    }

    /// All live contacts and those that were removed.
    fn contacts(&self, now: Instant, aor: &Aor, occasion: Occasion, memory: &mut Memory) -> Text {
        let owners = &self.owners;
        let mut text = Text::default();
        let mut is_news = false;
        let mut contacts = Vec::new();
        let mut admit =
            |name: Vec<u8>, version: Version, age_seconds: u64, write: &dyn Fn(u64) -> ContactInfo| {
                let is_echo = owners.is_of_peer(version);
                let entry = Entry { name, version, age_seconds, is_echo };
                let Some(said) = memory.admit(now, entry, occasion, &mut text.again_at) else { return };
                is_news |= said.is_news;
                contacts.push(write(said.age_seconds));
            };
        let (live, gone) = owners.bindings.view(aor, |bindings| {
            let live: Vec<(Binding, Version)> = bindings
                .iter()
                .filter(|binding| binding.is_live(now) && contacts::is_exportable(binding))
                .filter_map(|b| Some((b.clone(), owners.known(aor, BINDING, &binding_key(aor, b))?.version)))
                .collect();
            (live, self.gone(aor))
        });
        for (binding, version) in &live {
            // One that was found in the journal of a node that was alone has no time of its change but this.
            let updated = now.saturating_duration_since(binding.updated_at()).as_secs();
            let age_seconds = owners.age_seconds(*version, now).min(updated + 1);
            admit(binding_key(aor, binding), *version, age_seconds, &|age| {
                contacts::write(binding, age, now)
            });
        }
        for (gone, key, version) in &gone {
            // What a live one stands for is not gone: to repro both are one contact.
            let gone_info = contacts::write_gone(gone, 0);
            let is_there = live.iter().any(|(binding, _)| {
                let info = contacts::write(binding, 0, now);
                ContactKey::of(&info).matches(&ContactKey::of(&gone_info), |a, b| a == b)
            });
            if !is_there {
                let age_seconds = owners.age_seconds(*version, now);
                admit(key.to_vec(), *version, age_seconds, &|age| contacts::write_gone(gone, age));
            }
        }
        if is_news || occasion == Occasion::Dump {
            text.events.push(RegInfo { aor: format!("sip:{aor}"), contacts }.into());
        }
        text
    }

    fn gone(&self, aor: &Aor) -> Vec<(Gone, Box<[u8]>, Version)> {
        let prefix = prefix(aor);
        let removals =
            self.owners.replica.removals(part_of(aor.as_str()), BINDING, |key| key.starts_with(&prefix));
        let gone = removals.into_iter().filter_map(|removed| {
            let (_, gone) = read_gone(&removed.key, &removed.note).ok()?;
            Some((gone, removed.key, removed.version))
        });
        gone.collect()
    }

    /// The publication, and the end of those that it was before.
    fn publication(
        &self,
        now: Instant,
        unix_ms: i64,
        aor: &Aor,
        id: EntityTag,
        occasion: Occasion,
        memory: &mut Memory,
    ) -> Text {
        let owners = &self.owners;
        let key = publication_key(aor, id);
        let found = owners.presence.view(aor, |publications| {
            let publication = publications.iter().find(|p| p.id == id && now < p.expires_at)?;
            let version = owners.known(aor, PUBLICATION, &key)?.version;
            let left = publication.expires_at.saturating_duration_since(now);
            let expires_seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            let contents = Contents { body: publication.document.bytes().to_vec(), encryption: None };
            let retired: Vec<_> = publication.retired.to_vec();
            Some((version, publication.entity_tag, expires_seconds, contents, retired))
        });
        let mut text = Text::default();
        let mut said = Vec::new();
        let version = match found {
            Some((version, tag, expires_seconds, contents, retired)) => {
                said.push((tag, expires_seconds, Some(contents)));
                for retired in retired.iter().filter(|retired| retired.until_unix_ms > unix_ms) {
                    said.push((retired.tag, 0, None));
                    memory.peer_may_have(aor, id, retired.tag, retired.until_unix_ms);
                }
                version
            }
            None => {
                let Some(removed) = owners.replica.removed(part_of(aor.as_str()), PUBLICATION, &key) else {
                    return text;
                };
                said.push((id, 0, None));
                said.extend(read_publication_note(&removed.note).map(|tag| (tag, 0, None)));
                removed.version
            }
        };
        // It had more tags than are written down with it.
        let others = memory.tags(aor, id).filter(|tag| !said.iter().any(|(other, ..)| other == tag));
        said.extend(others.collect::<Vec<_>>().into_iter().map(|tag| (tag, 0, None)));
        let age_seconds = owners.age_seconds(version, now);
        for (tag, expires_seconds, contents) in said {
            let is_end = contents.is_none();
            let is_known = match occasion {
                Occasion::Dump => false,
                Occasion::Change if is_end => memory.is_ended(aor, id, tag),
                Occasion::Change => owners.is_of_peer(version),
            };
            if is_known {
                continue;
            }
            // The end of a tag of ours is told by this node alone, whoever made the change that ended it.
            let is_echo = !is_end && owners.is_of_peer(version);
            let entry = Entry { name: publication_key(aor, tag), version, age_seconds, is_echo };
            let Some(admitted) = memory.admit(now, entry, occasion, &mut text.again_at) else { continue };
            if !admitted.is_news && occasion == Occasion::Change {
                continue;
            }
            match occasion {
                _ if !is_end => {
                    let until = unix_ms.saturating_add(milliseconds(expires_seconds));
                    memory.peer_has(aor, id, tag, until);
                }
                // A dump is for one reader, and says nothing of what others know.
                Occasion::Change => memory.end(aor, id, tag),
                Occasion::Dump => {}
            }
            text.events.push(
                PubInfo {
                    event_type: PACKAGE.into(),
                    document_key: aor.to_string(),
                    etag: tag.to_string(),
                    expires_seconds,
                    last_update_seconds: Some(admitted.age_seconds),
                    contents,
                }
                .into(),
            );
        }
        text
    }

    fn list_contacts(&self, part: usize) -> VecDeque<Subject> {
        let mut aors = self.owners.bindings.aors(part);
        let removals = self.owners.replica.removals(part, BINDING, |_| true);
        aors.extend(removals.iter().filter_map(|removed| registrar::aor_of(&removed.key).ok()));
        aors.sort_unstable();
        aors.dedup();
        aors.into_iter().map(Subject::Contacts).collect()
    }

    fn list_publications(&self, part: usize) -> VecDeque<Subject> {
        let mut subjects = Vec::new();
        for aor in self.owners.presence.publishers(part) {
            let ids = self.owners.publications(&aor);
            subjects.extend(ids.into_iter().map(|id| Subject::Publication(aor.clone(), id)));
        }
        let removals = self.owners.replica.removals(part, PUBLICATION, |_| true);
        let named = removals.iter().filter_map(|removed| read_publication_key(&removed.key).ok());
        subjects.extend(named.map(|(aor, id)| Subject::Publication(aor, id)));
        subjects.sort_unstable();
        subjects.dedup();
        subjects.into()
    }
}

fn milliseconds(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
}
