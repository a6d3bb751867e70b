//! Documents by chance: generated ones stay valid, damaged ones never get through damaged.

mod support;

use presence_doc::{Composition, Document, DocumentLimits, Input, InputKind, compose};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use support::{NOON_MS, assert_valid, assert_well_formed, examples, parse};

const ALICE: &str = "sip:alice@example.com";

/// A valid document of parts that collide with those of others.
fn generate(rng: &mut StdRng) -> String {
    let prefixes = ["", "p"];
    let p = prefixes[rng.random_range(0..2)];
    let r = *["r", "rpid", "x"].choose(rng).expect("some");
    let x = *["x", "r", "ns2"].iter().filter(|x| **x != r).collect::<Vec<_>>().choose(rng).expect("some");
    let x_uri = *["urn:example:1", "urn:example:2"].choose(rng).expect("some");
    let (open, declared) = match p {
        "" => (String::new(), "xmlns".to_owned()),
        p => (format!("{p}:"), format!("xmlns:{p}")),
    };
    let mut ids: Vec<&str> = vec!["a", "b", "c", "d", "e", "f", "g", "h"];
    ids.shuffle(rng);
    let maybe = |rng: &mut StdRng, text: String| if rng.random_bool(0.5) { text } else { String::new() };
    let mut content = String::new();
    for _ in 0..rng.random_range(0..4) {
        let id = ids.pop().expect("enough");
        let contact = *["sip:alice@pc", "sip:%61lice@PC", "sip:alice@mobile", "tel:+1-2", "tel:+12"]
            .choose(rng)
            .expect("some");
        let basic = *["open", "closed"].choose(rng).expect("some");
        let lang = *["en", "EN", "de"].choose(rng).expect("some");
        let minute = rng.random_range(0..60);
        let parts = [
            format!("<{open}tuple id=\"{id}\"><{open}status>"),
            maybe(rng, format!("<{open}basic>{basic}</{open}basic>")),
            maybe(rng, format!("<{x}:s xmlns:y=\"urn:y\"><y:t/></{x}:s>")),
            format!("</{open}status>"),
            maybe(rng, format!("<{r}:class>{basic}</{r}:class>")),
            maybe(rng, format!("<{x}:load unit='&lt;&#10;'><![CDATA[<{minute}>]]></{x}:load>")),
            maybe(
                rng,
                format!(
                    "<{r}:privacy><{r}:{}/></{r}:privacy>",
                    if minute < 30 { "unknown" } else { "audio" }
                ),
            ),
            maybe(rng, format!("<d:deviceID>urn:esn:{}</d:deviceID>", minute % 3)),
            maybe(rng, format!("<{open}contact priority=\"0.{minute}\">{contact}</{open}contact>")),
            maybe(rng, format!("<{open}note xml:lang=\"{lang}\">n {minute}</{open}note>")),
            maybe(rng, format!("<{open}timestamp>2026-01-05T11:{minute:02}:00Z</{open}timestamp>")),
            format!("</{open}tuple>"),
        ];
        content.extend(parts);
    }
    let number = rng.random_range(0..3);
    content.push_str(&maybe(rng, format!("<{open}note>{number}</{open}note>")));
    for _ in 0..rng.random_range(0..2) {
        let (id, inner) = (ids.pop().expect("enough"), ids.pop().expect("enough"));
        let hour = rng.random_range(10..20);
        let parts = [
            format!("<d:person id=\"{id}\">"),
            maybe(rng, format!("<{r}:activities id=\"{inner}\"><{r}:away/></{r}:activities>")),
            maybe(
                rng,
                format!(
                    "<{r}:mood from=\"2026-01-05T{hour}:00:00Z\" until=\"2026-01-05T{}:00:00Z\"><{r}:calm/></{r}:mood>",
                    hour + 2
                ),
            ),
            maybe(rng, "<d:note>p</d:note>".into()),
            maybe(rng, format!("<d:timestamp>2026-01-05T{hour}:00:00+02:00</d:timestamp>")),
            "</d:person>".into(),
        ];
        content.extend(parts);
    }
    for _ in 0..rng.random_range(0..2) {
        let id = ids.pop().expect("enough");
        let input = maybe(rng, format!("<{r}:user-input>idle</{r}:user-input>"));
        content
            .push_str(&format!("<d:device id=\"{id}\">{input}<d:deviceID>urn:esn:1</d:deviceID></d:device>"));
    }
    content
        .push_str(&maybe(rng, format!("<{x}:site><{x}:floor xmlns=\"urn:z\">1<z/></{x}:floor></{x}:site>")));
    format!(
        "<{open}presence {declared}=\"urn:ietf:params:xml:ns:pidf\" xmlns:d=\"urn:ietf:params:xml:ns:pidf:data-model\" \
         xmlns:{r}=\"urn:ietf:params:xml:ns:pidf:rpid\" xmlns:{x}=\"{x_uri}\" entity=\"{ALICE}\">{content}</{open}presence>"
    )
}

