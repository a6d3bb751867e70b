//! What a peer can make grow, and how far.

/// Bounds on one message. Reached: the message is refused with the status named, and nothing else is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a whole message; beyond it 513 (datagram) or a closed connection (stream). Default 65,535, 4,294,967,295 at most.
    pub message_bytes_max: usize,
    /// Header field lines, up to 65,534; beyond it 400. Default 256.
    pub header_fields_max: usize,
    /// Octets of one header field line with its folds; beyond it 400. Default 16,384.
    pub header_field_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_bytes_max: 65_535, header_fields_max: 256, header_field_bytes_max: 16_384 }
    }
}
