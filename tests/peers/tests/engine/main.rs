//! Several servers that share an engine: a Redis, or a cluster of them, that goes away and comes back.

mod failure;
mod nodes;
mod secured;
