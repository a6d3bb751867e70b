//! One presentity: its publications, what is shown of it, and to whom (RFC 3856, RFC 3903 §6).

use std::time::Instant;

use bytes::Bytes;
use presence_doc::{Document, Input, InputKind, compose, synthetic};
use sha2::{Digest, Sha256};
use sip_message::Aor;

use crate::entity_tag::EntityTag;
use crate::persist;
use crate::scene::Scene;
use crate::view::{View, view_of};
use crate::{DomainConfig, Error};

/// One live publication.
#[derive(Debug)]
pub struct Publication {
    /// Its first entity-tag: the same as long as it lives.
    pub id: EntityTag,
    /// The tag that it has now.
    pub entity_tag: EntityTag,
    /// The latest tags that it had before, as long as it would have lived under them: a node of another kind may yet have
    /// it under one of them.
    pub retired: Box<[Retired]>,
    /// What it says.
    pub document: Document,
    /// When the body came, wall clock; later for each body of the presentity, so that order is never lost.
    pub received_unix_ms: i64,
    /// When it ends.
    pub expires_at: Instant,
}

/// An entity-tag that a publication had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired {
    /// The tag.
    pub tag: EntityTag,
    /// Until when the publication would have lived under it, wall clock in milliseconds since 1970 UTC.
    pub until_unix_ms: i64,
}

/// Tags of one publication that are remembered beside its first and its last.
const RETIRED_MAX: usize = 8;

impl Publication {
    /// The former tags to remember when it gets another at `unix_ms`, which is `now`.
    pub fn retire(&self, now: Instant, unix_ms: i64) -> Box<[Retired]> {
        let until_unix_ms = replication::unix_ms_of(self.expires_at, now, unix_ms);
        let last = Retired { tag: self.entity_tag, until_unix_ms };
        let before = self.retired.iter().filter(|retired| retired.until_unix_ms > unix_ms);
        [last].into_iter().chain(before.copied()).take(RETIRED_MAX).collect()
    }

    pub(crate) fn value(&self) -> persist::Value<'_> {
        let (tag, received_unix_ms) = (self.entity_tag, self.received_unix_ms);
        persist::Value { tag, retired: &self.retired, received_unix_ms }
    }

    /// Every tag by which somebody may know it, beside its first.
    pub fn tags(&self) -> impl Iterator<Item = EntityTag> {
        [self.entity_tag].into_iter().chain(self.retired.iter().map(|retired| retired.tag))
    }
}

/// What watchers are shown, kept until it changes: rendered once for all of them, and refreshes are identical.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) view: View,
    /// What it is, whoever made it and when ([`version_of`]): a watcher that has it is not told again, though it was another
    /// state in between.
    pub(crate) version: u64,
    /// The document; empty for [`View::Nothing`].
    pub(crate) body: Bytes,
    /// When the PUBLISH that brought it was received; `None` if it was no PUBLISH.
    pub(crate) published_at: Option<Instant>,
}

/// The version of what watchers are shown: a digest, never zero. Documents of our own differ in their timestamps alone, so
/// those are their view.
fn version_of(view: View, body: &[u8]) -> u64 {
    match view {
        View::Nothing => 1,
        View::SyntheticOpen => 2,
        View::SyntheticClosed => 3,
        View::Composed => {
            let digest = Sha256::digest(body);
            let (first, _) = digest.split_first_chunk().expect("32 octets");
            u64::from_le_bytes(*first).max(4)
        }
    }
}

/// A watcher as the presentity lists it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WatcherRef {
    pub(crate) slot: u32,
    /// Of Call-ID and From tag, to find merged requests.
    pub(crate) fingerprint: u32,
}

/// A presentity with something to remember: publications or watchers.
#[derive(Debug, Default)]
pub(crate) struct Presentity {
    publications: Vec<Publication>,
    last_received_unix_ms: i64,
    /// Whether the publications are others than those `shown` was composed of.
    is_changed: bool,
    pub(crate) shown: Option<Shown>,
    pub(crate) watchers: Vec<WatcherRef>,
    /// When the timer wheel will come by; not later than any publication expires.
    pub(crate) armed: Option<Instant>,
}

