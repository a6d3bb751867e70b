//! Which occurrences are of one thing: a service, the person, a device (RFC 4479 §3.5), and which of them is newer.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::document::{Document, Kind, Occurrence};
use crate::{Composition, Input, InputKind, SKEW_MS, contact};

/// How many services with alike contacts a contact is compared with by RFC 3261 §19.1.4. Contacts beyond are one
/// service only if their text is the same: a document made of a thousand nearly equal contacts must stay cheap.
const COMPARED_MAX: usize = 16;

/// The inputs in the order that everything follows: registrations last, then by receipt, then by content. So the
/// order in which they are given does not matter.
pub(crate) fn ordered<'a, 'i>(inputs: &'a [Input<'i>]) -> Vec<&'a Input<'i>> {
    let mut sources: Vec<&Input<'_>> = inputs.iter().collect();
    sources.sort_by(|a, b| {
        let is_registration = |input: &Input<'_>| input.kind == InputKind::Registration;
        is_registration(a)
            .cmp(&is_registration(b))
            .then_with(|| a.received_unix_ms.cmp(&b.received_unix_ms))
            .then_with(|| a.document.bytes().cmp(b.document.bytes()))
            .then_with(|| a.kind.cmp(&b.kind))
            .then_with(|| a.label.cmp(b.label))
    });
    sources
}

/// Precedence: greater is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// Publications override hard state (RFC 3903 §3).
    kind: InputKind,
    instant_us: i64,
    /// Index among the ordered inputs: receipt, then content.
    source: usize,
    position: usize,
}

/// One occurrence as a member of a group.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    /// Index among the ordered inputs.
    pub(crate) source: usize,
    pub(crate) document: &'a Document,
    pub(crate) occurrence: &'a Occurrence,
    pub(crate) rank: Rank,
    /// The timestamp lies so far ahead of the receipt that the publisher's clock is wrong.
    pub(crate) is_clamped: bool,
}

/// The occurrences of one thing, newest first; never empty.
pub(crate) struct Group<'a> {
    pub(crate) kind: Kind,
    pub(crate) members: Vec<Member<'a>>,
    /// Registrations that had nothing to say because somebody published about their contact.
    pub(crate) silenced: Vec<usize>,
}

impl<'a> Group<'a> {
    pub(crate) fn newest(&self) -> &Member<'a> {
        &self.members[0]
    }
}

/// All occurrences of a kind, grouped; groups stand in the order of their first member.
pub(crate) fn groups<'a>(sources: &[&Input<'a>], kind: Kind, policy: Composition) -> Vec<Group<'a>> {
    let mut grouping =
        Grouping { groups: Vec::new(), alike: HashMap::new(), same: HashMap::new(), spoken: HashMap::new() };
    for (source, input) in sources.iter().enumerate() {
        for (position, occurrence) in input.document.occurrences(kind).iter().enumerate() {
            let member = member(source, input, position, occurrence);
            match policy {
                Composition::Union => drop(grouping.alone(member)),
                Composition::Merge => grouping.add(member, input.kind),
            }
        }
    }
    for group in &mut grouping.groups {
        group.members.sort_by_key(|member| Reverse(member.rank));
    }
    grouping.groups
}

fn member<'a>(source: usize, input: &Input<'a>, position: usize, occurrence: &'a Occurrence) -> Member<'a> {
    let received_us = input.received_unix_ms.saturating_mul(1000);
    let stated_us = occurrence.timestamp.as_ref().map(|timestamp| timestamp.unix_us);
    // RFC 3863 §4.1.7 trusts the publisher's clock; a wrong one must not win for as long as it is wrong. The receipt
    // is what to hold it against, because it stays the same however late the composition is made.
    let is_clamped = stated_us.is_some_and(|us| us > received_us.saturating_add(SKEW_MS * 1000));
    let instant_us = stated_us.filter(|_| !is_clamped).unwrap_or(received_us);
    let rank = Rank { kind: input.kind, instant_us, source, position };
    Member { source, document: input.document, occurrence, rank, is_clamped }
}

struct Grouping<'a> {
    groups: Vec<Group<'a>>,
    /// By key and variant.
    alike: HashMap<(&'a str, &'a str), Vec<usize>>,
    /// By text of the contact and variant.
    same: HashMap<(&'a str, &'a str), usize>,
    /// By key alone: what a registration is held against.
    spoken: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Grouping<'a> {
    fn alone(&mut self, member: Member<'a>) -> usize {
        let kind = member.occurrence.kind;
        self.groups.push(Group { kind, members: vec![member], silenced: Vec::new() });
        self.groups.len() - 1
    }

    fn add(&mut self, member: Member<'a>, input: InputKind) {
        let occurrence = member.occurrence;
        // RFC 4479 §3.3 identifies a service by its URI: one without contact is like no other.
        let Some(key) = occurrence.key.as_deref() else {
            self.alone(member);
            return;
        };
        let variant = &*occurrence.variant;
        let text = contact_of(occurrence);
        if input == InputKind::Registration {
            // RFC 3856 §6.7: what is published is preferred to what registrations let guess.
            let about = self.spoken.get(key).and_then(|groups| self.equal(groups, text));
            if let Some(group) = about.and_then(|index| self.groups.get_mut(index)) {
                group.silenced.push(member.source);
                return;
            }
        }
        let known = self.same.get(&(text, variant)).copied();
        let known =
            known.or_else(|| self.alike.get(&(key, variant)).and_then(|groups| self.equal(groups, text)));
        let index = match known {
            Some(index) => {
                self.groups[index].members.push(member);
                index
            }
            None => {
                let index = self.alone(member);
                self.alike.entry((key, variant)).or_default().push(index);
                if input != InputKind::Registration {
                    self.spoken.entry(key).or_default().push(index);
                }
                index
            }
        };
        self.same.entry((text, variant)).or_insert(index);
    }

    /// The first group whose first member has an equal contact.
    fn equal(&self, groups: &[usize], text: &str) -> Option<usize> {
        let first = |index: usize| contact_of(self.groups[index].members[0].occurrence);
        groups.iter().copied().take(COMPARED_MAX).find(|index| contact::equal(first(*index), text))
    }
}

/// The text of the contact; devices and persons have none, and are told apart by key alone.
fn contact_of(occurrence: &Occurrence) -> &str {
    match (&occurrence.contact, &occurrence.key) {
        (Some(contact), _) => &contact.uri,
        // Equal for all of one key, and different for different keys.
        (None, key) => key.as_deref().unwrap_or_default(),
    }
}
