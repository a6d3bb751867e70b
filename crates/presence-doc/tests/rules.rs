//! Rules of composition that file pairs do not show: classes of input, explanations, order, hostile inputs.

mod support;

use presence_doc::{
    Composition, Document, Element, Input, InputKind, Provenance, compose, compose_explained, synthetic,
};
use support::{NOON_MS, assert_valid, composed, examples, merged, parse, pidf, united};

fn tuple(id: &str, basic: &str, contact: &str) -> String {
    format!("<tuple id=\"{id}\"><status><basic>{basic}</basic></status><contact>{contact}</contact></tuple>")
}

#[test]
fn rfc_3856_section_6_7_publications_silence_registrations() {
    let registration = parse(synthetic("sip:alice@example.com", true, NOON_MS));
    let same = parse(pidf(&tuple("a", "closed", "sip:alice@EXAMPLE.com")));
    let other = parse(pidf(&tuple("a", "closed", "sip:alice@pc.example.com")));
    let run = |publication, policy| {
        let inputs = [
            // The registration is newer, and still it yields.
            Input {
                document: &registration,
                received_unix_ms: NOON_MS + 5,
                label: "registrar",
                kind: InputKind::Registration,
            },
            Input {
                document: publication,
                received_unix_ms: NOON_MS,
                label: "phone",
                kind: InputKind::Publication,
            },
        ];
        let composed = compose_explained("sip:alice@example.com", &inputs, policy, NOON_MS);
        (String::from_utf8(composed.body).expect("UTF-8"), composed.explanation)
    };
    let (body, explanation) = run(&same, Composition::Merge);
    assert!(body.contains("closed") && !body.contains("open"), "{body}");
    assert_eq!(explanation[0].displaced, ["registrar"]);
    let (body, _) = run(&other, Composition::Merge);
    assert!(body.contains("closed") && body.contains("open"), "{body}");
    let (body, _) = run(&same, Composition::Union);
    assert!(body.contains("closed") && body.contains("open"), "{body}");
}

#[test]
fn rfc_3903_section_3_soft_state_overrides_hard_state() {
    let hard = parse(pidf(
        "<tuple id=\"h\"><status><basic>closed</basic></status><r:class>c</r:class><dm:deviceID>urn:esn:1</dm:deviceID>\
         <contact>sip:alice@pc.example.com</contact></tuple><note>hard</note>",
    ));
    let soft = parse(pidf(
        "<tuple id=\"s\"><status><basic>open</basic></status><r:class>c</r:class><contact>sip:alice@pc.example.com</contact>\
         <timestamp>2020-01-01T00:00:00Z</timestamp></tuple><note>soft</note>",
    ));
    let inputs = [
        Input { document: &hard, received_unix_ms: NOON_MS + 1, label: "", kind: InputKind::HardState },
        Input { document: &soft, received_unix_ms: NOON_MS, label: "", kind: InputKind::Publication },
    ];
    let body = compose("sip:alice@example.com", &inputs, Composition::Merge, NOON_MS).body;
    let body = String::from_utf8(body).expect("UTF-8");
    assert!(
        body.contains("<basic>open</basic>") && body.contains("urn:esn:1") && body.contains(">soft<"),
        "{body}"
    );
    assert!(!body.contains("closed") && !body.contains(">hard<"), "{body}");
}

#[test]
fn nothing_published_is_a_neutral_document() {
    for policy in [Composition::Merge, Composition::Union] {
        let body = compose("sip:alice@example.com", &[], policy, NOON_MS).body;
        assert_eq!(
            String::from_utf8_lossy(&body),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:alice@example.com\"/>\n"
        );
        assert_valid("neutral", [("neutral", body.as_slice())]);
    }
}

