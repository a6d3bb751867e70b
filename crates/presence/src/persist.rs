//! Publications and subscriptions as records of a journal.
//!
//! | kind | key | value |
//! |---|---|---|
//! | publication | AOR, zero, first entity-tag | entity-tag, receipt, former tags, body |
//! | subscription | our tag | presentity, user, flow, dialog |
//! | told | our tag | the version of the state that each subscription's watcher has |
//!
//! What a watcher has is written down after every answered NOTIFY, and removed before the next one leaves, so that after a
//! restart those are told, and only those, who may have something else.

use std::time::{Duration, Instant};

use presence_doc::{Document, DocumentLimits};
use replication::{
    Change, Kind, Malformed, Reader, Record, instant_of, part_of, put_octets, put_optional, put_text,
    unix_ms_of,
};
use sip_event::Dialog;
use sip_message::Aor;
use sip_service::Flow;

use crate::PACKAGE;
use crate::entity_tag::EntityTag;
use crate::keys::LocalTag;
use crate::presentity::{Publication, Retired};
use crate::watcher::{Versions, Watcher};

/// The kind of publications.
pub const PUBLICATION: Kind = Kind(2);
/// The kind of subscriptions.
pub const SUBSCRIPTION: Kind = Kind(3);
/// The kind of what watchers have.
pub const TOLD: Kind = Kind(4);

/// The form of the values that are written.
const VERSION: u8 = 2;
/// The same of publications.
const PUBLICATION_VERSION: u8 = 3;
/// An older form of those, without former tags, which is still read.
const UNRETIRED_VERSION: u8 = 2;
/// NOTIFYs that may be sent before a subscription is written again: the CSeq numbers that a restart may skip.
const CSEQ_RESERVE: u32 = 1000;
/// How many are left when it is written again: written well before they are used up.
const CSEQ_LEFT_MIN: u32 = 500;

/// What is written of a publication beside its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) tag: EntityTag,
    pub(crate) retired: &'a [Retired],
    pub(crate) received_unix_ms: i64,
}

pub(crate) fn put_publication(
    change: &mut Change<'_>,
    aor: &Aor,
    id: EntityTag,
    value: &Value<'_>,
    body: &[u8],
    expires_unix_ms: i64,
) {
    let key = |key: &mut Vec<u8>| write_publication_key(key, aor, id);
    change.put(PUBLICATION, expires_unix_ms, key, |out| write_publication(out, value, body));
}

pub(crate) fn write_publication(out: &mut Vec<u8>, value: &Value<'_>, body: &[u8]) {
    out.push(PUBLICATION_VERSION);
    out.extend_from_slice(&value.tag.to_bytes());
    out.extend_from_slice(&value.received_unix_ms.to_le_bytes());
    // They are few.
    out.push(u8::try_from(value.retired.len()).unwrap_or(u8::MAX));
    for Retired { tag, until_unix_ms } in value.retired.iter().take(usize::from(u8::MAX)) {
        out.extend_from_slice(&tag.to_bytes());
        out.extend_from_slice(&until_unix_ms.to_le_bytes());
    }
    put_octets(out, body);
}

pub(crate) fn remove_publication(change: &mut Change<'_>, aor: &Aor, publication: &Publication) {
    let key = |key: &mut Vec<u8>| write_publication_key(key, aor, publication.id);
    change.remove_noting(PUBLICATION, key, |note| write_tags(note, publication.id, publication.tags()));
}

/// The tags of a publication that was removed, without its first.
pub(crate) fn write_tags(note: &mut Vec<u8>, id: EntityTag, tags: impl Iterator<Item = EntityTag>) {
    tags.filter(|tag| *tag != id).for_each(|tag| note.extend_from_slice(&tag.to_bytes()));
}

pub(crate) fn write_publication_key(key: &mut Vec<u8>, aor: &Aor, id: EntityTag) {
    key.extend_from_slice(aor.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&id.to_bytes());
}

