//! Contact of a request as a whole (RFC 3261 §10.2.2, §20.10).

use super::NameAddr;

/// The Contact header field.
#[derive(Clone, Debug)]
pub enum ContactList<'a> {
    /// `Contact: *`.
    Star,
    /// The values in order; empty without the header field.
    Contacts(Vec<NameAddr<'a>>),
}
