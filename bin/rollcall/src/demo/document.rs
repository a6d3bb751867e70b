//! The documents of the demo, and what is shown of those that come back.

use anyhow::{Result, ensure};
use presence_doc::{Composition, Document, DocumentLimits, Input, InputKind, compose_explained};

/// What one device publishes: a service of its own, the activity that it knows of, and a note.
pub(crate) struct Published {
    pub(crate) device: &'static str,
    pub(crate) contact: &'static str,
    pub(crate) activity: &'static str,
    pub(crate) note: &'static str,
}

impl Published {
    /// PIDF (RFC 3863) with RPID (RFC 4480) and an extension of nobody's.
    pub(crate) fn document(&self) -> String {
        let Self { device, contact, activity, note } = self;
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
    xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" xmlns:x="urn:example:demo" entity="sip:alice@localhost">
  <tuple id="{device}">
    <status><basic>open</basic></status>
    <x:device>{device}</x:device>
    <contact>{contact}</contact>
    <note>{note}</note>
  </tuple>
  <dm:person id="alice"><r:activities><r:{activity}/></r:activities></dm:person>
</presence>
"#
        )
    }
}

/// Who gave which element of the composition of these publications, oldest first: one line each.
pub(crate) fn explain(entity: &str, published: &[&Published], received: &str) -> Result<Vec<String>> {
    let texts: Vec<String> = published.iter().map(|p| p.document()).collect();
    let documents: Vec<Document> = texts
        .iter()
        .map(|text| Document::parse(text.as_bytes(), &DocumentLimits::default()))
        .collect::<Result<_, _>>()?;
    let inputs: Vec<Input<'_>> = documents
        .iter()
        .zip(published)
        .zip(0i64..)
        .map(|((document, published), received_unix_ms)| Input {
            document,
            received_unix_ms,
            label: published.device,
            kind: InputKind::Publication,
        })
        .collect();
    let composed = compose_explained(entity, &inputs, Composition::Merge, published.len() as i64);
    let lines = composed.explanation.iter().map(|p| {
        let element = match &p.child {
            Some((_, child)) => format!("{} {} <{child}>", p.element, p.id),
            None => format!("{} {}", p.element, p.id),
        };
        let displaced = if p.displaced.is_empty() {
            String::new()
        } else {
            format!(", instead of {}", p.displaced.join(", "))
        };
        format!("{element} from {}{displaced}", p.source)
    });
    // What is explained is what came.
    let own = String::from_utf8_lossy(&composed.body);
    ensure!(own == received, "explained is\n{own}\nbut received was\n{received}");
    Ok(lines.collect())
}
