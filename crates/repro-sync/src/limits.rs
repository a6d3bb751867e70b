//! What a peer can make grow, and how long it is waited for.

use std::time::Duration;

/// Bounds on one connection. What happens when one is reached stands with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of one message that a client reads; beyond it [`Closed::MessageTooLarge`](crate::Closed). repro has no such
    /// bound. Default 1,048,576. Junk has no limit of its own, as none of it is kept.
    pub message_bytes_max: usize,
    /// Octets of one request that a listener reads; beyond it [`Closed::MessageTooLarge`](crate::Closed) before a request was
    /// granted, and junk later. repro's own has 83 without the line end. Default 4,096.
    pub request_bytes_max: usize,
    /// Octets that wait in a listener for a reader; beyond it [`Closed::ReaderTooSlow`](crate::Closed). Default 8,388,608.
    pub queue_bytes_max: usize,
    /// Octets in that queue from which on a dump waits, so that a dump of any size has room and live events still have some.
    /// Default 262,144.
    pub dump_ahead_bytes: usize,
    /// How long a listener waits for a request that it can grant; then [`Closed::NoRequest`](crate::Closed). Default 30 s.
    pub request_timeout: Duration,
    /// How long a client hears nothing, before its dump is complete, until [`Closed::NoReply`](crate::Closed). Default 90 s.
    pub reply_timeout: Duration,
    /// How long a client hears nothing until it sends a keep-alive, and then the next. Default 30 s, as repro does.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 1 << 20,
            request_bytes_max: 4096,
            queue_bytes_max: 8 << 20,
            dump_ahead_bytes: 256 << 10,
            request_timeout: Duration::from_secs(30),
            reply_timeout: Duration::from_secs(90),
            keep_alive: Duration::from_secs(30),
        }
    }
}
