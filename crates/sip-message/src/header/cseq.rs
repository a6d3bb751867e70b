//! CSeq (RFC 3261 §20.16).

use crate::Method;
use crate::chars::{self, Cursor, Span};

/// The value of CSeq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The number, below 2^32 (§20.16; below 2^31 when a client follows §8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: Method<'a>,
}

/// Where its parts are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CSeqParts {
    pub(crate) number: u32,
    pub(crate) method: Span,
}

impl CSeqParts {
    pub(crate) fn read(octets: &[u8], span: Span) -> Result<Self, &'static str> {
        let mut cursor = Cursor::new(octets, span.start as usize, span.end as usize);
        cursor.skip_lws();
        let number = cursor.number(u64::from(u32::MAX) + 1).ok_or("a number")?;
        let number = u32::try_from(number).map_err(|_| "a number below 2^32")?;
        if !cursor.peek().is_some_and(chars::is_lws) {
            return Err("a number and a method");
        }
        cursor.skip_lws();
        let method = cursor.take(chars::TOKEN);
        cursor.skip_lws();
        if method.is_empty() || !cursor.is_at_end() {
            return Err("a number and a method");
        }
        Ok(Self { number, method })
    }

    pub(crate) fn view<'a>(&self, octets: &'a [u8]) -> CSeq<'a> {
        CSeq { number: self.number, method: Method::from_token(self.method.text(octets)) }
    }
}
