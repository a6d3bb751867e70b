//! The hash functions of Digest (RFC 7616 §3.4, §6.1; RFC 8760 §2.1).

use std::fmt;

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::digest::Digest as Hasher;
use sha2::{Sha256, Sha512_256};

/// A digest algorithm, under its name in the registry of RFC 7616 §6.1. Configuration may spell it in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum Algorithm {
    /// MD5: not recommended (RFC 8760 §3), yet all that many telephones speak.
    #[serde(rename = "MD5", alias = "md5")]
    Md5,
    /// SHA-256.
    #[serde(rename = "SHA-256", alias = "sha-256")]
    Sha256,
    /// SHA-512/256: SHA-512 with initial values of its own, not SHA-512 cut short (FIPS 180-4 §5.3.6.2).
    #[serde(rename = "SHA-512-256", alias = "sha-512-256")]
    Sha512_256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Md5, Self::Sha256, Self::Sha512_256];

    /// The token on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    /// The algorithm that a token names, in any case; `None` for others and for the `-sess` variants.
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(token))
    }

    /// Octets of a hash: 16 or 32.
    pub const fn hash_bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha256 | Self::Sha512_256 => 32,
        }
    }

    /// H(parts, one after the other).
    pub fn hash(self, parts: &[&[u8]]) -> Digest {
        match self {
            Self::Md5 => Digest::of::<Md5>(parts),
            Self::Sha256 => Digest::of::<Sha256>(parts),
            Self::Sha512_256 => Digest::of::<Sha512_256>(parts),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A hash value, at most 32 octets. It displays as lower-case hexadecimal digits (RFC 8760 §2.2), the form in which one
/// hash enters the next.
#[derive(Clone, Copy)]
pub struct Digest {
    octets: [u8; 32],
    len: usize,
}

impl Digest {
    fn of<H: Hasher>(parts: &[&[u8]]) -> Self {
        let mut hasher = H::new();
        for part in parts {
            hasher.update(part);
        }
        let hash = hasher.finalize();
        let mut octets = [0; 32];
        octets.iter_mut().zip(hash.iter()).for_each(|(to, from)| *to = *from);
        Self { octets, len: hash.len().min(32) }
    }

    /// Reads the hexadecimal digits, of either case, of a hash of this algorithm; `None` for anything else.
    pub fn from_hex(algorithm: Algorithm, text: &str) -> Option<Self> {
        let len = algorithm.hash_bytes();
        if text.len() != 2 * len {
            return None;
        }
        let mut octets = [0; 32];
        for (octet, pair) in octets.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let mut value = 0;
            for digit in pair {
                value = value << 4 | char::from(*digit).to_digit(16)? as u8;
            }
            *octet = value;
        }
        Some(Self { octets, len })
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or(&self.octets)
    }

    /// The hexadecimal digits.
    pub fn to_hex(self) -> Hex {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let mut digits = [b'0'; 64];
        for (pair, octet) in digits.chunks_exact_mut(2).zip(self.as_bytes()) {
            for (digit, nibble) in pair.iter_mut().zip([octet >> 4, octet & 15]) {
                *digit = DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
            }
        }
        Hex { digits, len: 2 * self.len }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A response to a known challenge is enough to try passwords against.
        f.write_str("Digest(..)")
    }
}

/// The hexadecimal digits of a [`Digest`], 32 or 64, in lower case.
#[derive(Clone, Copy)]
pub struct Hex {
    digits: [u8; 64],
    len: usize,
}

impl Hex {
    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }

    /// The digits as octets of ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(..self.len).unwrap_or(&self.digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 1321 §A.5; FIPS 180-4; RFC 8760 §2.6 item 7.
    #[test]
    fn hashes_of_known_text() {
        for (algorithm, text, want) in [
            (Algorithm::Md5, "", "d41d8cd98f00b204e9800998ecf8427e"),
            (Algorithm::Md5, "abc", "900150983cd24fb0d6963f7d28e17f72"),
            (Algorithm::Sha256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (Algorithm::Sha256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                Algorithm::Sha512_256,
                "abc",
                "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23",
            ),
        ] {
            let (a, b) = text.split_at(text.len() / 2);
            let hash = algorithm.hash(&[a.as_bytes(), b.as_bytes()]);
            assert_eq!(hash.to_string(), want, "{algorithm} {text}");
            let read = Digest::from_hex(algorithm, &want.to_uppercase()).expect("digits");
            assert_eq!(read.as_bytes(), hash.as_bytes());
        }
    }

    #[test]
    fn what_are_no_hex_digits() {
        for text in [
            "",
            "d41d8cd98f00b204e9800998ecf8427",
            "d41d8cd98f00b204e9800998ecf8427ee",
            "d41d8cd98f00b204e9800998ecf8427g",
            "+41d8cd98f00b204e9800998ecf8427e",
            "öööööööööööööööö",
        ] {
            assert!(Digest::from_hex(Algorithm::Md5, text).is_none(), "{text}");
        }
    }

    // RFC 8760 §2.7: the names.
    #[test]
    fn names() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_token(&algorithm.as_str().to_lowercase()), Some(algorithm));
            let json = serde_json::to_string(&algorithm).expect("a string");
            assert_eq!(json, format!("{:?}", algorithm.as_str()));
            assert_eq!(serde_json::from_str::<Algorithm>(&json.to_lowercase()).ok(), Some(algorithm));
        }
        for other in ["MD5-sess", "SHA-512", "SHA256", ""] {
            assert_eq!(Algorithm::from_token(other), None);
        }
    }
}
