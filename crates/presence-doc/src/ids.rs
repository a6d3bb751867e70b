//! Ids of a composed document: unique, and the same as long as the things are the same (RFC 3863 §4.1.2).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::document::Kind;
use crate::group::Group;
use crate::names::is_ncname;

/// What is taken.
#[derive(Default)]
pub(crate) struct Ids<'a> {
    taken: HashSet<Cow<'a, str>>,
    /// How often a derivation was asked for, so that a thousand equal ones need no thousand attempts each.
    asked: HashMap<u64, u64>,
}

impl<'a> Ids<'a> {
    /// Gives each group an id: that of its newest member if nobody has it, else a derived one. Who has an id of its own
    /// comes first, so that deriving never takes one away.
    pub(crate) fn name(&mut self, groups: &[Group<'a>]) -> Vec<Cow<'a, str>> {
        let own = |group: &Group<'a>| -> &'a str { &group.newest().occurrence.id };
        let kept: Vec<bool> = groups.iter().map(|group| self.keep(own(group))).collect();
        let named = groups.iter().zip(kept);
        named
            .map(|(group, kept)| if kept { own(group).into() } else { self.derive_for(group).into() })
            .collect()
    }

    /// Takes an id as it is, if it can be had.
    pub(crate) fn keep(&mut self, id: &'a str) -> bool {
        is_ncname(id) && self.taken.insert(id.into())
    }

    fn derive_for(&mut self, group: &Group<'a>) -> String {
        let occurrence = group.newest().occurrence;
        let letter = match occurrence.kind {
            Kind::Tuple => "t",
            Kind::Person => "p",
            Kind::Device => "d",
        };
        let contact = occurrence.contact.as_ref().map_or("", |contact| &contact.uri);
        let about = [contact, occurrence.key.as_deref().unwrap_or_default(), &occurrence.variant];
        self.derive(letter, &occurrence.id, &about)
    }

    /// Derives an id from a wish and from what the thing is, which lasts longer than a position in a document.
    pub(crate) fn derive(&mut self, letter: &str, wish: &str, about: &[&str]) -> String {
        let base = if is_ncname(wish) && wish.len() <= 40 { wish } else { letter };
        let mut hash = Fnv::new();
        for part in [letter, wish].into_iter().chain(about.iter().copied()) {
            hash.part(part);
        }
        let asked = self.asked.entry(hash.0).or_default();
        loop {
            let mut numbered = Fnv(hash.0);
            numbered.part(&asked.to_string());
            *asked += 1;
            let id = format!("{base}-{:08x}", (numbered.0 >> 32) ^ (numbered.0 & 0xffff_ffff));
            if self.taken.insert(Cow::Owned(id.clone())) {
                return id;
            }
        }
    }
}

/// FNV-1a with 64 bits. It is not keyed and will not change with the toolchain, so ids survive a restart; that one can
/// make two texts collide does no harm, since a taken id is never given twice.
pub(crate) struct Fnv(pub(crate) u64);

impl Fnv {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a text and its end.
    pub(crate) fn part(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_are_new_and_repeatable() {
        let run = || {
            let mut ids = Ids::default();
            assert!(ids.keep("t1") && !ids.keep("t1") && !ids.keep("alice@example.test"));
            let given: Vec<String> =
                ["t1", "t1", "1", ""].iter().map(|wish| ids.derive("t", wish, &["sip:a@b"])).collect();
            assert!(given.iter().all(|id| is_ncname(id)), "{given:?}");
            assert_eq!(given.iter().collect::<HashSet<_>>().len(), 4, "{given:?}");
            given
        };
        assert_eq!(run(), run());
    }
}
