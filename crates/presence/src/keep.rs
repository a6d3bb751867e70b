//! What of a shard outlives the process: written down as it changes, taken back at the next start.

use hashbrown::HashMap;
use replication::{Assertion, Durable, unix_ms_of};
use sip_event::Input;
use sip_message::Aor;

use crate::keys::LocalTag;
use crate::persist;
use crate::presentity::{Publication, WatcherRef};
use crate::scene::{Outgoing, Scene};
use crate::shard::Shard;
use crate::slots::Slots;
use crate::view::View;
use crate::watcher::{Versions, Watcher};

/// Whether this node notifies the watcher in a slot.
pub(crate) fn is_own(watchers: &Slots<Watcher>, slot: u32) -> bool {
    watchers.get(slot).is_some_and(|watcher| watcher.is_ours)
}

impl Shard {
    /// Writes down how a subscription now is, or that it has ended. Returns what an acknowledgement has to wait for.
    pub(crate) fn keep_watcher(&mut self, scene: &Scene<'_>, slot: u32) -> Option<Durable> {
        let kept = scene.kept.subscriptions.as_ref()?;
        let (now, unix_ms, part) = (scene.now, scene.unix_ms, self.index as usize);
        let watcher = self.watchers.get_mut(slot)?;
        if watcher.dialog.expires_at().is_some() {
            watcher.reserve_cseq();
            kept.append(now, unix_ms, part, |change| watcher.put(change, now, unix_ms))
        } else if watcher.cseq_reserved > 0 {
            watcher.cseq_reserved = 0;
            kept.append(now, unix_ms, part, |change| persist::remove_watcher(change, watcher.tag))
        } else {
            None
        }
    }

    /// Writes down what the watcher did not ask for: that this node notifies it, and up to which CSeq number, or that its time
    /// is over. A SUBSCRIBE that another node took, and of which nothing was heard here yet, counts more than that. Nobody
    /// waits for it, but for NOTIFYs with numbers that were not reserved before.
    pub(crate) fn keep_claim(&mut self, scene: &Scene<'_>, slot: u32) {
        let Some(kept) = &scene.kept.subscriptions else { return };
        let Some(watcher) = self.watchers.get_mut(slot) else { return };
        let (now, unix_ms, part) = (scene.now, scene.unix_ms, self.index as usize);
        if watcher.dialog.expires_at().is_some() {
            if watcher.dialog.local_cseq() > watcher.cseq_reserved {
                scene.has_reserved.set(true);
            }
            watcher.reserve_cseq();
            drop(kept.claim(now, unix_ms, part, |change| watcher.put(change, now, unix_ms)));
        } else {
            watcher.cseq_reserved = 0;
            watcher.is_end_claimed = true;
            drop(kept.claim(now, unix_ms, part, |change| persist::remove_watcher(change, watcher.tag)));
        }
    }

    /// The watcher knows that its time is over, if what it answered was the last NOTIFY: so it is, whatever another node took
    /// before, heard of by now or not.
    pub(crate) fn keep_end(&mut self, scene: &Scene<'_>, slot: u32) {
        let Some(kept) = &scene.kept.subscriptions else { return };
        let Some(watcher) = self.watchers.get_mut(slot) else { return };
        if watcher.dialog.is_ending()
            && (std::mem::take(&mut watcher.is_end_claimed) || watcher.cseq_reserved > 0)
        {
            watcher.cseq_reserved = 0;
            let (now, unix_ms, part) = (scene.now, scene.unix_ms, self.index as usize);
            drop(kept.append(now, unix_ms, part, |change| persist::remove_watcher(change, watcher.tag)));
        }
    }

    /// Writes down what a watcher has, after it answered; nobody waits for it.
    pub(crate) fn keep_told(&mut self, scene: &Scene<'_>, slot: u32) {
        let Some(kept) = &scene.kept.subscriptions else { return };
        let Some(watcher) = self.watchers.get_mut(slot).filter(|watcher| watcher.cseq_reserved > 0) else {
            return;
        };
        let Some(shown) = self.presentities.get(&watcher.presentity).and_then(|p| p.shown.as_ref()) else {
            return;
        };
        let version = shown.version;
        // One that has an older version by now is about to be told another.
        if !watcher.dialog.told().any(|told| told == Some(version)) {
            return;
        }
        watcher.is_told_kept = true;
        let (now, unix_ms) = (scene.now, scene.unix_ms);
        drop(kept.append(now, unix_ms, self.index as usize, |change| {
            watcher.put_told(change, watcher.dialog.told(), now, unix_ms);
        }));
    }

    /// Takes a publication back; it is counted, and shown when all is there ([`Shard::resume`]).
    pub(crate) fn restore_publication(&mut self, aor: &Aor, publication: Publication) {
        self.presentities.entry(aor.clone()).or_default().restore(publication);
    }

