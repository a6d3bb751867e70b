//! The cases of the composition policy, under both policies (RFC 3903 §6, RFC 4479 §3-5, RFC 4480 §3, RFC 3863 §4).

#[path = "support/judge.rs"]
mod judge;
mod support;

use std::collections::BTreeMap;
use std::fs;

use judge::{ALICE, judge};
use presence_doc::{Composition, Document, Input, InputKind, compose, synthetic};
use serde_json::Value;
use support::{NOON_MS, assert_valid, fixture, parse};

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