#[test]
fn synthetic_documents_are_valid() {
    let (open, closed) =
        (synthetic("sip:a&\"b@example.com", true, NOON_MS), synthetic("sip:alice@192.0.2.1", false, NOON_MS));
    assert_valid("synthetic", [("open", open.as_slice()), ("closed", closed.as_slice())]);
    assert_eq!(parse(&open).entity(), "sip:a&\"b@example.com");
}

#[test]
fn each_element_knows_where_it_came_from() {
    let pc = "sip:alice@pc.example.com";
    let a = pidf(&format!("{}<note>n</note>", tuple("a", "open", pc)));
    let b = pidf(&tuple("b", "closed", pc));
    let entry =
        |element, id: &str, child: Option<(&str, &str)>, source: &str, displaced: &[&str]| Provenance {
            element,
            id: id.to_owned(),
            child: child.map(|(namespace, local)| (namespace.to_owned(), local.to_owned())),
            source: source.to_owned(),
            displaced: displaced.iter().map(ToString::to_string).collect(),
        };
    let pidf_ns = "urn:ietf:params:xml:ns:pidf";
    assert_eq!(
        composed(Composition::Merge, &[a.clone(), b.clone()]).explanation,
        [
            entry(Element::Tuple, "b", None, "b", &["a"]),
            entry(Element::Tuple, "b", Some((pidf_ns, "basic")), "b", &["a"]),
            entry(Element::Tuple, "b", Some((pidf_ns, "contact")), "b", &["a"]),
            entry(Element::Note, "", None, "a", &[]),
        ]
    );
    let united = composed(Composition::Union, &[a, b]).explanation;
    assert!(united.iter().all(|entry| entry.displaced.is_empty()));
    assert_eq!(
        united.iter().filter(|entry| entry.element == Element::Tuple && entry.child.is_none()).count(),
        2
    );
}

#[test]
fn what_is_composed_can_be_published_again() {
    for (name, body) in examples("rfc").into_iter().chain(examples("rfc-invalid")) {
        if matches!(name.as_str(), "rfc4479-s7.1-01-presence" | "rfc4482-s4-01-presence") {
            continue; // Not accepted in the first place.
        }
        let once = merged(&[String::from_utf8(body).expect("UTF-8")]);
        assert_eq!(merged(std::slice::from_ref(&once)), once, "{name}");
        assert_eq!(united(std::slice::from_ref(&once)), once, "{name}");
    }
}

#[test]
fn pairs_of_rfc_examples_stay_valid() {
    let examples = examples("rfc");
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).expect("UTF-8");
    let mut outputs = Vec::new();
    for (i, (a, first)) in examples.iter().enumerate() {
        for (b, second) in &examples[i..] {
            let bodies = [text(first), text(second)];
            outputs.push((format!("{a}+{b}-merge"), merged(&bodies)));
            outputs.push((format!("{a}+{b}-union"), united(&bodies)));
        }
    }
    assert_valid("rfc-pairs", outputs.iter().map(|(name, body)| (name.as_str(), body.as_bytes())));
}

#[test]
fn receipts_ahead_of_a_clock_that_was_set_back_are_not_shown() {
    let document =
        parse(pidf("<tuple id=\"a\"><status/><timestamp>2040-01-01T00:00:00Z</timestamp></tuple>"));
    let input = Input {
        document: &document,
        received_unix_ms: NOON_MS + 86_400_000,
        label: "",
        kind: InputKind::Publication,
    };
    let body = compose("sip:alice@example.com", &[input], Composition::Merge, NOON_MS).body;
    assert!(String::from_utf8_lossy(&body).contains("<timestamp>2026-01-05T12:00:00Z<"));
}

#[test]
fn a_minute_ahead_is_no_wrong_clock() {
    let ahead = |second: &str| {
        let time = format!("<timestamp>2026-01-05T12:01:{second}Z</timestamp></tuple>");
        merged(&[pidf(&(String::from("<tuple id=\"a\"><status/>") + &time))])
    };
    assert!(ahead("00").contains("12:01:00Z"));
    assert!(ahead("01").contains("12:00:00Z"));
}

