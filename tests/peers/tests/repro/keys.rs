//! What of a configuration with a repro is refused.

use std::fs;
use std::process::Command;

use anyhow::Result;
use peers::binary;

#[test]
fn faults_of_the_configuration_are_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("good.key"), [7; 32])?;
    let check = |text: &str| -> Result<(Option<i32>, String)> {
        fs::write(folder.path().join("r.toml"), text)?;
        let output = Command::new(binary()?)
            .current_dir(folder.path())
            .args(["check", "--config", "r.toml"])
            .output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let peer = "[[replication.peer]]\nnode = \"r\"\ncompat = \"repro\"\n";
    let address = "address = \"10.0.0.2:5071\"\n";
    let listen = "listen = \"10.0.0.1:5072\"\n";
    let native = "[replication]\nlisten = \"127.0.0.1:5070\"\nsecret_file = \"good.key\"\n[[replication.peer]]\n\
                  node = \"b\"\naddress = \"192.0.2.2:5070\"\n";
    for good in [
        format!("{peer}{address}"),
        format!("{peer}{address}{listen}"),
        format!("{peer}{listen}from = \"10.0.0.2\"\n"),
        format!("{peer}address = \"repro.example.test:5071\"\n{listen}from = \"other.example.test\"\n"),
        format!("{peer}address = \"[fd00::2]:5071\"\nlisten = \"[::1]:5072\"\n"),
        format!("{peer}address = \"192.0.2.2:5071\"\nlisten = \"0.0.0.0:5072\"\ninsecure = true\n"),
        format!("[replication]\nsecret_file = \"good.key\"\n{peer}{address}"),
        format!("{native}{peer}{address}{listen}"),
    ] {
        assert_eq!(check(&good)?.0, Some(0), "{good}: {:?}", check(&good)?);
    }
    for (text, place, says) in [
        (peer.to_owned(), "1: replication.peer[0].address", "or listen, or both"),
        (format!("{peer}{listen}"), "1: replication.peer[0].from", "connects from"),
        (format!("{peer}{address}from = \"10.0.0.2\"\n"), "5: replication.peer[0].from", "without listen"),
        (
            format!("{peer}address = \"192.0.2.2:5071\"\n"),
            "4: replication.peer[0].address",
            "insecure = true",
        ),
        (format!("{peer}address = \"10.0.0.2\"\n"), "4: replication.peer[0].address", "host:port"),
        (
            format!("{peer}{address}listen = \"0.0.0.0:5072\"\n"),
            "5: replication.peer[0].listen",
            "private or link-local",
        ),
        (
            format!("{peer}{address}{}{address}", peer.replace("\"r\"", "\"s\"")),
            "7: replication.peer[1].compat",
            "one peer",
        ),
        (
            format!("[replication]\nack = \"peer\"\n{peer}{address}"),
            "2: replication.ack",
            "acknowledges nothing",
        ),
        (
            format!("[replication]\nlisten = \"10.0.0.1:1\"\n{peer}{address}"),
            "2: replication.listen",
            "expected none",
        ),
        (format!("{native}from = \"10.0.0.2\"\n"), "7: replication.peer[0].from", "compat"),
        (format!("{native}insecure = true\n"), "7: replication.peer[0].insecure", "compat"),
        (native.replace("address = \"192.0.2.2:5070\"\n", ""), "4: replication.peer[0].address", "host:port"),
    ] {
        let (code, error) = check(&text)?;
        assert_eq!(code, Some(64), "{text}: {error}");
        assert!(error.contains(&format!("r.toml:{place}: ")) && error.contains(says), "{text}: {error}");
    }
    Ok(())
}
