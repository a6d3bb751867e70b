//! What it takes to move the source text of an element into another document: the namespace bindings that it relies on,
//! the ids in it, its language.

use std::collections::HashMap;

use roxmltree::Node;

use crate::Error;
use crate::document::{Child, Need, Rule, Slot, Span};
use crate::names::{XML, canonical_prefix, has_ids};
use crate::read::{elements, name};
use crate::scan::{ATTRIBUTES_MAX, declarations, name_at};

/// What an element is to its parent.
pub(crate) struct Role<'a> {
    pub(crate) slot: Slot,
    pub(crate) rule: Rule,
    pub(crate) weak: bool,
    pub(crate) discriminator: Box<str>,
    /// The language in force at the parent; `None` also where language has no meaning.
    pub(crate) lang: Option<&'a str>,
}

impl<'a> Role<'a> {
    /// A single value in a place.
    pub(crate) fn of(slot: Slot) -> Self {
        Self { slot, rule: Rule::Newest, weak: false, discriminator: Box::default(), lang: None }
    }

    /// A note: one per language, whose tags know no case (RFC 3863 §4.1.6, RFC 5646 §2.1.1).
    pub(crate) fn note(node: Node<'a, 'a>, lang: Option<&'a str>) -> Self {
        let own = node.attribute((XML, "lang")).or(lang).unwrap_or_default();
        Self { discriminator: own.to_ascii_lowercase().into(), lang, ..Self::of(Slot::Note) }
    }
}

/// Collects the fragments of one document.
pub(crate) struct Fragments<'a> {
    pub(crate) text: &'a str,
    /// Index 0 is "no namespace".
    pub(crate) namespaces: Vec<&'a str>,
    interned: HashMap<&'a str, u32>,
    pub(crate) needs: Vec<Need>,
    pub(crate) ids: Vec<Span>,
}

impl<'a> Fragments<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let interned = HashMap::from([("", 0)]);
        Self { text, namespaces: vec![""], interned, needs: Vec::new(), ids: Vec::new() }
    }

    pub(crate) fn intern(&mut self, namespace: &'a str) -> u32 {
        *self.interned.entry(namespace).or_insert_with(|| {
            self.namespaces.push(namespace);
            u32::try_from(self.namespaces.len() - 1).expect("fewer namespaces than bytes")
        })
    }

    /// Measures an element.
    pub(crate) fn child(&mut self, node: Node<'a, 'a>, role: Role<'a>) -> Result<Child, Error> {
        let range = node.range();
        let source = &self.text[range.clone()];
        let tag_name = tag_name(source);
        let prefix = tag_name.split_once(':').map_or("", |(prefix, _)| prefix);
        let local_end = range.start + 1 + tag_name.len();
        let (namespace, local) = name(node);
        let rename = canonical_prefix(namespace).is_some_and(|canonical| canonical != prefix)
            && declarations(source).next().is_none()
            && elements(node).next().is_none();

        let needs_from = self.needs.len();
        if rename {
            // The names in the tags will be others: what is between them counts.
            let inside_end = if source.ends_with("/>") { range.end } else { end_tag(self.text, range.end) };
            self.needs_of(node, local_end, inside_end)?;
        } else {
            self.needs_of(node, range.start, range.end)?;
            self.default_need_of(node);
        }
        let ids_from = self.ids.len();
        self.ids_of(node);
        let inherited_lang = role.lang.filter(|_| !node.has_attribute((XML, "lang")));
        Ok(Child {
            slot: role.slot,
            rule: role.rule,
            weak: role.weak,
            namespace: self.intern(namespace),
            span: Span::new(range.start, range.end),
            local: Span::new(local_end - local.len(), local_end),
            rename,
            needs: bounds(needs_from, self.needs.len()),
            ids: bounds(ids_from, self.ids.len()),
            discriminator: role.discriminator,
            inherited_lang: inherited_lang.map(Box::from),
        })
    }

    /// Finds the prefixes that a part of an element's text uses and that are bound outside of it.
    ///
    /// Whatever looks like a prefix counts: names in values (`xsi:type`, policies) rely on bindings, too, and one
    /// binding too many changes no meaning.
    fn needs_of(&mut self, node: Node<'a, 'a>, start: usize, end: usize) -> Result<(), Error> {
        let Some(outside) = node.parent_element() else { return Ok(()) };
        if outside.namespaces().count() > ATTRIBUTES_MAX {
            return Err(Error::TooManyAttributes { max: ATTRIBUTES_MAX });
        }
        let first = self.needs.len();
        let bytes = self.text.as_bytes();
        let mut at = start;
        while let Some(found) = memchr::memchr(b':', &bytes[at..end]) {
            let colon = at + found;
            let length = bytes[at..colon].iter().rev().take_while(|b| is_name_byte(**b)).count();
            at = colon + 1;
            let span = Span::new(colon - length, colon);
            let prefix = &self.text[colon - length..colon];
            if length == 0 || matches!(prefix, "xml" | "xmlns") {
                continue;
            }
            if self.needs[first..].iter().any(|need| self.text[need.prefix.range()] == *prefix) {
                continue;
            }
            let Some(namespace) = outside.lookup_namespace_uri(Some(prefix)) else { continue };
            if !declarations(&self.text[node.range()]).any(|declared| declared == prefix) {
                let namespace = self.intern(namespace);
                self.needs.push(Need { prefix: span, namespace });
            }
        }
        Ok(())
    }

    /// An element name without prefix relies on the default namespace, also when there is none.
    fn default_need_of(&mut self, node: Node<'a, 'a>) {
        let source = |node: Node<'a, 'a>| &self.text[node.range()];
        let uses_default = node.descendants().any(|n| n.is_element() && !tag_name(source(n)).contains(':'));
        if uses_default && declarations(source(node)).all(|declared| !declared.is_empty()) {
            let outside = node.parent_element().and_then(|parent| parent.lookup_namespace_uri(None));
            let namespace = self.intern(outside.unwrap_or_default());
            self.needs.push(Need { prefix: Span::new(0, 0), namespace });
        }
    }

    /// Finds the `xs:ID` values: in one document each may occur once (XML Schema part 2 §3.3.8).
    fn ids_of(&mut self, node: Node<'a, 'a>) {
        for element in node.descendants().filter(|n| n.is_element()) {
            for attribute in element.attributes().filter(|a| a.name() == "id") {
                let is_id = match attribute.namespace() {
                    None => has_ids(name(element).0),
                    Some(namespace) => namespace == XML,
                };
                // The value has no quote of the kind that ends it.
                let end = attribute.range().end - 1;
                let (before, quote) = (&self.text[..end], char::from(self.text.as_bytes()[end]));
                if let Some(start) = before.rfind(quote).filter(|_| is_id) {
                    self.ids.push(Span::new(start + 1, end));
                }
            }
        }
    }
}

/// The name in the start tag that a text begins with.
fn tag_name(source: &str) -> &str {
    name_at(source.strip_prefix('<').unwrap_or(source))
}

/// Where the end tag that ends at `end` begins.
pub(crate) fn end_tag(text: &str, end: usize) -> usize {
    text[..end].rfind("</").unwrap_or(end)
}

/// Bytes of names, the colon apart.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') || !byte.is_ascii()
}

fn bounds(from: usize, to: usize) -> (u32, u32) {
    let narrow = |n: usize| u32::try_from(n).expect("fewer than bytes in a document");
    (narrow(from), narrow(to))
}