/// The publication that the key of a record names.
///
/// # Errors
/// It names none.
pub fn read_publication_key(key: &[u8]) -> Result<(Aor, EntityTag), Malformed> {
    let (aor, id) = key.split_last_chunk::<16>().ok_or(Malformed)?;
    let aor = aor.strip_suffix(&[0]).ok_or(Malformed)?;
    let aor = std::str::from_utf8(aor).ok().and_then(Aor::parse).ok_or(Malformed)?;
    Ok((aor, EntityTag::from_bytes(*id)))
}

/// Reads a publication. The limits are those of now: what is no longer accepted is not taken back.
pub(crate) fn read_publication(
    record: &Record<'_>,
    now: Instant,
    unix_ms: i64,
    lifetime_max: Duration,
    limits: &DocumentLimits,
) -> Result<(Aor, Publication), Malformed> {
    let (aor, id) = read_publication_key(record.key)?;
    let mut value = Reader::new(record.value);
    let version = value.u8()?;
    if !(UNRETIRED_VERSION..=PUBLICATION_VERSION).contains(&version) {
        return Err(Malformed);
    }
    let entity_tag = read_tag(&mut value)?;
    let received_unix_ms = value.i64()?;
    let mut retired = Vec::new();
    if version > UNRETIRED_VERSION {
        for _ in 0..value.u8()? {
            retired.push(Retired { tag: read_tag(&mut value)?, until_unix_ms: value.i64()? });
        }
    }
    let retired = retired.into();
    let document = Document::parse(value.octets()?, limits).map_err(|_| Malformed)?;
    value.finish()?;
    let expires_at = instant_of(record.expires_unix_ms, now, unix_ms, lifetime_max);
    Ok((aor, Publication { id, entity_tag, retired, document, received_unix_ms, expires_at }))
}

fn read_tag(value: &mut Reader<'_>) -> Result<EntityTag, Malformed> {
    value.take(16)?.try_into().map(EntityTag::from_bytes).map_err(|_| Malformed)
}

impl Watcher {
    /// Whether it is to be written down: for the first time, or as the CSeq numbers that are reserved run out.
    pub(crate) fn must_be_kept(&self) -> bool {
        self.dialog.expires_at().is_some()
            && self.cseq_reserved < self.dialog.local_cseq().saturating_add(CSEQ_LEFT_MIN)
    }

    /// Whether this node notifies it, and has to go on although `other` says that another does, neither having known of the
    /// other: the watcher came here with a later SUBSCRIBE, or may have had NOTIFYs with numbers that the other has yet to
    /// reach, so that it would refuse what that one says (RFC 3261 §12.2.2).
    pub(crate) fn is_contested_by(&self, other: &Self) -> bool {
        let is_ahead = self.dialog.local_cseq().saturating_add(CSEQ_RESERVE) > other.cseq_reserved;
        let is_later = self.dialog.remote_cseq() > other.dialog.remote_cseq();
        self.is_ours && !other.is_ours && (is_ahead || is_later)
    }

    /// This node notifies it from now on. Whoever did goes on, at the next start, where its reserve ends: up to another
    /// reserve it is below us.
    pub(crate) fn make_ours(&mut self) {
        self.is_ours = true;
        self.dialog.skip_cseq(CSEQ_RESERVE);
    }

    /// Reserves CSeq numbers; they are reserved when it is written down.
    pub(crate) fn reserve_cseq(&mut self) {
        self.cseq_reserved = self.dialog.local_cseq().saturating_add(CSEQ_RESERVE);
    }

    /// Writes it down, if something of it need outlive the process.
    pub(crate) fn put(&self, change: &mut Change<'_>, now: Instant, unix_ms: i64) {
        let Some(expires_at) = self.dialog.expires_at() else { return };
        let value = |value: &mut Vec<u8>| {
            value.push(VERSION);
            put_text(value, self.presentity.as_str());
            put_optional(value, self.user.as_ref().map(Aor::as_str));
            Flow::write(self.flow.as_ref(), value);
            self.dialog.write(value, self.cseq_reserved);
        };
        let expires_unix_ms = unix_ms_of(expires_at, now, unix_ms);
        let key = self.tag.to_bytes();
        change.put(SUBSCRIPTION, expires_unix_ms, |out| out.extend_from_slice(&key), value);
    }

