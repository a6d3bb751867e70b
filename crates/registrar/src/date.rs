//! The Date header field (RFC 3261 §20.17), by which phones set their clocks (§10.2.5).

use std::fmt;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::fmt::StdFmtWrite;
use jiff::fmt::rfc2822::DateTimePrinter;

/// A time as `SIP-date`: `Sat, 13 Nov 2010 23:29:00 GMT`.
pub(crate) struct SipDate(pub(crate) SystemTime);

impl fmt::Display for SipDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = Timestamp::try_from(self.0).map_err(|_| fmt::Error)?;
        DateTimePrinter::new().print_timestamp_rfc9110(&timestamp, StdFmtWrite(f)).map_err(|_| fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    // RFC 3261 §20.17: the example.
    #[test]
    fn sip_date() {
        let date = SipDate(UNIX_EPOCH + Duration::from_millis(1_289_690_940_999));
        assert_eq!(date.to_string(), "Sat, 13 Nov 2010 23:29:00 GMT");
        let date = SipDate(UNIX_EPOCH + Duration::from_secs(5 * 86_400));
        assert_eq!(date.to_string(), "Tue, 06 Jan 1970 00:00:00 GMT");
    }
}
