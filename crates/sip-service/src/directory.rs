//! What features ask of each other without naming each other.

use std::time::Instant;

use sip_message::Aor;

/// Who exists.
pub trait Directory: Send + Sync + 'static {
    /// Whether a user of a domain of ours exists.
    fn exists(&self, aor: &Aor) -> bool;
}

/// Who is registered.
pub trait Registrations: Send + Sync + 'static {
    /// Whether an AOR has a binding that has not expired at `now`.
    fn is_registered(&self, aor: &Aor, now: Instant) -> bool;
}
