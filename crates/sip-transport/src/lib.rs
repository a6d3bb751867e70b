#![doc = include_str!("../README.md")]

mod bind;
mod config;
mod error;
mod handler;
mod listener;
mod locate;
mod metrics;
mod routes;
mod tcp;
mod transports;
mod udp;
mod worker;

pub use config::{Config, ListenConfig};
pub use error::Error;
pub use handler::Handler;
pub use metrics::{CONNECTIONS, Metrics};
pub use transports::Transports;
pub use worker::{WorkerSockets, run_worker};