/// What can be done to the publications; the same values are written to the journal.
#[derive(Debug)]
pub(crate) enum Change {
    /// A new publication.
    Add { entity_tag: EntityTag, document: Document, received_unix_ms: i64, expires_at: Instant },
    /// Another expiry, and another body if there is one, under another tag.
    Update { entity_tag: EntityTag, new_tag: EntityTag, body: Option<(Document, i64)>, expires_at: Instant },
    /// Its end.
    Remove { entity_tag: EntityTag },
}

impl Presentity {
    /// Whether nothing is to be remembered.
    pub(crate) fn is_idle(&self) -> bool {
        self.publications.is_empty() && self.watchers.is_empty()
    }

    /// Whether a publication lives under a tag.
    pub(crate) fn has(&self, now: Instant, tag: EntityTag) -> bool {
        self.publications.iter().any(|p| p.entity_tag == tag && now < p.expires_at)
    }

    /// The receipt time of a body that comes now: the wall clock, but later than that of any body before.
    pub(crate) fn receipt(&self, unix_ms: i64) -> i64 {
        unix_ms.max(self.last_received_unix_ms.saturating_add(1))
    }

    /// The live and the expired publications.
    pub(crate) fn publications(&self) -> &[Publication] {
        &self.publications
    }

    /// Takes a publication back that was written down.
    pub(crate) fn restore(&mut self, publication: Publication) {
        self.last_received_unix_ms = self.last_received_unix_ms.max(publication.received_unix_ms);
        self.publications.push(publication);
        self.is_changed = true;
    }

    /// Takes a publication as another node has it.
    pub(crate) fn put_one(&mut self, publication: Publication) {
        self.drop_one(publication.id);
        self.restore(publication);
    }

    /// Drops a publication that another node removed.
    pub(crate) fn drop_one(&mut self, id: EntityTag) {
        let before = self.publications.len();
        self.publications.retain(|p| p.id != id);
        self.is_changed |= self.publications.len() != before;
    }

    /// Writes a change down that is about to be applied.
    pub(crate) fn put(
        &self,
        change: &Change,
        out: &mut replication::Change<'_>,
        aor: &Aor,
        now: Instant,
        unix_ms: i64,
    ) {
        let until = |expires_at| replication::unix_ms_of(expires_at, now, unix_ms);
        match change {
            Change::Add { entity_tag, document, received_unix_ms, expires_at } => {
                let (id, tag) = (*entity_tag, *entity_tag);
                let value = persist::Value { tag, retired: &[], received_unix_ms: *received_unix_ms };
                persist::put_publication(out, aor, id, &value, document.bytes(), until(*expires_at));
            }
            Change::Update { entity_tag, new_tag, body, expires_at } => {
                let Some(old) = self.publications.iter().find(|p| p.entity_tag == *entity_tag) else {
                    return;
                };
                let kept = (&old.document, old.received_unix_ms);
                let (document, received) = body.as_ref().map_or(kept, |(document, at)| (document, *at));
                let retired = old.retire(now, unix_ms);
                let value = persist::Value { tag: *new_tag, retired: &retired, received_unix_ms: received };
                persist::put_publication(out, aor, old.id, &value, document.bytes(), until(*expires_at));
            }
            Change::Remove { entity_tag } => {
                if let Some(old) = self.publications.iter().find(|p| p.entity_tag == *entity_tag) {
                    persist::remove_publication(out, aor, old);
                }
            }
        }
    }

