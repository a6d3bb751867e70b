//! When a record was last changed, and by whom: what orders changes that did not know of each other.

use std::fmt;

/// A reading of the hybrid clock ([`crate::Clock`]): milliseconds since 1970 UTC, about, in the upper 48 bits, a counter in
/// the lower 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The milliseconds.
    pub const fn unix_ms(self) -> u64 {
        self.0 >> 16
    }
}

/// A node, by the checksum of its name; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The node of that name. Two names of a cluster that had one checksum would be refused when it is configured.
    pub fn of(name: &str) -> Self {
        Self(crc32fast::hash(name.as_bytes()).max(1))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The version of a record. Of two changes of one key the greater counts, on every node alike.
///
/// Its node is the record's owner: whoever changed it last acts for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// When.
    pub stamp: Stamp,
    /// By whom.
    pub node: NodeId,
}
