//! Composition by file pairs: `compose/NN-name/` holds the inputs a, b, … in the order of their receipt and
//! `expected.xml`, what `merge` makes of them; `expected-union.xml` where `union` is of interest, too.
//!
//! `UPDATE_EXPECT=1` rewrites what is expected; read the difference before you commit it.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use presence_doc::Composition;
use support::{assert_valid, composed};

#[test]
fn file_pairs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(folder).expect("cases").map(|e| e.expect("entry").path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    let mut outputs = Vec::new();
    for case in &cases {
        let name = case.file_name().expect("named").to_string_lossy();
        let bodies: Vec<String> = ["a", "b", "c", "d"]
            .iter()
            .map_while(|n| fs::read_to_string(case.join(format!("{n}.xml"))).ok())
            .collect();
        for (policy, file) in [(Composition::Merge, "expected"), (Composition::Union, "expected-union")] {
            let path = case.join(format!("{file}.xml"));
            if policy == Composition::Union && !path.exists() {
                continue;
            }
            let body = composed(policy, &bodies).body;
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                fs::write(&path, &body).expect("writable");
            }
            let expected = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(&body), expected, "{name}, {policy}");
            outputs.push((format!("{name}-{file}"), body));
        }
    }
    // A case whose name ends so has inputs that are not valid themselves.
    let valid = outputs.iter().filter(|(name, _)| !name.contains("-invalid-"));
    assert_valid("pairs", valid.map(|(name, body)| (name.as_str(), body.as_slice())));
}