    /// Takes a subscription back, or takes note of one that another node notifies.
    pub(crate) fn restore_watcher(&mut self, mut watcher: Watcher) -> u32 {
        watcher.written = self.told.remove(&watcher.tag);
        let fingerprint = 0; // of a SUBSCRIBE whose copies are no longer on their way
        let (tag, presentity) = (watcher.tag, watcher.presentity.clone());
        let slot = self.watchers.insert(watcher);
        self.tags.insert(tag, slot);
        self.presentities.entry(presentity).or_default().watchers.push(WatcherRef { slot, fingerprint });
        slot
    }

    /// Takes back what a watcher has, which is kept for it if it is not back yet.
    pub(crate) fn restore_told(&mut self, tag: LocalTag, told: Versions) {
        match self.tags.get(&tag).and_then(|slot| self.watchers.get_mut(*slot)) {
            Some(watcher) => watcher.written = Some(told),
            None => drop(self.told.insert(tag, told)),
        }
    }

    /// All presentities, in an order that is the same in every run.
    pub(crate) fn aors(&self) -> Vec<Aor> {
        let mut aors: Vec<Aor> = self.presentities.keys().cloned().collect();
        aors.sort_unstable();
        aors
    }

    /// The watchers of a presentity that this node notifies.
    pub(crate) fn own_watchers(&self, aor: &Aor) -> Vec<u32> {
        let watchers = self.presentities.get(aor).map(|presentity| presentity.watchers.iter());
        watchers.into_iter().flatten().map(|w| w.slot).filter(|slot| is_own(&self.watchers, *slot)).collect()
    }

    /// All that was kept is back: watchers are told what they do not have, and timers run.
    pub(crate) fn resume(&mut self, scene: &Scene<'_>, out: &mut Vec<Outgoing>) {
        self.is_resumed = true;
        self.told = HashMap::new();
        // What was taken over before now may not be on the disk yet.
        scene.has_reserved.set(true);
        let slots: Vec<u32> = self.watchers.iter().map(|(slot, _)| slot).collect();
        slots.into_iter().for_each(|slot| self.arm_watcher(scene, slot));
        let aors = self.aors();
        for aor in aors {
            self.act_for_watchers(scene, &aor, out);
            self.arm_publications(&aor);
            self.forget_if_idle(&aor);
        }
    }

    /// Shows a presentity to those watchers that this node notifies and that may not have it.
    pub(crate) fn act_for_watchers(&mut self, scene: &Scene<'_>, aor: &Aor, out: &mut Vec<Outgoing>) {
        let own = self.own_watchers(aor);
        let Some(served) = scene.settings.of_aor(aor) else { return };
        let Some(presentity) = self.presentities.get_mut(aor).filter(|_| !own.is_empty()) else { return };
        // What came to its end while nobody was told, or has yet to be taken out, is not shown.
        scene.forget_publications(aor, presentity.expire(scene.now));
        presentity.show(scene, aor, served.config, None);
        let Some(shown) = &presentity.shown else { return };
        let is_nothing = shown.view == View::Nothing;
        let input = if is_nothing { Input::End(sip_event::Reason::NoResource) } else { Input::Changed };
        for slot in own {
            if let Some(watcher) = self.watchers.get_mut(slot) {
                watcher.recall();
            }
            self.drive(scene, slot, input, out);
        }
    }

    /// Writes all down that is to outlive the process. It changes nothing, as what is asserted may yet be left out.
    pub(crate) fn assert(&self, scene: &Scene<'_>, into: &Assertion<'_>) {
        let (part, now, unix_ms) = (self.index as usize, scene.now, scene.unix_ms);
        if scene.kept.publications.is_some() {
            for aor in self.aors() {
                let Some(presentity) = self.presentities.get(&aor) else { continue };
                into.append(part, |change| {
                    for p in presentity.publications().iter().filter(|p| now < p.expires_at) {
                        let until = unix_ms_of(p.expires_at, now, unix_ms);
                        persist::put_publication(change, &aor, p.id, &p.value(), p.document.bytes(), until);
                    }
                });
            }
        }
        if scene.kept.subscriptions.is_some() {
            for (_, watcher) in self.watchers.iter().filter(|(_, watcher)| watcher.cseq_reserved > 0) {
                into.append(part, |change| {
                    watcher.put(change, now, unix_ms);
                    match &watcher.written {
                        Some(written) => watcher.put_told(change, written.iter().copied(), now, unix_ms),
                        // Of those whom others notify no more is known.
                        None if watcher.is_told_kept && watcher.is_ours => {
                            watcher.put_told(change, watcher.dialog.told(), now, unix_ms);
                        }
                        None => {}
                    }
                });
            }
        }
    }
}

impl Watcher {
    /// It is about to be told something: what it has is not known until it answers, and that is written before.
    pub(crate) fn forget_told(&mut self, scene: &Scene<'_>) {
        self.is_contested = false;
        self.written = None;
        let Some(kept) = &scene.kept.subscriptions else { return };
        if std::mem::take(&mut self.is_told_kept) {
            let part = self.tag.shard() as usize;
            drop(kept.append(scene.now, scene.unix_ms, part, |out| persist::remove_told(out, self.tag)));
        }
    }
}
