#![doc = include_str!("../README.md")]

mod agent;
mod bench;
mod network;
mod text;

pub use agent::{Agent, Received};
pub use bench::Bench;
pub use network::{Packet, SimNetwork, Weather};
pub use text::message;
