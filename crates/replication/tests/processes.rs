//! A journal has one process.

use std::process::Command;

use prometheus::Registry;
use replication::{Error, Journal, Metrics, Options};

const DIRECTORY: &str = "ROLLCALL_TEST_JOURNAL";

fn open(path: &std::path::Path) -> Result<(), Error> {
    let options = Options { segment_bytes: 4 << 10, ..Options::default() };
    let metrics = Metrics::register(&Registry::new()).expect("a new registry");
    Journal::open(path, options, metrics, 0, |_| {}).map(|(journal, _)| journal.close())
}

/// What the second process does; by itself it does nothing.
#[test]
fn second() {
    if let Some(path) = std::env::var_os(DIRECTORY) {
        assert!(matches!(open(path.as_ref()), Err(Error::Locked { .. })));
    }
}

#[test]
fn the_second_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { segment_bytes: 4 << 10, ..Options::default() };
    let metrics = Metrics::register(&Registry::new()).expect("a new registry");
    let (journal, _) = Journal::open(dir.path(), options, metrics, 0, |_| {}).expect("opened");
    assert!(matches!(open(dir.path()), Err(Error::Locked { .. })));
    let this = std::env::current_exe().expect("this test");
    let second =
        Command::new(this).args(["--exact", "second"]).env(DIRECTORY, dir.path()).output().expect("run");
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stdout));
    journal.close();
    open(dir.path()).expect("nobody has it");
}
