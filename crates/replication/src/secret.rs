//! The secret that the nodes of a cluster share: what proves on a link that a node belongs to it, and what all of them
//! have to make alike.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hkdf::Hkdf;
use sha2::Sha256;

/// Fewer octets could be guessed.
pub const SECRET_BYTES_MIN: usize = 32;
/// More are no secret but a file named by mistake.
pub const SECRET_BYTES_MAX: usize = 64 << 10;

/// A secret file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too short, or far too long.
    #[error("{path}: expected {min} to {max} octets, found {found}", min = SECRET_BYTES_MIN, max = SECRET_BYTES_MAX)]
    Length {
        /// The file.
        path: PathBuf,
        /// Octets without the end of the last line.
        found: usize,
    },
}

/// What the nodes of a cluster share, and nobody else has.
#[derive(Clone)]
pub struct ClusterSecret {
    keyed: Hkdf<Sha256>,
    is_exposed: bool,
}

impl ClusterSecret {
    /// Reads a secret: any octets but the end of the last line, which editors add.
    ///
    /// # Errors
    /// The file cannot be read, or has fewer than [`SECRET_BYTES_MIN`] or more than [`SECRET_BYTES_MAX`] octets.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let named = |source| SecretError::Io { path: path.into(), source };
        let file = File::open(path).map_err(named)?;
        let mode = file.metadata().map_err(named)?.permissions().mode();
        let mut octets = Vec::new();
        file.take(SECRET_BYTES_MAX as u64 + 2).read_to_end(&mut octets).map_err(named)?;
        let secret =
            octets.strip_suffix(b"\n").map_or(&octets[..], |line| line.strip_suffix(b"\r").unwrap_or(line));
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) {
            return Err(SecretError::Length { path: path.into(), found: secret.len() });
        }
        Ok(Self { keyed: Hkdf::new(None, secret), is_exposed: mode & 0o007 != 0 })
    }

    /// Whether users that neither own the file nor are of its group can read or change it.
    pub fn is_exposed(&self) -> bool {
        self.is_exposed
    }

    /// 32 octets for one use, by HKDF-SHA-256 (RFC 5869): those of one label tell nothing of those of another.
    pub fn derive(&self, label: &str) -> [u8; 32] {
        let mut octets = [0; 32];
        self.keyed.expand(label.as_bytes(), &mut octets).expect("HKDF gives up to 8160 octets");
        octets
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(octets: &[u8]) -> Result<ClusterSecret, SecretError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cluster.key");
        fs::write(&path, octets).expect("written");
        ClusterSecret::read(&path)
    }

    #[test]
    fn the_end_of_the_line_is_no_part_of_it() {
        let secret = read(&[b'x'; 32]).expect("a secret").derive("label");
        for end in ["\n", "\r\n"] {
            let same = [&[b'x'; 32], end.as_bytes()].concat();
            assert_eq!(read(&same).expect("a secret").derive("label"), secret);
        }
        assert_ne!(read(&[b'y'; 32]).expect("a secret").derive("label"), secret);
        assert_ne!(read(&[b'x'; 32]).expect("a secret").derive("other"), secret);
    }

    #[test]
    fn what_could_be_guessed_is_refused() {
        let error = read(&[b"x".repeat(31), b"\n".to_vec()].concat()).expect_err("too short").to_string();
        assert!(error.ends_with("cluster.key: expected 32 to 65536 octets, found 31"), "{error}");
        assert!(matches!(read(&vec![0; SECRET_BYTES_MAX + 1]), Err(SecretError::Length { .. })));
        assert!(read(&vec![7; SECRET_BYTES_MAX]).is_ok());
        let missing = ClusterSecret::read(Path::new("/nowhere/cluster.key")).expect_err("missing");
        assert!(missing.to_string().starts_with("/nowhere/cluster.key: "), "{missing}");
    }

    #[test]
    fn others_are_seen_and_nothing_is_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cluster.key");
        fs::write(&path, [7; 40]).expect("written");
        for (mode, is_exposed) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            assert_eq!(ClusterSecret::read(&path).expect("a secret").is_exposed(), is_exposed, "{mode:o}");
        }
        assert_eq!(format!("{:?}", ClusterSecret::read(&path).expect("a secret")), "ClusterSecret(..)");
    }
}
