#![doc = include_str!("../README.md")]

mod cluster;
pub mod config;
mod error;
mod layers;
mod local;
mod metrics;
mod repro;
mod rescue;
mod secret;
mod server;
mod stack;
mod state;
mod steer;
mod storage;
mod worker;

pub use config::{Config, ConfigError, Sources};
pub use error::Error;
pub use layers::AdmissionError;
pub use local::LocalError;
pub use server::{Server, StartError};
