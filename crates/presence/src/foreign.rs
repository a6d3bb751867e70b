//! Publications for somebody who speaks with a presence server of another kind, and knows neither the form of records nor that
//! of keys.

use std::sync::Arc;
use std::time::Instant;

use presence_doc::Document;
use sip_message::Aor;

use crate::entity_tag::EntityTag;
use crate::error::RETRY_AFTER_SECONDS;
use crate::persist;
use crate::presentity::{Publication, Retired};
use crate::{Error, Presence};

/// The key of the record of a publication, by its first tag.
pub fn publication_key(aor: &Aor, id: EntityTag) -> Vec<u8> {
    let mut key = Vec::new();
    persist::write_publication_key(&mut key, aor, id);
    key
}

/// The value of the record of a publication.
pub fn publication_value(tag: EntityTag, retired: &[Retired], received_unix_ms: i64, body: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    persist::write_publication(&mut value, &persist::Value { tag, retired, received_unix_ms }, body);
    value
}

/// The note of a removal: every tag that a publication had but its first.
pub fn publication_note(id: EntityTag, tags: impl Iterator<Item = EntityTag>) -> Vec<u8> {
    let mut note = Vec::new();
    persist::write_tags(&mut note, id, tags);
    note
}

/// The tags that such a note names.
pub fn read_publication_note(note: &[u8]) -> impl Iterator<Item = EntityTag> {
    let (tags, _) = note.as_chunks::<16>();
    tags.iter().map(|tag| EntityTag::from_bytes(*tag))
}

impl Presence {
    /// Looks at the publications of an AOR, the expired ones included, while nobody can change them.
    pub fn view<T>(&self, aor: &Aor, look: impl FnOnce(&[Publication]) -> T) -> T {
        let shard = self.shard_of(aor).lock();
        look(shard.presentities.get(aor).map_or(&[], |presentity| presentity.publications()))
    }

    /// The AORs of a part that have publications.
    pub fn publishers(&self, part: usize) -> Vec<Aor> {
        let Some(shard) = self.shards().get(part) else { return Vec::new() };
        let shard = shard.lock();
        let publishing = shard.presentities.iter().filter(|(_, p)| !p.publications().is_empty());
        publishing.map(|(aor, _)| aor.clone()).collect()
    }

    /// Whether presence is served for an AOR.
    pub fn serves(&self, aor: &Aor) -> bool {
        self.settings().of_aor(aor).is_some()
    }

    /// Whether a publication may be taken of a node of another kind: it is to be of a domain that is served, readable, within
    /// the limits, and, if it is `new` at `now`, one more for its AOR.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, now: Instant, aor: &Aor, body: &[u8], is_new: bool) -> Result<(), Error> {
        let settings = self.settings();
        settings.of_aor(aor).ok_or(Error::NotFound)?;
        Document::parse(body, &settings.config.document_limits())?;
        if is_new {
            let max = settings.config.publications_max;
            if self.publications() >= max {
                return Err(Error::TooManyPublications { max, retry_after_seconds: RETRY_AFTER_SECONDS });
            }
            let shard = self.shard_of(aor).lock();
            if let Some(presentity) = shard.presentities.get(aor) {
                presentity.admit(now, settings.config.publications_per_aor_max)?;
            }
        }
        Ok(())
    }

    /// Says again what the publication with that first tag is, as a change of now: somebody did not take it. `false` if it
    /// is not there.
    pub fn touch(self: &Arc<Self>, now: Instant, aor: &Aor, id: EntityTag) -> bool {
        let settings = self.settings();
        let scene = self.scene(now, &settings);
        let Some(kept) = &scene.kept.publications else { return false };
        let shard = self.shard_of(aor).lock();
        let publications = shard.presentities.get(aor).map_or(&[][..], |p| p.publications());
        let Some(p) = publications.iter().find(|p| p.id == id && now < p.expires_at) else { return false };
        let until = replication::unix_ms_of(p.expires_at, now, scene.unix_ms);
        // Nobody waits for it: it says what is kept already.
        drop(kept.append(now, scene.unix_ms, shard.index as usize, |change| {
            persist::put_publication(change, aor, id, &p.value(), p.document.bytes(), until);
        }));
        true
    }
}
