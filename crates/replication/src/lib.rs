#![doc = include_str!("../README.md")]

mod compact;
mod error;
mod expiry;
mod files;
mod frame;
mod journal;
pub mod metrics;
#[cfg(test)]
mod mutated;
mod options;
mod persistence;
mod record;
mod recover;
mod segments;
mod writer;

pub use compact::Owner;
pub use error::{Error, Unkept};
pub use expiry::{instant_of, unix_ms_of};
pub use files::{Directory, Files, SegmentFile};
pub use journal::{Durable, Journal, Ticket};
pub use metrics::Metrics;
pub use options::Options;
pub use persistence::Persistence;
pub use record::{Change, Kind, Malformed, Reader, Record, put_octets, put_optional, put_text};
pub use recover::Recovery;
