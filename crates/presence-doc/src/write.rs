//! Writing a document of fragments of others, each in the namespaces of its own.

use std::borrow::Cow;

use crate::document::{Attribute, Child, Document, Span};
use crate::fragment::end_tag;
use crate::ids::Ids;
use crate::names::{DATA_MODEL, DATA_MODEL_PREFIX, PIDF, canonical_prefix, is_xml_char};

/// Most prefixes that the root declares; further ones are declared where they are used. So a composed document never
/// has a root that is refused when it is published again.
const ROOT_PREFIXES_MAX: usize = 64;

/// Most prefixes with those that attributes need; an attribute in yet another namespace is left out.
const ATTRIBUTE_PREFIXES_MAX: usize = ROOT_PREFIXES_MAX + 32;

/// The content of `presence`, and the prefixes that its start tag has to declare.
#[derive(Default)]
pub(crate) struct Writer<'a> {
    body: String,
    prefixes: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Writer<'a> {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { body: String::with_capacity(bytes), prefixes: Vec::new() }
    }

    /// Markup of our own, or a line end.
    pub(crate) fn raw(&mut self, markup: &str) {
        self.body.push_str(markup);
    }

    /// Character data.
    pub(crate) fn text(&mut self, text: &str) {
        escape(&mut self.body, text);
    }

    /// ` name="value"`
    pub(crate) fn attribute(&mut self, name: &str, value: &str) {
        attribute(&mut self.body, name, value);
    }

    /// Writes an attribute that an extension put on an element of ours.
    pub(crate) fn extension(&mut self, document: &'a Document, given: &'a Attribute) {
        let namespace = document.namespace(given.namespace);
        let prefix = if namespace.is_empty() || &*given.prefix == "xml" {
            Some(Cow::Borrowed(&*given.prefix))
        } else {
            self.attribute_prefix(&given.prefix, namespace)
        };
        let Some(prefix) = prefix else { return };
        self.body.push(' ');
        if !prefix.is_empty() {
            self.body.push_str(&prefix);
            self.body.push(':');
        }
        self.body.push_str(&given.local);
        self.body.push_str("=\"");
        escape(&mut self.body, &given.value);
        self.body.push('"');
    }

    /// Makes sure that the prefix of our own elements of the data model is declared.
    pub(crate) fn uses_data_model(&mut self) {
        if !self.prefixes.iter().any(|(prefix, _)| prefix == DATA_MODEL_PREFIX) {
            self.prefixes.push((DATA_MODEL_PREFIX.into(), DATA_MODEL));
        }
    }

    /// Copies a child, with the bindings that the root does not give it.
    pub(crate) fn child(&mut self, document: &'a Document, child: &'a Child, ids: &mut Ids<'a>) {
        let (span, local) = (child.span.range(), child.local.range());
        let namespace = document.namespace(child.namespace);
        let name: Cow<'a, str> = match canonical_prefix(namespace) {
            Some(prefix) if child.rename => {
                if namespace == DATA_MODEL {
                    self.uses_data_model();
                }
                match prefix {
                    "" => Cow::Borrowed(document.slice(child.local)),
                    prefix => Cow::Owned(format!("{prefix}:{}", document.slice(child.local))),
                }
            }
            _ => Cow::Borrowed(&document.text[span.start + 1..local.end]),
        };
        self.body.push('<');
        self.body.push_str(&name);
        for need in document.needs(child) {
            let (prefix, namespace) = (document.slice(need.prefix), document.namespace(need.namespace));
            if !self.is_bound(prefix, namespace) {
                self.body.push_str(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
                self.body.push_str(prefix);
                self.body.push_str("=\"");
                escape(&mut self.body, namespace);
                self.body.push('"');
            }
        }
        if let Some(lang) = &child.inherited_lang {
            self.attribute("xml:lang", lang);
        }
        let end = if child.rename {
            end_tag(&document.text[..span.end], span.end).max(local.end)
        } else {
            span.end
        };
        let is_closed = child.rename && end < span.end;
        self.verbatim(document, local.end, end, document.ids(child), ids);
        if is_closed {
            self.body.push_str("</");
            self.body.push_str(&name);
            self.body.push('>');
        }
    }

    /// Copies text, except for ids that are taken.
    fn verbatim(
        &mut self,
        document: &'a Document,
        from: usize,
        to: usize,
        spans: &[Span],
        ids: &mut Ids<'a>,
    ) {
        let mut at = from;
        for span in spans {
            let id = document.slice(*span).trim();
            if !ids.keep(id) {
                let range = span.range();
                self.body.push_str(&document.text[at..range.start]);
                self.body.push_str(&ids.derive("e", id, &[]));
                at = range.end;
            }
        }
        self.body.push_str(&document.text[at..to]);
    }

    /// Whether the root binds a prefix so, or can be made to.
    fn is_bound(&mut self, prefix: &'a str, namespace: &'a str) -> bool {
        if prefix.is_empty() {
            return namespace == PIDF;
        }
        if let Some((_, bound)) = self.prefixes.iter().find(|(known, _)| known == prefix) {
            return *bound == namespace;
        }
        // The prefix of our own elements is kept for them.
        let is_free = prefix != DATA_MODEL_PREFIX || namespace == DATA_MODEL;
        if is_free && self.prefixes.len() < ROOT_PREFIXES_MAX {
            self.prefixes.push((prefix.into(), namespace));
            return true;
        }
        false
    }

    /// A prefix for an attribute, which cannot do without: the wished one, any that the root binds so, or a new one.
    fn attribute_prefix(&mut self, wish: &'a str, namespace: &'a str) -> Option<Cow<'a, str>> {
        if self.is_bound(wish, namespace) {
            return Some(wish.into());
        }
        if let Some((known, _)) = self.prefixes.iter().find(|(_, bound)| *bound == namespace) {
            return Some(known.clone());
        }
        if self.prefixes.len() >= ATTRIBUTE_PREFIXES_MAX {
            return None;
        }
        let names = (self.prefixes.len()..).map(|number| format!("ns{number}"));
        let is_new = |name: &String| self.prefixes.iter().all(|(known, _)| known != name);
        let prefix: Cow<'a, str> = names.into_iter().find(is_new)?.into();
        self.prefixes.push((prefix.clone(), namespace));
        Some(prefix)
    }

    /// The whole document around what was written.
    pub(crate) fn finish(mut self, entity: &str, attributes: &[(&'a Document, &'a Attribute)]) -> Vec<u8> {
        let content = std::mem::take(&mut self.body);
        for (document, given) in attributes {
            self.extension(document, given);
        }
        let extensions = std::mem::take(&mut self.body);
        let mut out = String::with_capacity(content.len() + extensions.len() + 512);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"");
        out.push_str(PIDF);
        out.push('"');
        for (prefix, namespace) in &self.prefixes {
            out.push_str(" xmlns:");
            out.push_str(prefix);
            out.push_str("=\"");
            escape(&mut out, namespace);
            out.push('"');
        }
        attribute(&mut out, "entity", entity);
        out.push_str(&extensions);
        if content.is_empty() {
            out.push_str("/>\n");
        } else {
            out.push_str(">\n");
            out.push_str(&content);
            out.push_str("</presence>\n");
        }
        out.into_bytes()
    }
}

fn attribute(out: &mut String, name: &str, value: &str) {
    out.push(' ');
    out.push_str(name);
    out.push_str("=\"");
    escape(out, value);
    out.push('"');
}

/// Escapes for both character data and values in double quotes (XML 1.0 §2.4, §3.3.3). What XML cannot say at all is
/// left out; only an entity of the caller's could hold such.
fn escape(out: &mut String, text: &str) {
    let is_plain = |b: u8| b >= b' ' && b != 0x7f && !matches!(b, b'&' | b'<' | b'>' | b'"') && b < 0xef;
    if text.bytes().all(is_plain) {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            c if is_xml_char(c) => out.push(c),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_so_that_a_parser_gives_it_back() {
        let mut out = String::new();
        escape(&mut out, "sip:a&b\"<\n\u{0}\u{fffe}é\u{1f600}>");
        assert_eq!(out, "sip:a&amp;b&quot;&lt;&#10;é\u{1f600}&gt;");
    }
}
