//! Many publications of one presentity become the one document that watchers get (RFC 3903 §6, RFC 4479 §3.5).

use crate::choose::{self, Layer, Pick};
use crate::document::{Attribute, Child, Document, Kind, Owner, Slot};
use crate::group::{Group, groups, ordered};
use crate::ids::Ids;
use crate::names::PIDF;
use crate::scan::ATTRIBUTES_MAX;
use crate::write::Writer;
use crate::{Composed, Composition, Element, Input, Provenance, instant};

/// How far a timestamp may lie ahead of the receipt of its document, in milliseconds. One that is further ahead comes
/// from a wrong clock and counts as the time of receipt.
pub const SKEW_MS: i64 = 60_000;

/// Most attributes of extensions that an element written by us carries: half of what may be published, so that what
/// is composed can be published again.
const EXTENSION_ATTRIBUTES_MAX: usize = ATTRIBUTES_MAX / 2;

/// Composes the live inputs of a presentity into one document.
///
/// `entity` is the canonical URI of the presentity and replaces what the inputs wrote. The result is a function of the
/// inputs as a set: their order does not matter. `now_unix_ms`, the wall clock in milliseconds since 1970 UTC, matters
/// only where a clock was set back: no timestamp that we have to make up lies ahead of it.
///
/// The explanation is left empty; see [`compose_explained`].
pub fn compose(entity: &str, inputs: &[Input<'_>], policy: Composition, now_unix_ms: i64) -> Composed {
    composed(entity, inputs, policy, now_unix_ms, false)
}

/// Like [`compose`], and tells of each element where it came from and what it displaced.
pub fn compose_explained(
    entity: &str,
    inputs: &[Input<'_>],
    policy: Composition,
    now_unix_ms: i64,
) -> Composed {
    composed(entity, inputs, policy, now_unix_ms, true)
}

fn composed(
    entity: &str,
    inputs: &[Input<'_>],
    policy: Composition,
    now_unix_ms: i64,
    explained: bool,
) -> Composed {
    let sources = ordered(inputs);
    let tuples = groups(&sources, Kind::Tuple, policy);
    let persons = groups(&sources, Kind::Person, policy);
    let devices = groups(&sources, Kind::Device, policy);
    let mut ids = Ids::default();
    let (tuple_ids, person_ids, device_ids) = (ids.name(&tuples), ids.name(&persons), ids.name(&devices));

    let bytes = inputs.iter().map(|input| input.document.text.len()).sum();
    let explanation = explained.then(Vec::new);
    let writer = Writer::with_capacity(bytes);
    let mut run = Run { sources: &sources, now_unix_ms, ids, writer, explanation };
    for (group, id) in tuples.iter().zip(&tuple_ids) {
        run.occurrence(group, id);
    }
    run.below_root(Element::Note, policy, |document| &document.notes);
    for (group, id) in persons.iter().zip(&person_ids).chain(devices.iter().zip(&device_ids)) {
        run.occurrence(group, id);
    }
    run.below_root(Element::Extension, policy, |document| &document.extensions);

    let attributes = newest_attributes(
        Owner::Itself,
        newest_first(&sources)
            .map(|source| (sources[source].document, &sources[source].document.attributes[..])),
    );
    let body = run.writer.finish(entity, &attributes);
    Composed { body, explanation: run.explanation.unwrap_or_default() }
}

struct Run<'a, 's> {
    sources: &'s [&'s Input<'a>],
    now_unix_ms: i64,
    ids: Ids<'a>,
    writer: Writer<'a>,
    explanation: Option<Vec<Provenance>>,
}

impl<'a> Run<'a, '_> {
    /// Writes one tuple, person or device.
    fn occurrence(&mut self, group: &Group<'a>, id: &str) {
        let element = match group.kind {
            Kind::Tuple => Element::Tuple,
            Kind::Person => Element::Person,
            Kind::Device => Element::Device,
        };
        let name = match group.kind {
            Kind::Tuple => "tuple",
            Kind::Person => "dm:person",
            Kind::Device => "dm:device",
        };
        if group.kind != Kind::Tuple {
            self.writer.uses_data_model();
        }
        let layers: Vec<Layer<'a>> = group
            .members
            .iter()
            .map(|m| Layer { source: m.source, document: m.document, children: &m.occurrence.children })
            .collect();
        let picks = choose::merge(&layers);
        self.explain_group(group, element, id, &picks);

        self.writer.raw("<");
        self.writer.raw(name);
        self.writer.attribute("id", id);
        self.extensions(group, Owner::Itself);
        self.writer.raw(">");
        let (status, rest) = picks.split_at(picks.partition_point(|pick| pick.child.slot <= Slot::Status));
        if group.kind == Kind::Tuple {
            self.writer.raw("<status");
            self.extensions(group, Owner::Status);
            if status.is_empty() {
                self.writer.raw("/>");
            } else {
                self.writer.raw(">");
                self.children(status);
                self.writer.raw("</status>");
            }
        }
        // RFC 3863 §4.4: the contact stands between extensions and notes.
        let (before, after) = rest.split_at(rest.partition_point(|pick| pick.child.slot < Slot::Note));
        self.children(before);
        self.contact(group);
        self.children(after);
        self.timestamp(group);
        self.writer.raw("</");
        self.writer.raw(name);
        self.writer.raw(">\n");
    }

    fn children(&mut self, picks: &[Pick<'a>]) {
        for pick in picks {
            self.writer.child(pick.document, pick.child, &mut self.ids);
        }
    }

    /// The newest spelling of the contact, with the newest priority that was given.
    fn contact(&mut self, group: &Group<'a>) {
        let mut contacts = group.members.iter().filter_map(|member| member.occurrence.contact.as_ref());
        let Some(newest) = contacts.clone().next() else { return };
        self.writer.raw("<contact");
        if let Some(priority) = contacts.find_map(|contact| contact.priority.as_deref()) {
            self.writer.attribute("priority", priority);
        }
        self.extensions(group, Owner::Contact);
        self.writer.raw(">");
        self.writer.text(&newest.uri);
        self.writer.raw("</contact>");
    }

    /// The newest timestamp that was given; none is invented (RFC 3863 §4.1.7).
    fn timestamp(&mut self, group: &Group<'a>) {
        let stated = group.members.iter().find_map(|m| m.occurrence.timestamp.as_ref().map(|t| (m, t)));
        let Some((member, timestamp)) = stated else { return };
        let name = if group.kind == Kind::Tuple { "timestamp" } else { "dm:timestamp" };
        self.writer.raw("<");
        self.writer.raw(name);
        self.writer.raw(">");
        if member.is_clamped {
            let received_unix_ms = self.sources[member.source].received_unix_ms;
            self.writer.raw(&instant::format(received_unix_ms.min(self.now_unix_ms)));
        } else {
            self.writer.raw(&timestamp.text);
            // RFC 3339 §5.6 wants the zone that `xs:dateTime` lets be absent.
            if !instant::has_zone(&timestamp.text) {
                self.writer.raw("Z");
            }
        }
        self.writer.raw("</");
        self.writer.raw(name);
        self.writer.raw(">");
    }

    fn extensions(&mut self, group: &Group<'a>, owner: Owner) {
        let layers = group.members.iter().map(|m| (m.document, &m.occurrence.attributes[..]));
        for (document, attribute) in newest_attributes(owner, layers) {
            self.writer.extension(document, attribute);
        }
    }

    /// Writes notes or extensions that stand beside the tuples.
    fn below_root(
        &mut self,
        element: Element,
        policy: Composition,
        of: impl Fn(&'a Document) -> &'a [Child],
    ) {
        let sources = self.sources;
        let layer = |source: usize| {
            let document = sources[source].document;
            Layer { source, document, children: of(document) }
        };
        let picks = match policy {
            Composition::Merge => choose::merge(&newest_first(sources).map(layer).collect::<Vec<_>>()),
            Composition::Union => choose::distinct(&(0..sources.len()).map(layer).collect::<Vec<_>>()),
        };
        for pick in &picks {
            self.writer.child(pick.document, pick.child, &mut self.ids);
            self.writer.raw("\n");
            self.explain(element, "", None, pick.source, pick.displaced.iter().copied());
        }
    }

    fn explain_group(&mut self, group: &Group<'a>, element: Element, id: &str, picks: &[Pick<'a>]) {
        if self.explanation.is_none() {
            return;
        }
        let source = group.newest().source;
        let others = group.members.iter().map(|member| member.source).chain(group.silenced.iter().copied());
        self.explain(element, id, None, source, others.filter(|other| *other != source));
        for pick in picks {
            let name = (pick.document.namespace(pick.child.namespace), pick.document.slice(pick.child.local));
            self.explain(element, id, Some(name), pick.source, pick.displaced.iter().copied());
        }
        let mut contacts = group.members.iter().filter(|member| member.occurrence.contact.is_some());
        if let Some(newest) = contacts.next() {
            let others = contacts.map(|member| member.source);
            self.explain(element, id, Some((PIDF, "contact")), newest.source, others);
        }
    }

    fn explain(
        &mut self,
        element: Element,
        id: &str,
        child: Option<(&str, &str)>,
        source: usize,
        displaced: impl Iterator<Item = usize>,
    ) {
        let Some(explanation) = &mut self.explanation else { return };
        let label = |source: usize| self.sources.get(source).map_or("", |input| input.label).to_owned();
        let mut displaced: Vec<String> = displaced.map(label).collect();
        displaced.dedup();
        explanation.push(Provenance {
            element,
            id: id.to_owned(),
            child: child.map(|(namespace, local)| (namespace.to_owned(), local.to_owned())),
            source: label(source),
            displaced,
        });
    }
}

/// Indices of the ordered inputs, newest first, publications before hard state before registrations.
fn newest_first<'s>(sources: &'s [&Input<'_>]) -> impl Iterator<Item = usize> + use<'s> {
    let mut order: Vec<usize> = (0..sources.len()).collect();
    order.sort_by_key(|source| std::cmp::Reverse((sources[*source].kind, *source)));
    order.into_iter()
}

/// Attributes of extensions, each from the newest that has it.
fn newest_attributes<'a>(
    owner: Owner,
    layers: impl Iterator<Item = (&'a Document, &'a [Attribute])>,
) -> Vec<(&'a Document, &'a Attribute)> {
    let mut kept: Vec<(&Document, &Attribute)> = Vec::new();
    let name = |document: &'a Document, attribute: &'a Attribute| {
        (document.namespace(attribute.namespace), &attribute.local)
    };
    for (document, attributes) in layers {
        for attribute in attributes.iter().filter(|attribute| attribute.owner == owner) {
            if kept.len() < EXTENSION_ATTRIBUTES_MAX
                && kept.iter().all(|(d, a)| name(d, a) != name(document, attribute))
            {
                kept.push((document, attribute));
            }
        }
    }
    kept
}
