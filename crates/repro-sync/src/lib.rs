#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used))]

mod backoff;
mod client;
mod contact_key;
mod element;
mod error;
mod event;
mod frame;
mod initial_sync;
mod limits;
mod merge;
mod pubinfo;
mod reginfo;
mod server;
mod stamp;
mod text;
mod tuple;

pub use backoff::Backoff;
pub use client::{ClientOutput, ClientSession, KEEP_ALIVE};
pub use contact_key::{ContactKey, addr_spec};
pub use error::{Closed, ReadError};
pub use event::Event;
pub use frame::{Frame, Framer, Root, Roots};
pub use initial_sync::{REQUEST, Reply, ResultCode, VERSION, requested_version};
pub use limits::Limits;
pub use merge::{Decision, Held, Kept, Offered, Origin, decide};
pub use pubinfo::{Contents, Encryption, IdentityStrength, PubInfo, SignatureStatus};
pub use reginfo::{ContactInfo, RegInfo};
pub use server::{ServerOutput, ServerSession};
pub use stamp::Stamp;
pub use tuple::{TransportType, Tuple};
