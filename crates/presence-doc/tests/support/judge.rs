//! Compares a composed document with what a case of `fixtures/composition-cases.json` expects.

use roxmltree::Node;
use serde_json::{Value, json};

const DM: &str = "urn:ietf:params:xml:ns:pidf:data-model";
const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
const TIMED: &str = "urn:ietf:params:xml:ns:pidf:timed-status";
/// The presentity of all cases.
pub(crate) const ALICE: &str = "sip:alice@example.com";

/// Compares the listed properties; the order of tuples, persons and devices has no meaning. Where a neutral document is
/// expected, a closed tuple of the presentity itself is as good as none (RFC 3856 §6.6.2).
pub(crate) fn judge(id: &str, body: &[u8], expect: &Value) {
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
        if expect["neutral"] == true {
            found.retain(|node| property(*node, "basic") != json!("closed"));
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
