#![doc = include_str!("../README.md")]

mod agent;
mod check;
mod clock;
mod disk;
mod faults;
mod link;
mod model;
mod node;
mod port;
mod run;
mod setting;
mod sip;
mod stack;
mod trace;
mod wires;
mod world;

pub use run::{Failure, Report, run};
pub use setting::Setting;
