//! One Contact value of a REGISTER (RFC 3261 §20.10, RFC 5626 §9).

use std::borrow::Cow;
use std::num::NonZeroU32;

use sip_message::{NameAddr, Scheme, Uri};
use sip_service::Flow;

use crate::config::ONE_HOUR_SECONDS;
use crate::{Config, Error};

/// What a Contact value asks for, its lifetime already chosen.
#[derive(Clone, Debug)]
pub struct Contact<'a> {
    /// The address.
    pub uri: Uri<'a>,
    /// The display name, quotes included; or empty.
    pub display: Cow<'a, str>,
    /// Parameters to keep as they are, each with its `;`; or empty.
    pub params: String,
    /// Preference in thousandths; `None` without `q`.
    pub q_milli: Option<u16>,
    /// The URN in `+sip.instance`, without `<>`.
    pub instance: Option<&'a str>,
    /// `reg-id`; `None` also where it is ignored.
    pub reg_id: Option<NonZeroU32>,
    /// The lifetime granted; zero removes the binding.
    pub lifetime_seconds: u32,
    /// How to reach it, if not by its URI.
    pub flow: Option<Flow>,
}

const HEADER: &str = "Contact";

impl<'a> Contact<'a> {
    /// Reads one value. `expires_header` is the request's Expires in seconds, if it has one.
    ///
    /// # Errors
    /// [`Error::BadRequest`], [`Error::IntervalTooBrief`], [`Error::ForbiddenContact`], [`Error::LimitExceeded`].
    pub fn read(value: &NameAddr<'a>, expires_header: Option<u32>, config: &Config) -> Result<Self, Error> {
        let raw_params = value.params.as_str();
        let length = value.display.len() + value.uri_text.len() + raw_params.len();
        if length > config.contact_bytes_max {
            return Err(Error::LimitExceeded { limit: "contact_bytes_max", max: config.contact_bytes_max });
        }
        let uri = value.uri().map_err(Error::unreadable(HEADER))?;
        // §10.3 step 7: the parameter wins over the header field.
        let requested = value.params.value("expires").map(expires_seconds).or(expires_header);
        let lifetime_seconds = config.lifetime(requested)?;
        let q_milli = value.params.value("q").map(q_milli).transpose()?;
        let instance = value.params.value("+sip.instance").map(instance).transpose()?.flatten();
        // RFC 5626 §6: a reg-id without an instance is ignored.
        let reg_id = value.params.value("reg-id").filter(|_| instance.is_some()).map(reg_id).transpose()?;
        if instance.is_some() && lifetime_seconds > 0 && !uri.is_sip() {
            // RFC 5627 §5.1.
            return Err(Error::ForbiddenContact { expected: "a SIP URI, as it has +sip.instance" });
        }
        Ok(Self {
            uri,
            display: single_line(value.display),
            params: kept_params(raw_params),
            q_milli,
            instance,
            reg_id,
            lifetime_seconds,
            flow: None,
        })
    }

    pub(crate) fn is_sips(&self) -> bool {
        self.uri.scheme() == Scheme::Sips
    }
}

/// `delta-seconds`. What is malformed counts for one hour (§10.2, §20.10); what is beyond 2^32-1 for that.
fn expires_seconds(text: &str) -> u32 {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return ONE_HOUR_SECONDS;
    }
    text.parse().unwrap_or(u32::MAX)
}

/// `qvalue` (§25.1) in thousandths. Digits beyond the third are cut off and a missing leading zero is added, as real
/// phones send both; a value above 1 is refused, for there is no telling what was meant.
fn q_milli(text: &str) -> Result<u16, Error> {
    let bad = || Error::BadRequest { header: HEADER, expected: "q from 0 to 1" };
    let (units, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = (!units.is_empty() || !fraction.is_empty())
        && [units, fraction].iter().all(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    if !is_number {
        return Err(bad());
    }
    let units = match units.trim_start_matches('0') {
        "" => 0,
        "1" => 1000,
        _ => return Err(bad()),
    };
    let places = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    let milli = places.fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    if units + milli > 1000 { Err(bad()) } else { Ok(units + milli) }
}

/// The URN between `<` and `>` (RFC 5626 §4.1); missing brackets are forgiven. `None` if there is nothing in it.
fn instance(text: &str) -> Result<Option<&str>, Error> {
    let urn = text.trim();
    let urn = urn.strip_prefix('<').unwrap_or(urn);
    let urn = urn.strip_suffix('>').unwrap_or(urn);
    // It is written back between quotes and brackets: nothing may end those early.
    if !urn.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'<' | b'>')) {
        return Err(Error::BadRequest { header: HEADER, expected: "a URN in +sip.instance" });
    }
    Ok((!urn.is_empty()).then_some(urn))
}

