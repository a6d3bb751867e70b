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

/// A configuration with `[replication]` is given a secret that is there.
fn sources(file: &Path, secret: &Path) -> Sources {
    let is_replicated = fs::read_to_string(file).expect("text").contains("\nsecret_file = ");
    let secret = format!("replication.secret_file={}", secret.display());
    Sources { file: Some(file.into()), overrides: is_replicated.then_some(secret).into_iter().collect() }
}

fn secret(folder: &Path) -> PathBuf {
    let path = folder.join("cluster.key");
    fs::write(&path, [7; 32]).expect("written");
    path
}

#[test]
fn examples_are_valid() {
    let files = examples();
    assert!(files.len() >= 5, "{files:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let secret = secret(folder.path());
    for file in files {
        let config = load(&sources(&file, &secret)).unwrap_or_else(|error| panic!("{error}"));
        let shown = config.to_toml().expect("TOML");
        assert!(!shown.contains("change-me"), "a password is shown: {shown}");
    }
}

#[test]
fn a_misspelt_key_is_named_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = secret(folder.path());
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
            let error = load(&sources(&path, &secret)).expect_err(&wrong);
            // A misspelt table may first be seen where what follows no longer fits.
            let line = if is_key { format!("{}: ", at + 1) } else { String::new() };
            let shown = format!("{}:{line}", path.display());
            assert!(error.to_string().starts_with(&shown), "{wrong}: {error}");
            misspelt += 1;
        }
    }
    assert!(misspelt > 100, "{misspelt} keys");
}
