#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used))]

mod aor;
mod build;
mod chars;
mod edit;
mod error;
mod frame;
mod header;
mod hex;
mod index;
mod limits;
mod message;
mod method;
mod scan;
mod status;
mod transport;
mod uri;

pub use aor::Aor;
pub use build::{Reply, ReplyBuilder, RequestBuilder};
pub use edit::Edit;
pub use error::{Malformed, ParseError};
pub use frame::{Framed, StreamFramer};
pub use header::{
    AuthParams, CSeq, ContactList, EventType, HeaderName, NameAddr, Params, SubscriptionState, Values, Via,
};
pub use hex::Hex;
pub use limits::Limits;
pub use message::{HeaderField, Message, Request, Response};
pub use method::Method;
pub use status::StatusCode;
pub use transport::Transport;
pub use uri::{Scheme, Uri};
