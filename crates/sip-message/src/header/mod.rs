//! Header fields: their names, and the values that Rollcall reads, one file each.

mod auth;
mod contact;
mod cseq;
mod event;
mod name;
mod name_addr;
mod params;
mod spelling;
mod subscription_state;
mod values;
mod via;

pub use auth::AuthParams;
pub use contact::ContactList;
pub use cseq::CSeq;
pub use event::EventType;
pub use name::HeaderName;
pub use name_addr::NameAddr;
pub use params::Params;
pub(crate) use spelling::read_name;
pub use subscription_state::SubscriptionState;
pub use values::Values;
pub use via::Via;

pub(crate) use cseq::CSeqParts;
pub(crate) use name_addr::NameAddrParts;
pub(crate) use params::Place;
pub(crate) use values::{split_value, value_spans};
pub(crate) use via::ViaParts;
