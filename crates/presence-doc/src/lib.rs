#![doc = include_str!("../README.md")]

mod choose;
mod compose;
mod contact;
mod document;
mod error;
mod fragment;
mod group;
mod ids;
mod input;
mod instant;
mod names;
mod provenance;
mod read;
mod scan;
mod synthetic;
mod write;

pub use compose::{SKEW_MS, compose, compose_explained};
pub use document::{Document, DocumentLimits};
pub use error::Error;
pub use input::{Composed, Composition, Input, InputKind, UnknownComposition};
pub use provenance::{Element, Provenance};
pub use synthetic::synthetic;
