//! What of a shard outlives the process: written down as it changes, taken back at the next start.

use replication::{Durable, Journal, Malformed, Record, unix_ms_of};
use sip_event::Input;
use sip_message::Aor;

use crate::keys::{LocalTag, WatcherKey};
use crate::persist;
use crate::presentity::{Publication, WatcherRef};
use crate::scene::{Outgoing, Scene};
use crate::shard::Shard;
use crate::view::View;
use crate::watcher::Watcher;

impl Shard {
    /// Writes down how a subscription now is, or that it has ended. Returns what an acknowledgement has to wait for.
    pub(crate) fn keep_watcher(&mut self, scene: &Scene<'_>, slot: u32) -> Option<Durable> {
        let kept = scene.kept.subscriptions.as_ref()?;
        let (lane, key) = (self.index as usize, WatcherKey::new(slot, self.index));
        let watcher = self.watchers.get_mut(slot)?;
        let tag = LocalTag { nonce: watcher.nonce, key };
        if watcher.dialog.expires_at().is_some() {
            watcher.reserve_cseq();
            kept.append(lane, |change| watcher.put(change, tag, scene.now, scene.unix_ms))
        } else if watcher.cseq_reserved > 0 {
            watcher.cseq_reserved = 0;
            kept.append(lane, |change| persist::remove_watcher(change, tag))
        } else {
            None
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
        let tag = LocalTag { nonce: watcher.nonce, key: WatcherKey::new(slot, self.index) };
        drop(kept.append(self.index as usize, |change| {
            watcher.put_told(change, tag, version, shown.digest, scene.now, scene.unix_ms);
        }));
    }

    /// Takes a publication back; it is counted, and shown when all is there ([`Shard::resume`]).
    pub(crate) fn restore_publication(&mut self, aor: &Aor, publication: Publication) {
        self.presentities.entry(aor.clone()).or_default().restore(publication);
    }

    /// Takes a subscription back, at the place that its tag names.
    pub(crate) fn restore_watcher(&mut self, tag: LocalTag, watcher: Watcher) -> bool {
        let slot = tag.key.slot();
        let fingerprint = 0; // of a SUBSCRIBE whose copies are no longer on their way
        let presentity = watcher.presentity.clone();
        let is_restored = self.watchers.restore(slot, watcher);
        if is_restored {
            self.presentities.entry(presentity).or_default().watchers.push(WatcherRef { slot, fingerprint });
        }
        is_restored
    }

    /// All that was kept is back: watchers are told what they do not have, and timers run.
    pub(crate) fn resume(&mut self, scene: &Scene<'_>, told: &mut Told, out: &mut Vec<Outgoing>) {
        self.watchers.reclaim();
        let aors: Vec<Aor> = self.presentities.keys().cloned().collect();
        for aor in aors {
            let Some(served) = scene.settings.of_aor(&aor) else { continue };
            let Some(presentity) = self.presentities.get_mut(&aor) else { continue };
            if !presentity.watchers.is_empty()
                && presentity.show(scene, &aor, served.config, self.last_version + 1, None)
            {
                self.last_version += 1;
                let Some(shown) = &presentity.shown else { continue };
                let (version, shown_digest) = (shown.version, shown.digest);
                let input = if shown.view == View::Nothing {
                    Input::End(sip_event::Reason::NoResource)
                } else {
                    Input::Changed
                };
                let slots: Vec<u32> = presentity.watchers.iter().map(|w| w.slot).collect();
                for slot in slots {
                    let digests = told.take(WatcherKey::new(slot, self.index));
                    if let Some(watcher) = self.watchers.get_mut(slot)
                        && digests.len() == watcher.dialog.len()
                    {
                        let has = |digest| (digest == shown_digest).then_some(version);
                        watcher.dialog.set_told(digests.into_iter().map(has));
                    }
                    self.drive(scene, slot, input, out);
                }
            }
            self.arm_publications(&aor);
            self.forget_if_idle(&aor);
        }
    }

    /// Writes all down that is to outlive the process. It changes nothing, as what is asserted may yet be left out.
    pub(crate) fn assert(&self, scene: &Scene<'_>, journal: &Journal) {
        let (lane, now, unix_ms) = (self.index as usize, scene.now, scene.unix_ms);
        if scene.kept.publications.is_some() {
            for (aor, presentity) in self.presentities.iter().filter(|(_, p)| !p.publications().is_empty()) {
                journal.append(lane, |change| {
                    for p in presentity.publications().iter().filter(|p| now < p.expires_at) {
                        let until = unix_ms_of(p.expires_at, now, unix_ms);
                        let (tag, body) = (p.entity_tag, p.document.bytes());
                        persist::put_publication(change, aor, tag, p.received_unix_ms, body, until);
                    }
                });
            }
        }
        if scene.kept.subscriptions.is_some() {
            let index = self.index;
            for (slot, watcher) in self.watchers.iter().filter(|(_, watcher)| watcher.cseq_reserved > 0) {
                let tag = LocalTag { nonce: watcher.nonce, key: WatcherKey::new(slot, index) };
                let shown = self.presentities.get(&watcher.presentity).and_then(|p| p.shown.as_ref());
                journal.append(lane, |change| {
                    watcher.put(change, tag, now, unix_ms);
                    if let Some(shown) = shown.filter(|_| watcher.is_told_kept) {
                        watcher.put_told(change, tag, shown.version, shown.digest, now, unix_ms);
                    }
                });
            }
        }
    }
}

impl Watcher {
    /// It is about to be told something: what it has is not known until it answers, and that is written before.
    pub(crate) fn forget_told(&mut self, scene: &Scene<'_>, key: WatcherKey) {
        let Some(kept) = &scene.kept.subscriptions else { return };
        if std::mem::take(&mut self.is_told_kept) {
            let tag = LocalTag { nonce: self.nonce, key };
            drop(kept.append(key.shard() as usize, |change| persist::remove_told(change, tag)));
        }
    }
}

/// What watchers are known to have, by what was written down, until they are back.
#[derive(Debug, Default)]
pub(crate) struct Told(hashbrown::HashMap<u32, Vec<u64>>);

impl Told {
    pub(crate) fn read(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        let (key, digests) = persist::read_told(record)?;
        self.0.insert(key.0, digests);
        Ok(())
    }

    fn take(&mut self, key: WatcherKey) -> Vec<u64> {
        self.0.remove(&key.0).unwrap_or_default()
    }
}