    /// Writes down which version each of its watchers has.
    pub(crate) fn put_told(
        &self,
        change: &mut Change<'_>,
        told: impl Iterator<Item = Option<u64>>,
        now: Instant,
        unix_ms: i64,
    ) {
        let Some(expires_at) = self.dialog.expires_at() else { return };
        let value = |value: &mut Vec<u8>| {
            told.for_each(|version| value.extend_from_slice(&version.unwrap_or(0).to_le_bytes()));
        };
        let expires_unix_ms = unix_ms_of(expires_at, now, unix_ms);
        let key = self.tag.to_bytes();
        change.put(TOLD, expires_unix_ms, |out| out.extend_from_slice(&key), value);
    }

    /// Reads one, which another node notifies until it is said that this one does.
    pub(crate) fn read(
        record: &Record<'_>,
        now: Instant,
        unix_ms: i64,
        lifetime_max: Duration,
    ) -> Result<Self, Malformed> {
        let tag = LocalTag::from_bytes(record.key).ok_or(Malformed)?;
        let mut value = Reader::new(record.value);
        if value.u8()? != VERSION {
            return Err(Malformed);
        }
        let presentity = Aor::parse(value.text()?).ok_or(Malformed)?;
        let user = match value.optional()? {
            None => None,
            Some(user) => Some(Aor::parse(user).ok_or(Malformed)?),
        };
        let flow = Flow::read(&mut value)?;
        let expires_at = instant_of(record.expires_unix_ms, now, unix_ms, lifetime_max);
        let dialog = Dialog::read(&mut value, PACKAGE, now, expires_at)?;
        value.finish()?;
        let cseq_reserved = dialog.local_cseq();
        Ok(Self {
            dialog,
            presentity,
            tag,
            is_ours: false,
            written: None,
            flow,
            user,
            // Copies of the SUBSCRIBE that began it are no longer on their way.
            began: None,
            armed: None,
            cseq_reserved,
            is_told_kept: true,
            is_contested: false,
            is_end_claimed: false,
        })
    }
}

/// Writes down that it is not known what a watcher has: it is about to be told something.
pub(crate) fn remove_told(change: &mut Change<'_>, tag: LocalTag) {
    change.remove(TOLD, |key| key.extend_from_slice(&tag.to_bytes()));
}

/// Writes down that a subscription is over.
pub(crate) fn remove_watcher(change: &mut Change<'_>, tag: LocalTag) {
    change.remove(SUBSCRIPTION, |key| key.extend_from_slice(&tag.to_bytes()));
    change.remove(TOLD, |key| key.extend_from_slice(&tag.to_bytes()));
}

/// The part of the state that a record is of.
pub(crate) fn part(record: &Record<'_>) -> Result<usize, Malformed> {
    if record.kind == PUBLICATION {
        read_publication_key(record.key).map(|(aor, _)| part_of(aor.as_str()))
    } else {
        LocalTag::from_bytes(record.key).map(|tag| tag.shard() as usize).ok_or(Malformed)
    }
}

/// Reads which version each watcher of a dialog has; a zero is none that is known.
pub(crate) fn read_told(record: &Record<'_>) -> Result<(LocalTag, Versions), Malformed> {
    let tag = LocalTag::from_bytes(record.key).ok_or(Malformed)?;
    let (told, rest) = record.value.as_chunks::<8>();
    let version = |octets: &[u8; 8]| Some(u64::from_le_bytes(*octets)).filter(|version| *version != 0);
    if rest.is_empty() { Ok((tag, told.iter().map(version).collect())) } else { Err(Malformed) }
}
