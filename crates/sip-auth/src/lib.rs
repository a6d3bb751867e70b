#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used))]

mod config;
mod credentials;
pub mod digest;
mod error;
mod layer;
mod metrics;
mod nonce;
mod policy;
mod secret;

pub use config::Config;
pub use credentials::{Credentials, Protection};
pub use error::Error;
pub use layer::Auth;
pub use metrics::Metrics;
pub use nonce::{NonceUse, Nonces};
pub use policy::{Policy, Served};
pub use provisioning::Algorithm;
pub use secret::NodeSecret;
