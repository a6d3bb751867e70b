//! The example configurations are valid, and a misspelt key in one is found.

use std::fs;
use std::path::{Path, PathBuf};

use server::config::{Sources, load};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/config");
    let entries = fs::read_dir(folder).expect("deploy/config");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    files.sort();
    files
}

fn sources(file: &Path) -> Sources {
    Sources { file: Some(file.into()), overrides: Vec::new() }
}

#[test]
fn examples_are_valid() {
    let files = examples();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let config = load(&sources(&file)).unwrap_or_else(|error| panic!("{error}"));
        let shown = config.to_toml().expect("TOML");
        assert!(!shown.contains("change-me"), "a password is shown: {shown}");
    }
}

#[test]
fn a_misspelt_key_is_named_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut misspelt = 0;
    for file in examples() {
        let text = fs::read_to_string(&file).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let key = line.split('=').next().unwrap_or("").trim();
            let is_key = line.contains('=') && !key.is_empty() && !key.starts_with('#');
            let is_table = line.starts_with('[');
            let wrong = match (is_key, is_table) {
                (true, _) => line.replacen(key, &format!("{key}x"), 1),
                (_, true) => line.replacen(']', "x]", 1),
                _ => continue,
            };
            let mut copy = lines.clone();
            copy[at] = &wrong;
            let path = folder.path().join("misspelt.toml");
            fs::write(&path, copy.join("\n")).expect("written");
            let error = load(&sources(&path)).expect_err(&wrong);
            // A misspelt table may first be seen where what follows no longer fits.
            let line = if is_key { format!("{}: ", at + 1) } else { String::new() };
            let shown = format!("{}:{line}", path.display());
            assert!(error.to_string().starts_with(&shown), "{wrong}: {error}");
            misspelt += 1;
        }
    }
    assert!(misspelt > 60, "{misspelt} keys");
}