/// Documents at the limits, made to be slow; with an algorithm of the wrong order this test does not end.
#[test]
fn hostile_documents_are_cheap() {
    let many = |n: usize, one: &dyn Fn(usize) -> String| pidf(&(0..n).map(one).collect::<String>());
    let hostile: Vec<String> = vec![
        many(900, &|i| tuple("a", "open", &format!("sip:a@h;p={i}")).replace("<basic>open</basic>", "")),
        many(900, &|i| tuple("a", "open", &format!("sip:a@h:{i}")).replace("<basic>open</basic>", "")),
        many(900, &|_| "<tuple id='a'><status/><contact>sip:a@h</contact></tuple>".into()),
        many(700, &|i| {
            format!("<tuple id='t{i}'><status/><r:class>{i}</r:class><contact>sip:a@h</contact></tuple>")
        }),
        many(1, &|_| {
            let children: String = (0..4000).map(|i| format!("<x:n{i}/>")).collect();
            format!("<tuple id='a'><status/>{children}<contact>sip:a@h</contact></tuple>")
        }),
        many(1, &|_| {
            let range =
                |i: usize| format!("<r:mood from='2026-01-05T10:{:02}:{:02}Z'/>", i / 60 % 60, i % 60);
            format!("<dm:person id='a'>{}</dm:person>", (0..1400).map(range).collect::<String>())
        }),
        many(900, &|i| format!("<a{i}:b xmlns:a{i}='urn:{i}' a{i}:c='{i}'/>")),
        many(800, &|i| format!("<tuple id='a' xmlns:q='urn:{i}' q:a='1'><status/></tuple>")),
        many(6000, &|_| "<note>n</note>".into())
            .chars()
            .take(60_000)
            .collect::<String>()
            .rsplit_once("</note>")
            .map(|(good, _)| format!("{good}</note></presence>"))
            .expect("notes"),
        many(1, &|_| format!("<x:a>{}</x:a>", "x:".repeat(30_000))),
    ];
    let bodies: Vec<String> = hostile.iter().flat_map(|body| [body.clone(), body.clone()]).collect();
    for bodies in bodies.chunks(8) {
        for body in [merged(bodies), united(bodies)] {
            roxmltree::Document::parse(&body).expect("well-formed");
        }
    }
    // Eight times the same, which is the worst for what is compared with each other.
    for body in &hostile {
        let eight = vec![body.clone(); 8];
        merged(&eight);
        united(&eight);
    }
}

/// Every order of the same inputs gives the same document; so do equal receipts.
#[test]
fn the_order_of_inputs_does_not_matter() {
    let documents: Vec<Document> = examples("rfc").iter().take(6).map(|(_, body)| parse(body)).collect();
    for receipts in [[1, 2, 3, 4, 5, 6], [1, 1, 2, 2, 3, 3], [7, 7, 7, 7, 7, 7]] {
        let mut order: Vec<usize> = (0..6).collect();
        let mut first: [Option<Vec<u8>>; 2] = [None, None];
        permute(&mut order, 0, &mut |order| {
            let inputs: Vec<Input<'_>> = order
                .iter()
                .map(|i| Input {
                    document: &documents[*i],
                    received_unix_ms: NOON_MS + receipts[*i],
                    label: "",
                    kind: InputKind::Publication,
                })
                .collect();
            for (policy, first) in [Composition::Merge, Composition::Union].into_iter().zip(&mut first) {
                let body = compose("sip:alice@example.com", &inputs, policy, NOON_MS).body;
                assert_eq!(first.get_or_insert_with(|| body.clone()), &body, "{order:?}");
            }
        });
    }
}

fn permute(order: &mut [usize], from: usize, visit: &mut dyn FnMut(&[usize])) {
    if from == order.len() {
        return visit(order);
    }
    for i in from..order.len() {
        order.swap(from, i);
        permute(order, from + 1, visit);
        order.swap(from, i);
    }
}
