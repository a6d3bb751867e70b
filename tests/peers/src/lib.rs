#![doc = include_str!("../README.md")]

mod baresip;
mod cable;
pub mod campaign;
mod client;
mod http;
mod message;
mod metrics;
mod page;
mod ports;
mod process;
mod publish;
mod redis;
mod register;
mod rollcall;
mod sipp;
mod subscribe;

pub use baresip::{Account, Baresip};
pub use cable::{Cable, Way};
pub use client::UserAgent;
pub use http::get;
pub use message::Message;
pub use metrics::Metrics;
pub use page::page;
pub use ports::free_port;
pub use process::Process;
pub use publish::{pidf, publish};
pub use redis::{Redis, RedisCluster, Sentinel};
pub use register::{contacts, register};
pub use rollcall::{ADMIN_LIMIT, OPEN, Rollcall, binary};
pub use rustix::process::Signal;
pub use sipp::{Finished, Scenario, Sipp};
pub use subscribe::{subscribe, told, told_from};
