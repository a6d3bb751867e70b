//! Several servers that are one: state is on all of them, one goes on for another, and nothing comes back that was removed.

mod credentials;
mod failure;
mod links;
mod nodes;
mod state;
