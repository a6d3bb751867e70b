#![doc = include_str!("../README.md")]

mod binding;
mod bindings;
mod config;
mod contact;
mod date;
mod error;
mod foreign;
mod metrics;
mod persist;
mod reach;
mod register;
mod service;
mod store;

pub use binding::Binding;
pub use bindings::{Bindings, Change, Outcome};
pub use config::Config;
pub use contact::Contact;
pub use error::Error;
pub use foreign::{Gone, binding_key, binding_value, gone_note, read_gone};
pub use metrics::{BINDINGS, Metrics, REGISTRATIONS};
pub use persist::{BINDING, aor_of};
pub use register::{Contacts, Register};
pub use service::{Locations, Registrar};
pub use store::{Changes, Registered, Store};
