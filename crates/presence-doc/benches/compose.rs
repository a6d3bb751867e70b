//! Composition of eight publications of 1 kB, and reading one.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use presence_doc::{Composition, Document, DocumentLimits, Input, InputKind, compose, compose_explained};

/// A publication of about 1 kB: a service, the person and a device, with extensions.
fn publication(n: usize) -> String {
    let service = n % 6;
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
    xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:c="urn:ietf:params:xml:ns:pidf:cipid"
    entity="sip:alice@example.test">
  <tuple id="t{n}">
    <status><basic>open</basic></status>
    <rpid:service-class><rpid:electronic/></rpid:service-class>
    <dm:deviceID>urn:uuid:11111111-1111-4111-8111-11111111111{service}</dm:deviceID>
    <contact priority="0.{n}">sip:alice@192.0.2.{service}:5060;transport=tcp</contact>
    <note xml:lang="en">At my desk</note>
    <timestamp>2026-01-05T11:0{n}:00Z</timestamp>
  </tuple>
  <dm:person id="p{n}">
    <rpid:activities><rpid:meeting/></rpid:activities>
    <c:homepage>https://example.test/~alice</c:homepage>
    <dm:timestamp>2026-01-05T11:0{n}:00Z</dm:timestamp>
  </dm:person>
  <dm:device id="d{n}">
    <rpid:user-input>active</rpid:user-input>
    <dm:deviceID>urn:uuid:11111111-1111-4111-8111-11111111111{service}</dm:deviceID>
  </dm:device>
</presence>
"#
    )
}

fn benches(c: &mut Criterion) {
    let bodies: Vec<String> = (0..8).map(publication).collect();
    let limits = DocumentLimits::default();
    let parse = |body: &String| Document::parse(body.as_bytes(), &limits).expect("well-formed");
    let documents: Vec<Document> = bodies.iter().map(parse).collect();
    let inputs: Vec<Input<'_>> = documents
        .iter()
        .zip(1_767_614_400_000..)
        .map(|(document, received_unix_ms)| Input {
            document,
            received_unix_ms,
            label: "",
            kind: InputKind::Publication,
        })
        .collect();
    let now = 1_767_614_500_000;
    let entity = "sip:alice@example.test";
    c.bench_function("parse 1 kB", |b| b.iter(|| parse(black_box(&bodies[0]))));
    c.bench_function("merge 1 of 1 kB", |b| {
        b.iter(|| compose(entity, black_box(&inputs[..1]), Composition::Merge, now))
    });
    c.bench_function("merge 8 of 1 kB", |b| {
        b.iter(|| compose(entity, black_box(&inputs), Composition::Merge, now))
    });
    c.bench_function("union 8 of 1 kB", |b| {
        b.iter(|| compose(entity, black_box(&inputs), Composition::Union, now))
    });
    c.bench_function("merge 8 of 1 kB, explained", |b| {
        b.iter(|| compose_explained(entity, black_box(&inputs), Composition::Merge, now));
    });
}

criterion_group!(compose_benches, benches);
criterion_main!(compose_benches);
