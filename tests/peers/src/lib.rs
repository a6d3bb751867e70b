#![doc = include_str!("../README.md")]

mod baresip;
mod cable;
pub mod campaign;
mod client;
mod http;
mod message;
mod metrics;
mod ports;
mod process;
mod rollcall;
mod sipp;

pub use baresip::{Account, Baresip};
pub use cable::{Cable, Way};
pub use client::UserAgent;
pub use http::get;
pub use message::Message;
pub use metrics::Metrics;
pub use ports::free_port;
pub use process::Process;
pub use rollcall::{ADMIN_LIMIT, OPEN, Rollcall, binary};
pub use rustix::process::Signal;
pub use sipp::{Finished, Scenario, Sipp};
