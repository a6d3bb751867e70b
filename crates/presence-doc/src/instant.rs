//! Timestamps as instants (RFC 3863 §4.1.7, RFC 3339, `xs:dateTime`).

use jiff::civil;
use jiff::tz::TimeZone;

/// Reads an `xs:dateTime` as microseconds since 1970 UTC; digits beyond the microsecond are cut.
///
/// A time without zone is taken as UTC: the schema allows it, RFC 3339 does not. `None` for whatever else does not
/// follow the schema, years of more than four digits included: such a timestamp says nothing.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let mut date = date.split('-');
    let (year, month, day) = (digits(date.next()?, 4)?, digits(date.next()?, 2)?, digits(date.next()?, 2)?);
    if date.next().is_some() {
        return None;
    }
    let (time, offset_minutes) = zone(time)?;
    let (time, micros) = match time.split_once('.') {
        Some((time, fraction)) => (time, micros(fraction)?),
        None => (time, 0),
    };
    let mut time = time.split(':');
    let (hour, minute, second) =
        (digits(time.next()?, 2)?, digits(time.next()?, 2)?, digits(time.next()?, 2)?);
    if time.next().is_some() || hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    // Midnight may be written as the end of the day (XML Schema part 2 §3.2.7), and RFC 3339 §5.6 knows second 60.
    // Both are reached by addition, so that a leap second equals the start of the next minute.
    if hour == 24 && (minute, second, micros) != (0, 0, 0) {
        return None;
    }
    let date = civil::Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()?;
    let midnight = date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond();
    let seconds = i64::from(hour * 3600 + minute * 60 + second) - offset_minutes * 60;
    Some(midnight + seconds * 1_000_000 + micros)
}

/// Whether a text that `parse` accepts names its zone, as RFC 3339 wants it.
pub(crate) fn has_zone(text: &str) -> bool {
    text.split_once('T').is_some_and(|(_, time)| time.contains(['Z', '+', '-']))
}

/// RFC 3339 in whole seconds and UTC, the form that RFC 3863 §4.1.7 recommends.
pub(crate) fn format(unix_ms: i64) -> String {
    let seconds = unix_ms.div_euclid(1000);
    // Only a clock that is thousands of years off is not representable; the epoch is as good as any other answer.
    let instant = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn digits(text: &str, length: usize) -> Option<u32> {
    if text.len() == length && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Splits off the zone; the offset is in minutes east of UTC.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (time, offset) = time.split_at(at);
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    if hours > 14 || minutes > 59 {
        return None;
    }
    let east = i64::from(hours * 60 + minutes);
    Some((time, if offset.starts_with('-') { -east } else { east }))
}

fn micros(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(fraction.bytes().chain(std::iter::repeat(b'0')).take(6).fold(0, |n, b| n * 10 + i64::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_not_strings() {
        // RFC 3863 §4.1.7: one instant in three spellings.
        let noon = parse("2026-01-05T12:00:00Z").expect("valid");
        for same in [
            "2026-01-05T17:00:00+05:00",
            "2026-01-05T12:00:00.000Z",
            "2026-01-05T12:00:00",
            "2026-01-05T06:30:00-05:30",
        ] {
            assert_eq!(parse(same), Some(noon), "{same}");
        }
        assert_eq!(parse("2026-01-05T12:00:00.5Z"), Some(noon + 500_000));
        assert_eq!(parse("2026-01-05T12:00:00.123456789Z"), Some(noon + 123_456));
        assert_eq!(parse("2026-01-05T24:00:00Z"), parse("2026-01-06T00:00:00Z"));
        assert_eq!(parse("2026-01-05T12:00:60Z"), parse("2026-01-05T12:01:00Z"));
        assert_eq!(parse("1970-01-01T00:00:01Z"), Some(1_000_000));
        assert_eq!(parse("1969-12-31T23:59:59Z"), Some(-1_000_000));
    }

    #[test]
    fn what_the_schema_refuses_says_nothing() {
        for bad in [
            "",
            "now",
            "2026-01-05",
            "2026-01-05 12:00:00Z",
            "2026-01-05t12:00:00z",
            "2026-1-5T12:00:00Z",
            "2026-02-30T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-01-05T25:00:00Z",
            "2026-01-05T24:00:01Z",
            "2026-01-05T12:60:00Z",
            "2026-01-05T12:00Z",
            "2026-01-05T12:00:00.Z",
            "2026-01-05T12:00:00+15:00",
            "2026-01-05T12:00:00+0500",
            "2026-01-05T12:00:00+",
            "2026-01-05T12:00:00Z[Europe/Rome]",
            "12026-01-05T12:00:00Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn written_in_utc_and_seconds() {
        assert_eq!(format(1_767_607_200_999), "2026-01-05T10:00:00Z");
        assert_eq!(format(-1), "1969-12-31T23:59:59Z");
        assert_eq!(format(i64::MAX), "1970-01-01T00:00:00Z");
        assert!(has_zone("2026-01-05T12:00:00-05:00") && !has_zone("2026-01-05T12:00:00"));
    }
}
