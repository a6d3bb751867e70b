//! What is kept instead of a password: H(A1) of RFC 7616 §3.4.2.

use std::fmt;

use crate::algorithm::Hex;
use crate::{Algorithm, Digest};

/// H(username ":" realm ":" password) as hexadecimal digits, the form in which it is hashed again. `Debug` does not show
/// it: for its realm it is as good as the password.
#[derive(Clone, Copy)]
pub struct Ha1 {
    algorithm: Algorithm,
    hex: Hex,
}

impl Ha1 {
    /// Computes it. No quotes and no escapes: the strings as they are (RFC 7616 §3.4.5), in UTF-8.
    pub fn new(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> Self {
        let parts = [user.as_bytes(), b":", realm.as_bytes(), b":", password.as_bytes()];
        Self { algorithm, hex: algorithm.hash(&parts).to_hex() }
    }

    /// Reads 32 (MD5) or 64 hexadecimal digits, of either case.
    pub fn from_hex(algorithm: Algorithm, digits: &str) -> Option<Self> {
        Some(Self { algorithm, hex: Digest::from_hex(algorithm, digits)?.to_hex() })
    }

    /// The algorithm that made it.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digits, in lower case.
    pub fn as_hex(&self) -> &str {
        self.hex.as_str()
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ha1({}, ..)", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 2617 §3.5, RFC 7616 §3.9.1.
    #[test]
    fn of_known_users() {
        let ha1 = Ha1::new(Algorithm::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
        assert_eq!(ha1.as_hex(), "939e7578ed9e3c518a452acee763bce9");
        let ha1 = Ha1::new(Algorithm::Sha256, "Mufasa", "http-auth@example.org", "Circle of Life");
        assert_eq!(ha1.as_hex(), "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232");
        assert_eq!(format!("{ha1:?}"), "Ha1(SHA-256, ..)");
    }
}
