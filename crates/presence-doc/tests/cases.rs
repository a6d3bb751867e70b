//! The cases of the composition policy, under both policies (RFC 3903 §6, RFC 4479 §3-5, RFC 4480 §3, RFC 3863 §4).

mod support;

use std::collections::BTreeMap;
use std::fs;

use presence_doc::{Composition, Document, Input, InputKind, compose, synthetic};
use roxmltree::Node;
use serde_json::{Value, json};
use support::{NOON_MS, assert_valid, fixture, parse};

const DM: &str = "urn:ietf:params:xml:ns:pidf:data-model";
const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
const TIMED: &str = "urn:ietf:params:xml:ns:pidf:timed-status";
const ALICE: &str = "sip:alice@example.com";

#[test]
fn every_case_under_both_policies() {
    let text = fs::read_to_string(fixture("composition-cases.json")).expect("fixture");
    let cases: Value = serde_json::from_str(&text).expect("JSON");
    let cases = cases["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 28);
    let mut outputs = Vec::new();
    for case in cases {
        for (policy, name) in [(Composition::Merge, "merge"), (Composition::Union, "union")] {
            let id = format!("{}-{name}", case["id"].as_str().expect("id"));
            let body = run(&case["steps"], policy);
            judge(&id, &body, &case["expect"][name]);
            outputs.push((id, body));
        }
    }
    assert_valid("cases", outputs.iter().map(|(id, body)| (id.as_str(), body.as_slice())));
}

/// Does the steps of a case, one each second, and composes what is live in the end.
fn run(steps: &Value, policy: Composition) -> Vec<u8> {
    let mut live: BTreeMap<String, (Document, i64, InputKind)> = BTreeMap::new();
    let mut now_unix_ms = NOON_MS;
    for step in steps.as_array().expect("steps") {
        now_unix_ms += 1000;
        let publication = step["publication"].as_str().unwrap_or("registration").to_owned();
        match step["op"].as_str().expect("op") {
            // The receipt is that of the body: a modification has one, a refresh has none.
            "publish" | "modify" => {
                let document = parse(step["body"].as_str().expect("body"));
                live.insert(publication, (document, now_unix_ms, InputKind::Publication));
            }
            "refresh" => assert!(live.contains_key(&publication)),
            "remove" | "unregister" => drop(live.remove(&publication)),
            "register" => {
                let document = parse(synthetic(step["aor"].as_str().expect("aor"), true, now_unix_ms));
                live.insert(publication, (document, now_unix_ms, InputKind::Registration));
            }
            other => panic!("step {other}"),
        }
    }
    let inputs: Vec<Input<'_>> = live
        .iter()
        .map(|(label, (document, received_unix_ms, kind))| Input {
            document,
            received_unix_ms: *received_unix_ms,
            label,
            kind: *kind,
        })
        .collect();
    compose(ALICE, &inputs, policy, now_unix_ms).body
}

/// Compares the listed properties; the order of tuples, persons and devices has no meaning.
fn judge(id: &str, body: &[u8], expect: &Value) {
    let text = str::from_utf8(body).expect("UTF-8");
    let tree = roxmltree::Document::parse(text).unwrap_or_else(|e| panic!("{id}: {e}\n{text}"));
    let root = tree.root_element();
    assert_eq!(root.attribute("entity"), Some(ALICE), "{id}");
    let ids: Vec<&str> = tree.descendants().filter_map(|n| n.attribute("id")).collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "{id}: {ids:?}");

    for (list, namespace, name) in
        [("tuples", PIDF, "tuple"), ("persons", DM, "person"), ("devices", DM, "device")]
    {
        let mut found: Vec<Node<'_, '_>> =
            root.children().filter(|n| n.has_tag_name((namespace, name))).collect();
        for wanted in expect[list].as_array().expect("list") {
            let wanted = wanted.as_object().expect("properties");
            let at = found
                .iter()
                .position(|node| wanted.iter().all(|(key, value)| property(*node, key) == *value));
            found.remove(at.unwrap_or_else(|| panic!("{id}: no {name} {wanted:?} in\n{text}")));
        }
        assert!(found.is_empty(), "{id}: too many {name} in\n{text}");
    }
}

fn property(node: Node<'_, '_>, key: &str) -> Value {
    let child = |namespace: &str, name: &str| node.children().find(|n| n.has_tag_name((namespace, name)));
    let said =
        |node: Option<Node<'_, '_>>| node.and_then(|n| n.text()).map_or(Value::Null, |text| json!(text));
    let names = |node: Node<'_, '_>| -> Vec<String> {
        node.children().filter(|n| n.is_element()).map(|n| n.tag_name().name().to_owned()).collect()
    };
    let all = |namespace: &str, name: &str| -> Vec<Node<'_, '_>> {
        node.children().filter(|n| n.has_tag_name((namespace, name))).collect()
    };
    let own = if node.tag_name().namespace() == Some(PIDF) { PIDF } else { DM };
    match key {
        "contact" => said(child(PIDF, "contact")),
        "priority" => {
            child(PIDF, "contact").and_then(|n| n.attribute("priority")).map_or(Value::Null, |p| json!(p))
        }
        "basic" => {
            said(child(PIDF, "status").and_then(|s| s.children().find(|n| n.has_tag_name((PIDF, "basic")))))
        }
        "timestamp" => said(child(own, "timestamp")),
        "deviceID" => said(child(DM, "deviceID")),
        "deviceIDs" => Value::Array(all(DM, "deviceID").into_iter().map(|n| said(Some(n))).collect()),
        "class" | "user-input" => said(child(RPID, key)),
        "activities" | "mood" => child(RPID, key).map_or(Value::Null, |n| json!(names(n))),
        "activities_ranges" => {
            let mut ranges: Vec<_> = all(RPID, "activities")
                .into_iter()
                .map(|n| json!([n.attribute("from"), n.attribute("until"), names(n)]))
                .collect();
            ranges.sort_by_key(ToString::to_string);
            Value::Array(ranges)
        }
        "timed" => {
            let basic = |n: Node<'_, '_>| said(n.children().find(|n| n.has_tag_name((TIMED, "basic"))));
            let timed = all(TIMED, "timed-status").into_iter();
            Value::Array(
                timed.map(|n| json!([n.attribute("from"), n.attribute("until"), basic(n)])).collect(),
            )
        }
        "notes" => {
            let lang = |n: Node<'_, '_>| {
                n.attribute(("http://www.w3.org/XML/1998/namespace", "lang")).map(str::to_owned)
            };
            Value::Array(all(own, "note").into_iter().map(|n| json!([lang(n), n.text()])).collect())
        }
        other => panic!("property {other}"),
    }
}
