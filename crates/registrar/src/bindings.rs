//! The bindings of one AOR: what a REGISTER does to them (RFC 3261 §10.3 steps 6 and 7).

use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_service::Connection;
use smallvec::SmallVec;

use crate::{Binding, Config, Contact, Contacts, Error, Register};

/// The bindings of one AOR. Those that have expired stay until something removes them, and count for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    list: Vec<Binding>,
}

/// All that one REGISTER does to the bindings of an AOR: decided before anything is touched, so that it is carried out
/// whole or not at all (§10.3), and can be written down between the two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Indices of bindings that end, rising: removed, replaced or expired.
    pub removed: SmallVec<[usize; 2]>,
    /// Bindings that begin, the newer form of a refreshed one among them.
    pub stored: SmallVec<[Binding; 1]>,
    /// What was to be removed and is not here. Another node may have it, from which nothing was heard yet.
    pub absent: SmallVec<[Binding; 1]>,
    /// What it is, for the counter.
    pub outcome: Outcome,
}

/// What became of a REGISTER that succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// At least one binding was added.
    Registered,
    /// Bindings got a new lifetime, none was added.
    Refreshed,
    /// Bindings were removed, if there were any, and none got a new lifetime.
    Removed,
    /// The bindings were listed.
    #[default]
    Fetched,
}

impl Bindings {
    /// All bindings, in no particular order; see [`Binding::is_live`].
    pub fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.list.iter()
    }

    /// How many there are, expired ones included.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none, not even expired ones.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Those at some indices.
    pub(crate) fn of(&self, indices: &[usize]) -> impl Iterator<Item = &Binding> {
        indices.iter().filter_map(|&index| self.list.get(index))
    }

    /// Takes one back that was written down; the caller knows that it is not there.
    pub(crate) fn restore(&mut self, binding: Binding) {
        self.list.reserve_exact(1);
        self.list.push(binding);
    }

    /// Takes one that another node has, instead of what `is_it` says is the same here. Another node cannot know of a
    /// connection to this one: if it is of the same peer, it stays.
    pub(crate) fn put(&mut self, mut binding: Binding, is_it: impl Fn(&Binding) -> bool) {
        match self.list.iter_mut().find(|old| is_it(old)) {
            Some(place) => {
                if let (Some(new), Some(old)) = (&mut binding.flow, &place.flow)
                    && new.connection == Connection::GONE
                    && (new.transport, new.remote) == (old.transport, old.remote)
                {
                    **new = **old;
                }
                *place = binding;
            }
            None => self.restore(binding),
        }
    }

    /// Drops one that another node removed.
    pub(crate) fn drop_one(&mut self, is_it: impl Fn(&Binding) -> bool) {
        self.list.retain(|binding| !is_it(binding));
        self.list.shrink_to_fit();
    }

    /// Whether a binding has not expired at `now`.
    pub fn is_live(&self, now: Instant) -> bool {
        self.list.iter().any(|binding| binding.is_live(now))
    }

    /// When the first of them expires; `None` without any.
    pub fn first_expiry(&self) -> Option<Instant> {
        self.list.iter().map(|binding| binding.expires_at).min()
    }

    /// Removes what has expired at `now` and tells how many those were.
    pub fn expire(&mut self, now: Instant) -> usize {
        let before = self.list.len();
        self.list.retain(|binding| binding.is_live(now));
        self.list.shrink_to_fit();
        before - self.list.len()
    }

    /// Decides what a REGISTER that is received at `now` does. Changes nothing.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`], [`Error::TooManyBindings`].
    pub fn decide(&self, now: Instant, register: &Register<'_>, config: &Config) -> Result<Change, Error> {
        let mut change = match &register.contacts {
            Contacts::None => Change::default(),
            Contacts::All => self.remove_all(now, register)?,
            Contacts::Listed(contacts) => self.update(now, register, contacts, config)?,
        };
        let expired = self.list.iter().enumerate().filter(|(_, binding)| !binding.is_live(now));
        change.removed.extend(expired.map(|(index, _)| index));
        change.removed.sort_unstable();
        Ok(change)
    }

    /// §10.3 step 6.
    fn remove_all(&self, now: Instant, register: &Register<'_>) -> Result<Change, Error> {
        let mut change = Change { outcome: Outcome::Removed, ..Change::default() };
        for (index, binding) in self.live(now) {
            check_order(binding, register)?;
            change.removed.push(index);
        }
        Ok(change)
    }

    /// §10.3 step 7.
    fn update(
        &self,
        now: Instant,
        register: &Register<'_>,
        contacts: &[Contact<'_>],
        config: &Config,
    ) -> Result<Change, Error> {
        let Change { mut removed, mut stored, mut absent, .. } = Change::default();
        let mut path = None;
        let mut is_added = false;
        for contact in contacts {
            let mut replaced = None;
            for (index, binding) in self.live(now) {
                let is_named = binding.is_named_by(contact);
                if is_named || binding.is_superseded_by(contact) {
                    check_order(binding, register)?;
                    if !removed.contains(&index) {
                        removed.push(index);
                    }
                    if replaced.is_none() || is_named {
                        replaced = Some(binding);
                    }
                }
            }
            // Of two values for one contact in one request the later counts.
            let stored_before = stored.len();
            stored.retain(|binding| !binding.is_named_by(contact));
            if contact.lifetime_seconds > 0 {
                is_added |= replaced.is_none() && stored.len() == stored_before;
                stored.push(new_binding(now, register, contact, replaced, &mut path));
            } else if replaced.is_none() {
                absent.push(new_binding(now, register, contact, None, &mut path));
            }
        }
        let before = self.live(now).count();
        let after = (before + stored.len()).saturating_sub(removed.len());
        // A limit that was lowered by a reload does not end what is there, nor forbid refreshing it.
        if after > config.bindings_per_aor_max && after > before {
            return Err(Error::TooManyBindings { max: config.bindings_per_aor_max });
        }
        let outcome = match (stored.is_empty(), is_added) {
            (true, _) => Outcome::Removed,
            (false, true) => Outcome::Registered,
            (false, false) => Outcome::Refreshed,
        };
        Ok(Change { removed, stored, absent, outcome })
    }

    /// Carries out a change that was decided for these very bindings.
    pub fn apply(&mut self, change: Change) {
        let mut stored = change.stored.into_iter();
        let mut emptied: SmallVec<[usize; 2]> = SmallVec::new();
        for index in change.removed {
            match (self.list.get_mut(index), stored.next()) {
                (Some(place), Some(binding)) => *place = binding,
                _ => emptied.push(index),
            }
        }
        // From the last one down, so that the indices stay true.
        for index in emptied.into_iter().rev() {
            if index < self.list.len() {
                self.list.remove(index);
            }
        }
        // Most AORs have one binding for ever: room for four would be the greater part of what they cost.
        self.list.reserve_exact(stored.len());
        self.list.extend(stored);
        self.list.shrink_to_fit();
    }

    fn live(&self, now: Instant) -> impl Iterator<Item = (usize, &Binding)> {
        self.list.iter().enumerate().filter(move |(_, binding)| binding.is_live(now))
    }
}

