#![doc = include_str!("../README.md")]

mod ack;
mod config;
mod context;
pub mod core;
mod error;
mod forward;
mod incoming;
mod metrics;
mod service;
mod targets;

pub use config::Config;
pub use error::Error;
pub use metrics::Metrics;
pub use service::Proxy;
