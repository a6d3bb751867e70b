//! The node secret: what nonces and dialog tokens are authenticated with.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// 32 octets that all nodes of a cluster share.
///
/// Everything made under it is an HMAC-SHA-256 over a label and length-prefixed parts, cut to what its use needs: nothing
/// made for one use is good for another.
#[derive(Clone)]
pub struct NodeSecret {
    keyed: Hmac<Sha256>,
}

/// Octets of a dialog token: 80 bits cannot be guessed over a network, and keep Record-Route short.
const TOKEN_OCTETS: usize = 10;

impl NodeSecret {
    /// A secret from octets that were chosen at random.
    pub fn from_bytes(octets: [u8; 32]) -> Self {
        Self { keyed: Hmac::new_from_slice(&octets).expect("HMAC takes keys of any length") }
    }

    /// The token of a dialog that was let through, for the user part of our Record-Route: 20 hexadecimal digits over the
    /// Call-ID and the tag of the side that began it. A request that carries it needs no further proof (RFC 3261 §16.12:
    /// the route set of a dialog stands as long as the dialog).
    pub fn dialog_token(&self, call_id: &str, tag: &str) -> String {
        let mac = self.mac("dialog", &[call_id.as_bytes(), tag.as_bytes()]);
        let mut token = String::with_capacity(2 * TOKEN_OCTETS);
        for octet in mac.iter().take(TOKEN_OCTETS) {
            token.push(digit(octet >> 4));
            token.push(digit(octet & 15));
        }
        token
    }

    /// Whether `token` was made for this dialog by either side's tag. Takes the same time wherever it differs.
    pub fn verify_dialog_token(
        &self,
        token: &str,
        call_id: &str,
        from_tag: &str,
        to_tag: Option<&str>,
    ) -> bool {
        if token.len() != 2 * TOKEN_OCTETS {
            return false;
        }
        let is_of =
            |tag: &str| bool::from(self.dialog_token(call_id, tag).as_bytes().ct_eq(token.as_bytes()));
        is_of(from_tag) | to_tag.is_some_and(is_of)
    }

    /// HMAC-SHA-256 of a label and parts.
    pub(crate) fn mac(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        for part in [label.as_bytes()].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for NodeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeSecret(..)")
    }
}

pub(crate) fn digit(nibble: u8) -> char {
    char::from_digit(nibble.into(), 16).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialog_token_is_good_for_its_dialog_in_both_directions_only() {
        let secret = NodeSecret::from_bytes([7; 32]);
        let token = secret.dialog_token("call@a", "alice-tag");
        assert_eq!(token.len(), 20);
        assert!(secret.verify_dialog_token(&token, "call@a", "alice-tag", None));
        assert!(secret.verify_dialog_token(&token, "call@a", "alice-tag", Some("bob-tag")));
        assert!(secret.verify_dialog_token(&token, "call@a", "bob-tag", Some("alice-tag")));
        assert!(!secret.verify_dialog_token(&token, "call@b", "alice-tag", None));
        assert!(!secret.verify_dialog_token(&token, "call@a", "bob-tag", None));
        assert!(!secret.verify_dialog_token(&token[..19], "call@a", "alice-tag", None));
        assert!(!NodeSecret::from_bytes([8; 32]).verify_dialog_token(&token, "call@a", "alice-tag", None));
    }

    // RFC 4231 §4.2 is about the algorithm; ours adds the lengths, so that parts cannot run into each other.
    #[test]
    fn parts_do_not_run_into_each_other() {
        let secret = NodeSecret::from_bytes([7; 32]);
        assert_ne!(secret.dialog_token("ab", "c"), secret.dialog_token("a", "bc"));
        assert_ne!(secret.mac("x", &[b"y"]), secret.mac("xy", &[b""]));
    }

    #[test]
    fn it_is_not_shown() {
        assert_eq!(format!("{:?}", NodeSecret::from_bytes([7; 32])), "NodeSecret(..)");
    }
}
