#![doc = include_str!("../README.md")]

mod accept;
mod dialog;
mod error;
mod machine;
mod notify;
mod outcome;
mod persist;
mod policy;
mod state;

pub use accept::accepted;
pub use dialog::Dialog;
pub use error::Error;
pub use machine::{Failure, Input, Output, Outputs, Permission, Subscribe};
pub use notify::{Notify, NotifyBody};
pub use policy::Policy;
pub use state::{Cause, Reason, SubscriptionState};
