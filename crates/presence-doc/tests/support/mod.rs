//! What the tests of documents share.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use presence_doc::{Composed, Composition, Document, DocumentLimits, Input, InputKind, compose_explained};

/// 2026-01-05T12:00:00Z, when the first body is received unless a test says otherwise.
pub(crate) const NOON_MS: i64 = 1_767_614_400_000;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The XML files of a folder of fixtures, by name.
pub(crate) fn examples(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(fixture(folder)).expect("fixtures").map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    let name = |path: &Path| path.file_stem().expect("named").to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), fs::read(path).expect("fixture"))).collect()
}

pub(crate) fn parse(body: impl AsRef<[u8]>) -> Document {
    let body = body.as_ref();
    Document::parse(body, &DocumentLimits::default())
        .unwrap_or_else(|e| panic!("{e}\n{}", String::from_utf8_lossy(body)))
}

/// A document around some content, with the prefixes that the cases use.
pub(crate) fn pidf(content: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:r=\"urn:ietf:params:xml:ns:pidf:rpid\" \
         xmlns:ts=\"urn:ietf:params:xml:ns:pidf:timed-status\" xmlns:x=\"urn:example:ext\" \
         entity=\"sip:alice@example.com\">{content}</presence>"
    )
}

/// Composes publications received one second after the other, labelled a, b, c, … in that order.
pub(crate) fn composed(policy: Composition, bodies: &[String]) -> Composed {
    let documents: Vec<Document> = bodies.iter().map(parse).collect();
    let labels = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let inputs: Vec<Input<'_>> = documents
        .iter()
        .zip(labels)
        .zip(0..)
        .map(|((document, label), n)| Input {
            document,
            received_unix_ms: NOON_MS + n * 1000,
            label,
            kind: InputKind::Publication,
        })
        .collect();
    compose_explained("sip:alice@example.com", &inputs, policy, NOON_MS + 60_000)
}

pub(crate) fn merged(bodies: &[String]) -> String {
    String::from_utf8(composed(Composition::Merge, bodies).body).expect("UTF-8")
}

pub(crate) fn united(bodies: &[String]) -> String {
    String::from_utf8(composed(Composition::Union, bodies).body).expect("UTF-8")
}

/// Asserts that documents are valid against PIDF and its extensions. One run of xmllint checks them all.
pub(crate) fn assert_valid<'a>(test: &str, documents: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
    lint(test, &["--schema", &fixture("xsd/presence-all.xsd").to_string_lossy()], documents);
}

/// Asserts that documents are well-formed in the eyes of a second parser.
pub(crate) fn assert_well_formed<'a>(test: &str, documents: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
    lint(test, &[], documents);
}

fn lint<'a>(test: &str, options: &[&str], documents: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("presence-doc").join(test);
    fs::create_dir_all(&folder).expect("folder for xmllint");
    let mut files = Vec::new();
    for (name, body) in documents {
        let file = folder.join(format!("{name}.xml"));
        fs::write(&file, body).expect("file for xmllint");
        files.push(file);
    }
    for files in files.chunks(500) {
        let run = Command::new("xmllint").args(["--nonet", "--noout"]).args(options).args(files).output();
        match run {
            Ok(output) => {
                let complaints = String::from_utf8_lossy(&output.stderr);
                let is_grave = |line: &&str| {
                    ["parser error", "namespace error", "validity error"].iter().any(|e| line.contains(e))
                };
                // Any text is a namespace name, says Namespaces in XML §2.2, and deprecates the relative ones.
                let is_about_names = |line: &str| line.contains("xmlns") && line.contains(": '");
                let real: Vec<&str> =
                    complaints.lines().filter(is_grave).filter(|line| !is_about_names(line)).collect();
                assert!(real.is_empty(), "xmllint: {}", real.join("\n"));
                assert!(output.status.success() || !complaints.is_empty(), "xmllint: {}", output.status);
            }
            Err(e) if std::env::var("CI").is_ok_and(|value| value == "true") => {
                panic!("xmllint is missing: {e}")
            }
            Err(e) => eprintln!("not checked by xmllint: {e}"),
        }
    }
}
