#![doc = include_str!("../README.md")]

mod answer;
mod client;
mod directory;
mod domains;
mod endpoint;
mod flow;
mod gated;
mod location;
mod metrics;
mod network;
mod server;
mod stripe;

pub use answer::Answer;
pub use client::{ClientFailure, ClientUser, TimerUser};
pub use directory::{Directory, Registrations};
pub use domains::{Domain, Domains};
pub use endpoint::{Endpoint, EndpointConfig, TransactionUser, Unsent};
pub use flow::{Connection, Flow, Hop};
pub use gated::Gated;
pub use location::{Target, TargetSet};
pub use metrics::{DROPPED, DomainRequests, Metrics, REQUESTS, RESPONSES};
pub use network::{LocateError, Network, Unreachable};
pub use server::{Answered, CancelUser, Identity, Rescue, ServerTransaction, SipRequest};
pub use sip_transaction::Due;
pub use stripe::Stripe;