#[test]
fn generated_documents_compose_to_valid_ones_in_any_order() {
    let mut rng = StdRng::seed_from_u64(3863);
    let mut outputs = Vec::new();
    for round in 0..250 {
        let documents: Vec<Document> =
            (0..rng.random_range(1..5)).map(|_| parse(generate(&mut rng))).collect();
        let receipts: Vec<i64> = documents.iter().map(|_| NOON_MS + rng.random_range(0..3)).collect();
        for (policy, name) in [(Composition::Merge, "merge"), (Composition::Union, "union")] {
            let mut inputs: Vec<Input<'_>> = documents
                .iter()
                .zip(&receipts)
                .map(|(document, at)| Input {
                    document,
                    received_unix_ms: *at,
                    label: "",
                    kind: InputKind::Publication,
                })
                .collect();
            let body = compose(ALICE, &inputs, policy, NOON_MS).body;
            for _ in 0..3 {
                inputs.shuffle(&mut rng);
                assert_eq!(compose(ALICE, &inputs, policy, NOON_MS).body, body, "round {round}");
            }
            let again = parse(&body);
            let again = Input {
                document: &again,
                received_unix_ms: NOON_MS,
                label: "",
                kind: InputKind::Publication,
            };
            let again = compose(ALICE, &[again], Composition::Union, NOON_MS).body;
            assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&body), "round {round}");
            outputs.push((format!("{round}-{name}"), body));
        }
    }
    assert_valid("generated", outputs.iter().map(|(name, body)| (name.as_str(), body.as_slice())));
}

#[test]
fn damaged_documents_are_refused_or_harmless() {
    let mut rng = StdRng::seed_from_u64(4479);
    let mut corpus: Vec<Vec<u8>> = examples("rfc").into_iter().map(|(_, body)| body).collect();
    corpus.extend((0..20).map(|_| generate(&mut rng).into_bytes()));
    let whole = parse(generate(&mut rng));
    let tokens: [&[u8]; 16] = [
        b"<",
        b">",
        b"/>",
        b"</",
        b"&",
        b"&#1;",
        b"&lt;",
        b"]]>",
        b"<![CDATA[",
        b"<!--",
        b"-->",
        b"\"",
        b"xmlns:r=\"u\"",
        b" xmlns=\"\"",
        b"dm:",
        b"<?xml?>",
    ];
    let (mut accepted, mut outputs) = (0, Vec::new());
    for round in 0..20_000 {
        let mut body = corpus.choose(&mut rng).expect("some").clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..body.len());
            let to = (at + rng.random_range(0..20)).min(body.len());
            match rng.random_range(0..5) {
                0 => body[at] = rng.random_range(0..=255),
                1 => drop(body.drain(at..to)),
                2 => drop(body.splice(at..at, tokens.choose(&mut rng).expect("some").iter().copied())),
                3 => {
                    let copy = body[at..to].to_vec();
                    let into = rng.random_range(0..=body.len());
                    drop(body.splice(into..into, copy));
                }
                _ => {
                    let other = rng.random_range(0..body.len());
                    body.swap(at, other);
                }
            }
            if body.is_empty() {
                break;
            }
        }
        let Ok(damaged) = Document::parse(&body, &DocumentLimits::default()) else { continue };
        accepted += 1;
        let inputs = [&damaged, &whole].map(|document| Input {
            document,
            received_unix_ms: NOON_MS,
            label: "",
            kind: InputKind::Publication,
        });
        for policy in [Composition::Merge, Composition::Union] {
            let composed = compose(ALICE, &inputs, policy, NOON_MS).body;
            let text = str::from_utf8(&composed).expect("UTF-8");
            if let Err(e) = roxmltree::Document::parse(text) {
                panic!("round {round}: {e}\n{}\n\n{text}", String::from_utf8_lossy(&body));
            }
            if accepted % 10 == 0 {
                outputs.push((format!("{round}-{policy}"), composed));
            }
        }
    }
    assert!(accepted > 1_000, "{accepted} accepted");
    assert_well_formed("damaged", outputs.iter().map(|(name, body)| (name.as_str(), body.as_slice())));
}
