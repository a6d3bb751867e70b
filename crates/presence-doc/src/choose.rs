//! Which children of several occurrences become those of one element (RFC 4479 §3.5, RFC 4480 §3.1).

use std::collections::HashSet;

use crate::document::{Child, Document, Rule, Slot};
use crate::fragment::end_tag;

/// What one source says in one place.
#[derive(Clone, Copy)]
pub(crate) struct Layer<'a> {
    /// Index among the ordered inputs.
    pub(crate) source: usize,
    pub(crate) document: &'a Document,
    pub(crate) children: &'a [Child],
}

/// A child that made it into the result.
pub(crate) struct Pick<'a> {
    pub(crate) source: usize,
    pub(crate) document: &'a Document,
    pub(crate) child: &'a Child,
    /// Sources that yielded to it, newest first.
    pub(crate) displaced: Vec<usize>,
}

/// Chooses among layers, newest first. The result stands in the order that the schema wants.
///
/// A child that a newer source does not mention stays: absence says nothing (RFC 4479 §3.6).
pub(crate) fn merge<'a>(layers: &[Layer<'a>]) -> Vec<Pick<'a>> {
    if let [only] = layers
        && only.children.iter().all(|child| child.slot != Slot::Any || child.rule != Rule::Union)
    {
        return only.children.iter().map(|child| pick(only, child, Vec::new())).collect();
    }
    let mut candidates: Vec<Candidate<'a>> = Vec::new();
    for (depth, layer) in layers.iter().enumerate() {
        candidates.extend(layer.children.iter().enumerate().map(|(index, child)| Candidate {
            depth,
            index,
            source: layer.source,
            document: layer.document,
            child,
        }));
    }
    candidates.sort_by(|a, b| a.name().cmp(&b.name()).then_with(|| a.place().cmp(&b.place())));
    let mut chosen: Vec<(Candidate<'a>, Vec<usize>)> = Vec::new();
    for same in candidates.chunk_by(|a, b| a.name() == b.name()) {
        match same[0].child.rule {
            Rule::Newest => newest(same, &mut chosen),
            Rule::Range { .. } => ranges(same, &mut chosen),
            Rule::Union => union(same, &mut chosen),
        }
    }
    chosen.sort_by_key(|(candidate, _)| (candidate.child.slot, candidate.place()));
    chosen
        .into_iter()
        .map(|(Candidate { source, document, child, .. }, displaced)| Pick {
            source,
            document,
            child,
            displaced,
        })
        .collect()
}

/// Keeps everything that differs: what stands below the root when ambiguity is kept.
pub(crate) fn distinct<'a>(layers: &[Layer<'a>]) -> Vec<Pick<'a>> {
    let mut seen = HashSet::new();
    let mut picks = Vec::new();
    for layer in layers {
        for child in layer.children {
            if seen.insert((meaning(layer.document, child), &child.discriminator)) {
                picks.push(pick(layer, child, Vec::new()));
            }
        }
    }
    picks
}

fn pick<'a>(layer: &Layer<'a>, child: &'a Child, displaced: Vec<usize>) -> Pick<'a> {
    Pick { source: layer.source, document: layer.document, child, displaced }
}

/// The text of an element from its local name on, without the end tag: what is left when its prefix does not count.
fn inside<'a>(document: &'a Document, child: &Child) -> &'a str {
    let text = &document.text[child.local.range().start..child.span.range().end];
    if text.ends_with("/>") { text } else { &text[..end_tag(text, text.len())] }
}

/// What makes two elements the same: namespace, text, and what the prefixes in it stand for. One that stands for the
/// namespace of the element itself needs no mention: it is in the name, and in the text it is in both or in none.
fn meaning<'a>(document: &'a Document, child: &Child) -> (&'a str, &'a str, Vec<(&'a str, &'a str)>) {
    let bindings = document.needs(child).iter().filter(|need| need.namespace != child.namespace);
    let bindings = bindings.map(|need| (document.slice(need.prefix), document.namespace(need.namespace)));
    (document.namespace(child.namespace), inside(document, child), bindings.collect())
}

#[derive(Clone, Copy)]
struct Candidate<'a> {
    /// 0 for the newest layer.
    depth: usize,
    index: usize,
    source: usize,
    document: &'a Document,
    child: &'a Child,
}

impl<'a> Candidate<'a> {
    /// What is equal for children that compete. Those with a range compete among themselves: "in a meeting from 14 to
    /// 15" takes nothing from "on the phone", which has no range.
    fn name(&self) -> (Slot, &'a str, &'a str, &'a str, u8) {
        let rule = match self.child.rule {
            Rule::Newest => 0,
            Rule::Range { .. } => 1,
            Rule::Union => 2,
        };
        (
            self.child.slot,
            self.document.namespace(self.child.namespace),
            self.document.slice(self.child.local),
            &self.child.discriminator,
            rule,
        )
    }

    fn place(&self) -> (usize, usize) {
        (self.depth, self.index)
    }
}

/// The newest layer that has a value gives all it has; `unknown` is a value only if nobody knows better.
fn newest<'a>(same: &[Candidate<'a>], chosen: &mut Vec<(Candidate<'a>, Vec<usize>)>) {
    let Some(winner) = same.iter().find(|c| !c.child.weak).or(same.first()) else { return };
    let mut displaced: Vec<usize> =
        same.iter().filter(|c| c.depth != winner.depth).map(|c| c.source).collect();
    displaced.dedup();
    let winners = same.iter().filter(|c| c.depth == winner.depth && c.child.weak == winner.child.weak);
    chosen.extend(winners.map(|c| (*c, displaced.clone())));
}

/// RFC 4480 §3.1: elements of one type may stand side by side if their ranges do not overlap.
fn ranges<'a>(same: &[Candidate<'a>], chosen: &mut Vec<(Candidate<'a>, Vec<usize>)>) {
    let first = chosen.len();
    let (strong, weak) = (same.iter().filter(|c| !c.child.weak), same.iter().filter(|c| c.child.weak));
    for candidate in strong.chain(weak) {
        let rival = chosen[first..].iter_mut().find(|(kept, _)| {
            kept.depth != candidate.depth && overlaps(&kept.child.rule, &candidate.child.rule)
        });
        match rival {
            Some((_, displaced)) => displaced.push(candidate.source),
            None => chosen.push((*candidate, Vec::new())),
        }
    }
}

/// Whether two ranges share a moment; the end is not part of a range.
fn overlaps(a: &Rule, b: &Rule) -> bool {
    match (a, b) {
        (Rule::Range { from, until }, Rule::Range { from: other_from, until: other_until }) => {
            from < other_until && other_from < until
        }
        _ => false,
    }
}

/// Every value once.
fn union<'a>(same: &[Candidate<'a>], chosen: &mut Vec<(Candidate<'a>, Vec<usize>)>) {
    let mut seen = HashSet::new();
    for candidate in same {
        // A discriminator is the whole value; without one the text is.
        let is_told_apart = candidate.child.discriminator.is_empty();
        if seen.insert(is_told_apart.then(|| meaning(candidate.document, candidate.child))) {
            chosen.push((*candidate, Vec::new()));
        }
    }
}
