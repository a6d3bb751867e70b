#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used))]

mod algorithm;
mod config;
mod error;
mod ha1;
mod users;

pub use algorithm::{Algorithm, Digest, Hex};
pub use config::{Ha1Config, UserConfig};
pub use error::Error;
pub use ha1::Ha1;
pub use users::{User, Users};
