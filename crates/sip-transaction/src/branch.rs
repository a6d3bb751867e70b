//! The branch parameter of our own Via (RFC 3261 §8.1.1.7, RFC 5393 §4.2).

use std::fmt;

/// Names a client transaction of ours: 64 random bits that stand in its branch. CANCEL and the ACK for a non-2xx share it.
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
    pub fn parse(_text: &str) -> Option<Self> {
        todo!()
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "z9hG4bK{:016x}{:016x}", self.id.0, self.loop_hash)
    }
}
