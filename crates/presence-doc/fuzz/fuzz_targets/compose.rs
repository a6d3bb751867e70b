//! Whatever is published: it is refused, or what is composed of it is well-formed and accepted again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use presence_doc::{Composition, Document, DocumentLimits, Input, InputKind, compose};

const OTHER: &str = r#"<p:presence xmlns:p="urn:ietf:params:xml:ns:pidf" xmlns:r="urn:example:other" xmlns="urn:example:default"
    xmlns:d="urn:ietf:params:xml:ns:pidf:data-model" entity="pres:alice@example.test">
  <p:tuple id="a"><p:status><p:basic>open</p:basic></p:status><r:x/><y/><p:contact>sip:alice@example.test</p:contact>
    <p:note>n</p:note></p:tuple><d:person id="b"><d:note>n</d:note></d:person></p:presence>"#;

fuzz_target!(|body: &[u8]| {
    let limits = DocumentLimits::default();
    let Ok(document) = Document::parse(body, &limits) else { return };
    let other = Document::parse(OTHER.as_bytes(), &limits).expect("well-formed");
    let [given, other] = [&document, &other].map(|document| Input {
        document,
        received_unix_ms: 1_767_614_400_000,
        label: "",
        kind: InputKind::Publication,
    });
    for policy in [Composition::Merge, Composition::Union] {
        let composed = compose("sip:alice@example.test", &[given, other], policy, 1_767_614_400_000).body;
        let swapped = compose("sip:alice@example.test", &[other, given], policy, 1_767_614_400_000).body;
        assert_eq!(composed, swapped);
        let text = str::from_utf8(&composed).expect("UTF-8");
        roxmltree::Document::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    }
});
