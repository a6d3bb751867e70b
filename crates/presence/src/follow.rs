//! What other nodes do: their changes are taken over, and what they do for a watcher is known in case that it has to be
//! done here.

use std::time::Duration;

use replication::{Kind, Malformed, Record, Succession};
use sip_message::{Aor, Uri};

use crate::keys::LocalTag;
use crate::persist;
use crate::scene::{Outgoing, Scene};
use crate::shard::{Shard, Timer, contact, is_secure};
use crate::watcher::Watcher;

/// How long a subscription that another node notifies is remembered beyond its end, so that its last NOTIFY is that node's
/// affair.
const FOLLOW_GRACE: Duration = Duration::from_secs(5);

impl Shard {
    /// Takes a change that another node made. Watchers that this node notifies are told in `out`.
    pub(crate) fn apply(&mut self, scene: &Scene<'_>, records: &[Record<'_>], out: &mut Vec<Outgoing>) {
        let Some(kept) = records.first().and_then(|record| scene.kept.of(record.kind)) else { return };
        let mut changed: Vec<Aor> = Vec::new();
        let mut own: Vec<Aor> = Vec::new();
        let news = kept.adopt(scene.now, scene.unix_ms, self.index as usize, records);
        let is_news = |record: &&Record<'_>| news.iter().any(|new| std::ptr::eq(*new, *record));
        records.iter().filter(|record| !is_news(record)).for_each(|record| self.heed(scene, record));
        for record in &news {
            let applied = match record.kind {
                persist::PUBLICATION => self.apply_publication(scene, record).map(|aor| changed.push(aor)),
                persist::SUBSCRIPTION => self.apply_watcher(scene, record).map(|aor| own.extend(aor)),
                _ => self.apply_told(record).map(|aor| own.extend(aor)),
            };
            if applied.is_err() {
                tracing::warn!(kind = record.kind.0, "a record of another node is not readable");
            }
        }
        if self.is_resumed {
            changed.sort_unstable();
            changed.dedup();
            // First whom this node notifies from now on: they may have what the others are yet to be told.
            own.iter().for_each(|aor| self.act_for_watchers(scene, aor, out));
            changed.iter().for_each(|aor| self.update(scene, aor, None, out));
        }
    }

    /// A change that does not count, as a later one is known. A node that did not know of that may have notified a watcher
    /// all the same: whoever goes on has to go beyond its numbers.
    fn heed(&mut self, scene: &Scene<'_>, record: &Record<'_>) {
        if record.kind != persist::SUBSCRIPTION || record.is_removed {
            return;
        }
        let slot = LocalTag::from_bytes(record.key).and_then(|tag| self.tags.get(&tag).copied());
        // Of those that this node notifies it is told again what it said itself.
        if let Some(known) = slot.and_then(|slot| self.watchers.get_mut(slot)).filter(|known| !known.is_ours)
            && let Ok(other) = Watcher::read(record, scene.now, scene.unix_ms, scene.lifetime_max())
        {
            known.dialog.leave_cseq_to(other.cseq_reserved);
        }
    }

    fn apply_publication(&mut self, scene: &Scene<'_>, record: &Record<'_>) -> Result<Aor, Malformed> {
        let (aor, id) = persist::read_publication_key(record.key)?;
        let publication = if record.is_removed {
            None
        } else {
            let limits = scene.settings.config.document_limits();
            let (_, publication) =
                persist::read_publication(record, scene.now, scene.unix_ms, scene.lifetime_max(), &limits)?;
            Some(publication)
        };
        let presentity = self.presentities.entry(aor.clone()).or_default();
        let before = presentity.publications().len();
        match publication {
            Some(publication) => presentity.put_one(publication),
            None => presentity.drop_one(id),
        }
        let after = presentity.publications().len();
        scene.remember_publications(&aor, after.saturating_sub(before));
        scene.forget_publications(&aor, before.saturating_sub(after));
        if !self.is_resumed {
            self.forget_if_idle(&aor);
        }
        Ok(aor)
    }

    /// Whoever wrote it notifies from now on. Returns the presentity if that is this node, in an earlier life.
    fn apply_watcher(&mut self, scene: &Scene<'_>, record: &Record<'_>) -> Result<Option<Aor>, Malformed> {
        let tag = LocalTag::from_bytes(record.key).ok_or(Malformed)?;
        let slot = self.tags.get(&tag).copied();
        if record.is_removed {
            if let Some(slot) = slot {
                self.forget_watcher(scene, slot);
            }
            return Ok(None);
        }
        let mut new = Watcher::read(record, scene.now, scene.unix_ms, scene.lifetime_max())?;
        scene.settings.of_aor(&new.presentity).ok_or(Malformed)?;
        if tag.shard() != self.index || replication::part_of(new.presentity.as_str()) != self.index as usize {
            return Err(Malformed);
        }
        let replica = scene.kept.subscriptions.as_ref().and_then(|kept| kept.replica.as_ref());
        let last = record.place.map(|place| place.version.node);
        new.is_ours = last.is_some() && last == replica.map(|replica| replica.node());
        match slot {
            Some(slot) => Ok(self.replace_watcher(scene, slot, new)),
            None => {
                let own = new.is_ours.then(|| new.presentity.clone());
                scene.remember_watcher(&new);
                let slot = self.restore_watcher(new);
                self.arm_watcher(scene, slot);
                Ok(own)
            }
        }
    }

    /// A watcher is known already, and another node has written it down since. Returns the presentity if this node is to tell
    /// it what that node may not have told.
    fn replace_watcher(&mut self, scene: &Scene<'_>, slot: u32, mut new: Watcher) -> Option<Aor> {
        let known = self.watchers.get_mut(slot)?;
        // Also before all is back: what this node used in an earlier life is known to nobody else.
        let is_claimed = known.is_contested_by(&new);
        if is_claimed && known.dialog.remote_cseq() >= new.dialog.remote_cseq() {
            // It knows no more of the watcher than this node does.
            known.dialog.leave_cseq_to(new.cseq_reserved);
            known.is_contested = true;
            self.claim(scene, slot);
            return None;
        }
        new.is_ours |= is_claimed;
        new.dialog.leave_cseq_to(known.dialog.local_cseq().max(known.cseq_reserved));
        // What comes of a NOTIFY under way concerns this node only if it goes on.
        let is_awaited = new.is_ours && new.dialog.await_outcome_of(&known.dialog);
        new.armed = known.armed;
        // What the watcher has is a record of its own, which this one changes nothing of.
        new.written = match known.written.take() {
            None if known.is_ours && !is_awaited => Some(known.dialog.told().collect()),
            written => written,
        };
        let added = new.dialog.len() as i64 - known.dialog.len() as i64;
        scene.settings.gauges(&new.presentity).subscriptions.add(added);
        let own = new.is_ours.then(|| new.presentity.clone());
        *known = new;
        if !is_awaited {
            self.watchers.renew(slot);
        }
        self.arm_watcher(scene, slot);
        if is_claimed {
            self.claim(scene, slot);
        }
        own
    }

    /// From now on this node notifies, which the others hear of, and CSeq goes on beyond what was reserved.
    fn claim(&mut self, scene: &Scene<'_>, slot: u32) {
        let Some(watcher) = self.watchers.get_mut(slot) else { return };
        watcher.make_ours();
        let target = Uri::parse(watcher.dialog.remote_target().as_bytes());
        if let (Ok(hop), Ok(target)) = (watcher.hop(scene.network, 0), target) {
            let contact = contact(scene.network, is_secure(&target), &hop.flow, &watcher.presentity);
            watcher.dialog.set_contact(contact);
        }
        self.keep_claim(scene, slot);
    }

    /// Returns the presentity if this node has to tell the watcher again.
    fn apply_told(&mut self, record: &Record<'_>) -> Result<Option<Aor>, Malformed> {
        let tag = LocalTag::from_bytes(record.key).ok_or(Malformed)?;
        let told = if record.is_removed { None } else { Some(persist::read_told(record)?.1) };
        let slot = self.tags.get(&tag).copied();
        if let Some(watcher) = slot.and_then(|slot| self.watchers.get_mut(slot)).filter(|w| w.is_contested)
            && record.is_removed
        {
            // Another node, which notified too, has told it something else.
            watcher.dialog.set_told(std::iter::empty());
            watcher.written = None;
            return Ok(Some(watcher.presentity.clone()));
        }
        if let Some(watcher) = slot.and_then(|slot| self.watchers.get_mut(slot)) {
            watcher.is_told_kept = told.is_some();
            // What this node has told itself, or is telling, it knows better.
            if !watcher.dialog.is_awaiting() && watcher.dialog.told().all(|told| told.is_none()) {
                watcher.written = told;
            }
        } else if !self.is_resumed {
            // Its watcher may yet be heard of; what was written down of it before does not count any more.
            match told {
                Some(told) => drop(self.told.insert(tag, told)),
                None => drop(self.told.remove(&tag)),
            }
        }
        Ok(None)
    }

    /// Looks whether a subscription that another node notifies is over.
    pub(crate) fn follow(&mut self, scene: &Scene<'_>, slot: u32) {
        let Some(watcher) = self.watchers.get(slot) else { return };
        if watcher.dialog.expires_at().is_none_or(|at| at + FOLLOW_GRACE <= scene.now) {
            self.forget_watcher(scene, slot);
        } else {
            self.arm_watcher(scene, slot);
        }
    }

    /// Has the wheel come by when a subscription that another node notifies is over.
    pub(crate) fn arm_watcher(&mut self, scene: &Scene<'_>, slot: u32) {
        let Some(watcher) = self.watchers.get_mut(slot).filter(|watcher| !watcher.is_ours) else { return };
        let due = watcher.dialog.expires_at().map_or(scene.now, |at| at + FOLLOW_GRACE);
        if watcher.armed.is_none_or(|armed| due < armed) {
            watcher.armed = Some(due);
            self.arm(due, Timer::Watcher(slot));
        }
    }

    /// Another node's watcher is gone: nobody is told.
    fn forget_watcher(&mut self, scene: &Scene<'_>, slot: u32) {
        let Some(watcher) = self.watchers.get_mut(slot) else { return };
        watcher.is_ours = false;
        let ended = watcher.dialog.len() as i64;
        scene.settings.gauges(&watcher.presentity).subscriptions.sub(ended);
        self.remove_watcher(scene, slot);
    }

    /// Notifies watchers of nodes that are gone, as far as they fall to this one.
    pub(crate) fn take_over(&mut self, scene: &Scene<'_>, succession: &Succession, out: &mut Vec<Outgoing>) {
        let Some(replica) = scene.kept.subscriptions.as_ref().and_then(|kept| kept.replica.as_ref()) else {
            return;
        };
        let is_to_fall_here = |watcher: &Watcher| {
            let tag = watcher.tag;
            let part = tag.shard() as usize;
            let owner = replica.owner(part, persist::SUBSCRIPTION, &tag.to_bytes());
            !watcher.is_ours && owner.is_some_and(|owner| succession.is_heir(part, owner, tag.number()))
        };
        let falling = self.watchers.iter().filter(|(_, watcher)| is_to_fall_here(watcher));
        let (slots, mut aors): (Vec<u32>, Vec<Aor>) =
            falling.map(|(slot, w)| (slot, w.presentity.clone())).unzip();
        slots.into_iter().for_each(|slot| self.claim(scene, slot));
        aors.sort_unstable();
        aors.dedup();
        // Before all is back it is not known what watchers have: they are told when it is.
        if self.is_resumed {
            aors.iter().for_each(|aor| self.act_for_watchers(scene, aor, out));
        }
    }
}

/// The kinds that presence has.
pub(crate) const KINDS: &[Kind] = &[persist::PUBLICATION, persist::SUBSCRIPTION, persist::TOLD];
