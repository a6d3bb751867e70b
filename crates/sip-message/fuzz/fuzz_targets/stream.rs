//! A stream cut anywhere: it never panics and never holds more than a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip_message::{Limits, StreamFramer};

fuzz_target!(|input: (u8, &[u8])| {
    let (size, octets) = input;
    let limits = Limits::default();
    let mut framer = StreamFramer::default();
    for chunk in octets.chunks(usize::from(size).max(1)) {
        framer.push(chunk);
        while let Ok(Some(_)) = framer.next(&limits) {}
        assert!(framer.pending_bytes() <= limits.message_bytes_max + chunk.len());
    }
});
