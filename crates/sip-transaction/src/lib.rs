#![doc = include_str!("../README.md")]

mod branch;
mod client;
mod due;
mod server;
mod slab;
mod timers;
mod wheel;

pub use branch::{Branch, ClientId};
pub use client::{ClientOutput, ClientTransactions};
pub use due::Due;
pub use server::{ServerId, ServerMatch, ServerOutput, ServerTransactions, stripe_of};
pub use timers::Timers;
pub use wheel::Wheel;