/// `1*DIGIT`, 1 to 2^31-1 (RFC 5626 §9).
fn reg_id(text: &str) -> Result<NonZeroU32, Error> {
    let number =
        if text.bytes().all(|b| b.is_ascii_digit()) { text.parse::<NonZeroU32>().ok() } else { None };
    number
        .filter(|number| number.get() <= 0x7fff_ffff)
        .ok_or(Error::BadRequest { header: HEADER, expected: "reg-id from 1 to 2147483647" })
}

/// The parameters that mean nothing to us, as they came. Of those left out, some are kept in a form of their own;
/// `pub-gruu` and `temp-gruu` are the registrar's to give and ignored in requests (RFC 5627 §5.1).
fn kept_params(raw: &str) -> String {
    const LEFT_OUT: [&str; 6] = ["q", "expires", "+sip.instance", "reg-id", "pub-gruu", "temp-gruu"];
    let mut kept = String::new();
    for param in split_params(raw) {
        let name = param.split('=').next().unwrap_or(param).trim();
        if !name.is_empty() && !LEFT_OUT.iter().any(|left_out| left_out.eq_ignore_ascii_case(name)) {
            kept.push(';');
            kept.push_str(&single_line(param));
        }
    }
    kept
}

/// Parameters between the semicolons that are outside of quotes.
fn split_params(raw: &str) -> impl Iterator<Item = &str> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.bytes().position(|b| {
            let ends = b == b';' && !quoted;
            match b {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ => {}
            }
            ends
        });
        let (param, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after.get(1..).unwrap_or("");
        Some(param.trim())
    })
}

/// Text with its folds made spaces (§7.3.1), and whatever else would break a line.
pub(crate) fn single_line(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_control()) {
        Cow::Owned(text.chars().map(|c| if c.is_ascii_control() { ' ' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 3261 §20.10: "malformed values SHOULD be treated as equivalent to 3600".
    #[test]
    fn expires_parameters() {
        for (text, seconds) in [
            ("0", 0),
            ("60", 60),
            ("4294967295", u32::MAX),
            ("4294967296", u32::MAX),
            ("99999999999999999999999", u32::MAX),
            ("", 3600),
            ("abc", 3600),
            ("-1", 3600),
            ("+1", 3600),
            ("1.5", 3600),
        ] {
            assert_eq!(expires_seconds(text), seconds, "{text}");
        }
    }

    // RFC 3261 §25.1: qvalue.
    #[test]
    fn q_values() {
        for (text, milli) in [
            ("1", 1000),
            ("1.0", 1000),
            ("1.000", 1000),
            ("0", 0),
            ("0.", 0),
            ("0.5", 500),
            ("0.05", 50),
            ("0.125", 125),
            ("0.9999", 999),
            (".7", 700),
        ] {
            assert_eq!(q_milli(text).unwrap(), milli, "{text}");
        }
        for text in ["", ".", "7", "1.001", "-0.5", "0,5", "abc", "0.5x", "1e-1"] {
            assert!(q_milli(text).is_err(), "{text}");
        }
    }

    // RFC 5626 §9: c-p-reg.
    #[test]
    fn reg_ids() {
        assert_eq!(reg_id("1").unwrap().get(), 1);
        assert_eq!(reg_id("2147483647").unwrap().get(), 2_147_483_647);
        for text in ["", "0", "2147483648", "-1", "+1", "1a", "99999999999999"] {
            assert!(reg_id(text).is_err(), "{text}");
        }
    }

    // RFC 5626 §4.1.
    #[test]
    fn instances() {
        let urn = "urn:uuid:00000000-0000-1000-8000-000A95A0E128";
        assert_eq!(instance(&format!("<{urn}>")).unwrap(), Some(urn));
        assert_eq!(instance(urn).unwrap(), Some(urn));
        assert_eq!(instance("<>").unwrap(), None);
        assert!(instance("<urn:uuid:\\\">").is_err());
        assert!(instance("<urn:a b>").is_err());
    }

    #[test]
    fn parameters_that_are_kept() {
        for (raw, kept) in [
            ("", ""),
            (";q=0.5;expires=60", ""),
            (";Q=0.5 ; foo ;EXPIRES=60; bar=\"a;b\\\";q=1\";reg-id=1", ";foo;bar=\"a;b\\\";q=1\""),
            (";+sip.instance=\"<urn:uuid:x>\";methods=\"INVITE,\r\n BYE\"", ";methods=\"INVITE,   BYE\""),
            (";pub-gruu=\"sip:x\";temp-gruu=\"sip:y\";z", ";z"),
        ] {
            assert_eq!(kept_params(raw), kept, "{raw}");
        }
    }
}
