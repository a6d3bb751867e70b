//! The branch parameter of our own Via (RFC 3261 §8.1.1.7, RFC 5393 §4.2).

use std::fmt;

use sip_message::Hex;

const COOKIE: &str = "z9hG4bK";

/// Names a client transaction of ours: 64 random bits that stand in its branch. CANCEL and the ACK for a non-2xx
/// share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(pub u64);

/// A branch of ours: the transaction, and the hash that detects loops (RFC 5393 §4.2: over all that decides where a
/// request goes; 0 where no loop can be). Written `z9hG4bK` and 32 hexadecimal digits; read without case (§7.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The client transaction.
    pub id: ClientId,
    /// RFC 5393 §4.2's second part.
    pub loop_hash: u64,
}

impl Branch {
    /// Reads a branch; `None` if it cannot be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let (cookie, digits) = text.split_at_checked(COOKIE.len())?;
        if !cookie.eq_ignore_ascii_case(COOKIE) || digits.len() != 32 {
            return None;
        }
        // from_str_radix would take a sign.
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let (id, loop_hash) = digits.split_at_checked(16)?;
        Some(Self {
            id: ClientId(u64::from_str_radix(id, 16).ok()?),
            loop_hash: u64::from_str_radix(loop_hash, 16).ok()?,
        })
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COOKIE}{}{}", Hex(self.id.0), Hex(self.loop_hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 3261 §7.3.1: tokens have no case.
    #[test]
    fn a_branch_is_read_in_any_case() {
        let branch = Branch { id: ClientId(0xfeed_0000_0000_0001), loop_hash: 7 };
        let text = branch.to_string();
        assert_eq!(Branch::parse(&text), Some(branch));
        assert_eq!(Branch::parse(&text.to_uppercase()), Some(branch));
        for other in
            ["", "z9hG4bK", "z9hG4bK776asdhds", &text[..38], &format!("{text}0"), &text.replace("fe", "+e")]
        {
            assert_eq!(Branch::parse(other), None, "{other}");
        }
    }
}
