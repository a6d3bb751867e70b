//! The node secret: made of the secret of the cluster, if there is one, else 32 octets in `node.key` of the data directory,
//! made at the first start.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rand::Rng;
use replication::ClusterSecret;
use sip_auth::NodeSecret;

/// What the node secret is derived under.
const LABEL: &str = "rollcall node secret 1";

/// The secret that all nodes of a cluster make alike.
pub(crate) fn of_cluster(secret: &ClusterSecret) -> NodeSecret {
    NodeSecret::from_bytes(secret.derive(LABEL))
}

/// Reads the secret, or makes one that only the owner can read. Nonces and dialog tokens are made under it, so they
/// stay good over a restart.
pub(crate) fn load_or_make(data_dir: &Path) -> io::Result<NodeSecret> {
    fs::create_dir_all(data_dir)?;
    let path = data_dir.join("node.key");
    match fs::read(&path) {
        Ok(octets) => {
            let octets: [u8; 32] = octets.try_into().map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: expected 32 octets", path.display()))
            })?;
            Ok(NodeSecret::from_bytes(octets))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut octets = [0; 32];
            rand::rng().fill_bytes(&mut octets);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(&octets)?;
            file.sync_all()?;
            Ok(NodeSecret::from_bytes(octets))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = load_or_make(dir.path()).expect("made").dialog_token("call", "tag");
        let again = load_or_make(dir.path()).expect("read").dialog_token("call", "tag");
        assert_eq!(first, again);
        let mode = fs::metadata(dir.path().join("node.key")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn nodes_of_a_cluster_make_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("cluster.key");
        let token = |octets: &[u8]| {
            fs::write(&path, octets).expect("written");
            let secret = ClusterSecret::read(&path).expect("a secret");
            of_cluster(&secret).dialog_token("call", "tag")
        };
        assert_eq!(token(&[1; 32]), token(&[1; 32]));
        assert_ne!(token(&[1; 32]), token(&[2; 32]));
    }

    #[test]
    fn a_damaged_secret_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("node.key"), b"short").expect("written");
        assert_eq!(load_or_make(dir.path()).err().map(|e| e.kind()), Some(io::ErrorKind::InvalidData));
    }
}
