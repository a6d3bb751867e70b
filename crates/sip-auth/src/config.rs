//! `[auth]`.

use ipnet::IpNet;
use provisioning::Algorithm;
use serde::{Deserialize, Serialize};

/// Who has to prove who they are, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Digest for everyone who is not a trusted peer. `false`: nobody is challenged, and every user part of a configured
    /// domain exists; for laboratories and trusted networks. Default `true`.
    pub enabled: bool,
    /// The algorithms that are offered, in this order; a domain may have its own. Default `["MD5"]`: RFC 8760 §2.4 wants
    /// the strongest first, but widespread telephones give up on any challenge that is not a single MD5.
    pub algorithms: Vec<Algorithm>,
    /// Seconds that a nonce is good for, at least 1; after them the same credentials get a fresh one with `stale=true`.
    /// Default 300.
    pub nonce_lifetime_seconds: u32,
    /// Networks whose requests are not challenged and may speak for anyone: other proxies, gateways.
    pub trusted_peers: Vec<IpNet>,
    /// Nonces in use whose counts are remembered; beyond it the oldest become stale. At least 1000. Default 100,000.
    pub nonces_tracked_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            algorithms: vec![Algorithm::Md5],
            nonce_lifetime_seconds: 300,
            trusted_peers: Vec::new(),
            nonces_tracked_max: 100_000,
        }
    }
}
