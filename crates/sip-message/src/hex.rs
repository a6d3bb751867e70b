//! 64 bits as branches, tags and entity-tags show them.

use std::fmt;

/// Displays as 16 lower-case hexadecimal digits, in one write: some stand in every message that we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex(pub u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 16];
        let (high, low) = text.split_at_mut(8);
        high.copy_from_slice(&digits((self.0 >> 32) as u32));
        low.copy_from_slice(&digits(self.0 as u32));
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// All eight digits at once: the nibbles are spread, one to an octet, and then made letters.
const fn digits(number: u32) -> [u8; 8] {
    const ONES: u64 = u64::MAX / 255;
    let mut spread = number as u64;
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & (ONES * 0x0f);
    let letters = (spread + ONES * 6) >> 4 & ONES;
    (spread + ONES * (b'0' as u64) + letters * ((b'a' - b'0' - 10) as u64)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_digits() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            assert_eq!(Hex(number).to_string(), format!("{number:016x}"));
        }
    }
}