impl Change {
    /// Whether it leaves everything as it is.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.stored.is_empty()
    }
}

impl Outcome {
    pub(crate) const ALL: [Self; 4] = [Self::Registered, Self::Refreshed, Self::Removed, Self::Fetched];

    /// For metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Refreshed => "refreshed",
            Self::Removed => "removed",
            Self::Fetched => "fetched",
        }
    }
}

/// §10.3 steps 6 and 7: under the same Call-ID only a higher CSeq changes a binding.
fn check_order(binding: &Binding, register: &Register<'_>) -> Result<(), Error> {
    if *binding.call_id == *register.call_id && register.cseq <= binding.cseq {
        return Err(Error::OutOfOrder);
    }
    Ok(())
}

/// What a contact is bound as. A refresh shares with the binding that it `replaced` every text that stays the same.
/// `path` is where the request's path is kept once it has been copied.
fn new_binding(
    now: Instant,
    register: &Register<'_>,
    contact: &Contact<'_>,
    replaced: Option<&Binding>,
    path: &mut Option<Arc<[Arc<str>]>>,
) -> Binding {
    let old = |text: fn(&Binding) -> Option<&Arc<str>>| replaced.and_then(text);
    if path.is_none() && !register.path.is_empty() {
        let kept = replaced.and_then(|b| b.path.as_ref());
        let is_kept =
            kept.is_some_and(|kept| kept.iter().map(|v| &**v).eq(register.path.iter().map(|v| &**v)));
        *path = match kept {
            Some(kept) if is_kept => Some(Arc::clone(kept)),
            _ => Some(register.path.iter().map(|value| Arc::from(&**value)).collect()),
        };
    }
    let lifetime = Duration::from_secs(contact.lifetime_seconds.into());
    Binding {
        uri: shared(contact.uri.as_str(), old(|b| Some(&b.uri))),
        display: shared_text(&contact.display, old(|b| b.display.as_ref())),
        params: shared_text(&contact.params, old(|b| b.params.as_ref())),
        q_milli: contact.q_milli,
        instance: contact.instance.and_then(|urn| shared_text(urn, old(|b| b.instance.as_ref()))),
        reg_id: contact.reg_id,
        path: path.clone(),
        flow: contact.flow.map(Box::new),
        call_id: shared(register.call_id, old(|b| Some(&b.call_id))),
        cseq: register.cseq,
        lifetime_seconds: contact.lifetime_seconds,
        expires_at: now.checked_add(lifetime).unwrap_or(now),
    }
}

fn shared(text: &str, old: Option<&Arc<str>>) -> Arc<str> {
    match old {
        Some(old) if **old == *text => Arc::clone(old),
        _ => Arc::from(text),
    }
}

fn shared_text(text: &str, old: Option<&Arc<str>>) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| shared(text, old))
}
