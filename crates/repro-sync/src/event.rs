//! What a listener tells its readers.

use crate::{PubInfo, RegInfo};

/// One change, or one entry of a dump: both look the same on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The contacts of an AOR (§6.4).
    RegInfo(RegInfo),
    /// A publication (§6.5).
    PubInfo(PubInfo),
}

impl Event {
    /// Writes it as repro does.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::RegInfo(info) => info.write(out),
            Self::PubInfo(info) => info.write(out),
        }
    }

    /// Whether it says anything: an AOR without contacts does not, and repro does not send it (§6.4).
    pub(crate) const fn is_worth_sending(&self) -> bool {
        match self {
            Self::RegInfo(info) => !info.contacts.is_empty(),
            Self::PubInfo(_) => true,
        }
    }
}

impl From<RegInfo> for Event {
    fn from(info: RegInfo) -> Self {
        Self::RegInfo(info)
    }
}

impl From<PubInfo> for Event {
    fn from(info: PubInfo) -> Self {
        Self::PubInfo(info)
    }
}