    /// Applies a change at `unix_ms`, which is `now`. An `Update` or `Remove` of what is not there does nothing.
    pub(crate) fn apply(&mut self, change: Change, now: Instant, unix_ms: i64) {
        match change {
            Change::Add { entity_tag, document, received_unix_ms, expires_at } => {
                self.last_received_unix_ms = self.last_received_unix_ms.max(received_unix_ms);
                let id = entity_tag;
                self.publications.push(Publication {
                    id,
                    entity_tag,
                    retired: [].into(),
                    document,
                    received_unix_ms,
                    expires_at,
                });
                self.is_changed = true;
            }
            Change::Update { entity_tag, new_tag, body, expires_at } => {
                let Some(publication) = self.publications.iter_mut().find(|p| p.entity_tag == entity_tag)
                else {
                    return;
                };
                publication.retired = publication.retire(now, unix_ms);
                publication.entity_tag = new_tag;
                publication.expires_at = expires_at;
                if let Some((document, received_unix_ms)) = body {
                    self.last_received_unix_ms = self.last_received_unix_ms.max(received_unix_ms);
                    publication.document = document;
                    publication.received_unix_ms = received_unix_ms;
                    self.is_changed = true;
                }
            }
            Change::Remove { entity_tag } => {
                let before = self.publications.len();
                self.publications.retain(|p| p.entity_tag != entity_tag);
                self.is_changed |= self.publications.len() != before;
            }
        }
    }

    /// Drops the publications whose time is over (RFC 3903 §4.2); returns how many.
    pub(crate) fn expire(&mut self, now: Instant) -> usize {
        let before = self.publications.len();
        self.publications.retain(|p| now < p.expires_at);
        let expired = before - self.publications.len();
        self.is_changed |= expired > 0;
        expired
    }

    /// Drops all publications; returns how many.
    pub(crate) fn clear(&mut self) -> usize {
        self.is_changed = true;
        std::mem::take(&mut self.publications).len()
    }

    /// When the next publication expires.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.publications.iter().map(|p| p.expires_at).min()
    }

    /// Makes what is shown follow from what is known; returns whether it became another.
    ///
    /// `published_at` is when the PUBLISH was received that is the cause, if it was one.
    pub(crate) fn show(
        &mut self,
        scene: &Scene<'_>,
        aor: &Aor,
        domain: &DomainConfig,
        published_at: Option<Instant>,
    ) -> bool {
        let is_registered =
            domain.uses_registration_state && scene.registrations.is_registered(aor, scene.now);
        let view = view_of(domain, is_registered, !self.publications.is_empty());
        let is_same_view = self.shown.as_ref().is_some_and(|shown| shown.view == view);
        if is_same_view && !(view == View::Composed && self.is_changed) {
            return false;
        }
        let entity = format!("sip:{aor}");
        let body = match view {
            View::Composed => {
                self.is_changed = false;
                scene.measure(scene.metrics.compose_duration(), || {
                    compose(&entity, &self.inputs(), domain.composition, scene.unix_ms).body
                })
            }
            View::SyntheticOpen => synthetic(&entity, true, scene.unix_ms),
            View::SyntheticClosed => synthetic(&entity, false, scene.unix_ms),
            View::Nothing => Vec::new(),
        };
        if let Some(shown) = &mut self.shown
            && shown.body == body
        {
            // A publication that says the same as the one before: nothing to tell.
            shown.view = view;
            return false;
        }
        let version = version_of(view, &body);
        self.shown = Some(Shown { view, version, body: body.into(), published_at });
        true
    }

    /// Forgets what is shown: nobody sees it, and when somebody does, it shall be made anew.
    pub(crate) fn hide(&mut self) {
        self.shown = None;
        self.is_changed = true;
    }

    /// Makes the next `show` compose again, because the policy may be another.
    pub(crate) fn recompose(&mut self) {
        self.is_changed = true;
    }

    fn inputs(&self) -> Vec<Input<'_>> {
        self.publications
            .iter()
            .map(|p| Input {
                document: &p.document,
                received_unix_ms: p.received_unix_ms,
                label: "",
                kind: InputKind::Publication,
            })
            .collect()
    }

    /// Whether one more publication is allowed.
    pub(crate) fn admit(&self, now: Instant, publications_per_aor_max: usize) -> Result<(), Error> {
        let live = self.publications.iter().filter(|p| now < p.expires_at).count();
        if live < publications_per_aor_max {
            Ok(())
        } else {
            Err(Error::TooManyPublicationsOfAor { max: publications_per_aor_max })
        }
    }
}
