#![doc = include_str!("../README.md")]

mod answers;
mod config;
mod entity_tag;
mod error;
mod follow;
mod foreign;
mod headers;
mod hop;
mod keep;
mod keys;
pub mod metrics;
mod persist;
mod presence;
mod presentity;
mod publish;
mod scene;
mod service;
mod settings;
mod shard;
mod slots;
mod subscribe;
mod view;
mod watcher;

pub use config::{Config, DomainConfig, InvalidConfig, Watchers};
pub use entity_tag::EntityTag;
pub use error::Error;
pub use foreign::{publication_key, publication_note, publication_value, read_publication_note};
pub use metrics::Metrics;
pub use persist::{PUBLICATION, SUBSCRIPTION, TOLD, read_publication_key};
pub use presence::{Clock, Presence};
pub use presence_doc::Composition;
pub use presentity::{Publication, Retired};
pub use scene::Kept;
pub use service::{Publish, Subscribe};
pub use settings::Settings;
pub use view::{View, view_of};

/// The event package that is served (RFC 3856 §6.1), as it stands in Event and Allow-Events.
pub const PACKAGE: &str = "presence";

/// The one body type of the package (RFC 3856 §6.5, RFC 3863).
pub const PIDF: &str = "application/pidf+xml";
