//! `[proxy]`.

use serde::{Deserialize, Serialize};

/// How requests are forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a callee may ring (RFC 3261 §16.6 step 11 wants more than 180). Default 190.
    pub timer_c_seconds: u32,
    /// Branches of one request alive at once; further targets wait for their turn. Default 16.
    pub branches_max: u32,
    /// The Max-Breadth of a request that has none (RFC 5393 §5.3.3). Default 60.
    pub max_breadth: u32,
    /// Whether we stay in the path of the dialogs that INVITE, SUBSCRIBE and REFER make. Without it, requests within a
    /// dialog go past us, or are asked for credentials. Default true.
    pub record_route: bool,
    /// The Max-Forwards of a request that has none (RFC 3261 §16.6 step 3). Default 70.
    pub max_forwards: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self { timer_c_seconds: 190, branches_max: 16, max_breadth: 60, record_route: true, max_forwards: 70 }
    }
}
