//! What is checked: as things happen, and at the end.

pub(crate) mod finale;
pub(crate) mod stream;
