//! Settings, and the lifetime that they give a binding.

use serde::{Deserialize, Serialize};

use crate::Error;

/// `[registrar]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seconds: a shorter lifetime, if it is also shorter than one hour, is refused: 423 with Min-Expires. Default 60.
    pub min_expires_seconds: u32,
    /// Seconds for who asks for no particular lifetime. Default 3600.
    pub default_expires_seconds: u32,
    /// Seconds: a longer lifetime is cut to this. Default 7200.
    pub max_expires_seconds: u32,
    /// Bindings of one AOR; beyond it 403. Default 16.
    pub bindings_per_aor_max: usize,
    /// Contact values in one REGISTER; beyond it 403. Default 16.
    pub contacts_per_request_max: usize,
    /// Octets of one Contact value; beyond it 403. Default 1024.
    pub contact_bytes_max: usize,
    /// Path values of one REGISTER; beyond it 403. Default 8.
    pub path_values_max: usize,
    /// Octets of all Path values of one REGISTER; beyond it 403. Default 2048.
    pub path_bytes_max: usize,
    /// Octets of the Call-ID, which is kept with each binding; beyond it 403. Default 512.
    pub call_id_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_expires_seconds: 60,
            default_expires_seconds: 3600,
            max_expires_seconds: 7200,
            bindings_per_aor_max: 16,
            contacts_per_request_max: 16,
            contact_bytes_max: 1024,
            path_values_max: 8,
            path_bytes_max: 2048,
            call_id_bytes_max: 512,
        }
    }
}

impl Config {
    /// Chooses the lifetime of a binding (RFC 3261 §10.3 step 7).
    ///
    /// `requested` is in seconds, from the Contact's `expires`, else from Expires; `None` if neither came. Returns
    /// seconds, at most `max_expires_seconds`; zero removes the binding.
    ///
    /// # Errors
    /// [`Error::IntervalTooBrief`] (423 with Min-Expires) if 0 < requested < min(3600, `min_expires_seconds`).
    pub fn lifetime(&self, requested: Option<u32>) -> Result<u32, Error> {
        match requested {
            // A default outside the bounds is no fault: it is cut to them.
            None => {
                Ok(self.default_expires_seconds.max(self.min_expires_seconds).min(self.max_expires_seconds))
            }
            Some(seconds)
                if seconds > 0 && seconds < self.min_expires_seconds && seconds < ONE_HOUR_SECONDS =>
            {
                Err(Error::IntervalTooBrief { min_expires_seconds: self.min_expires_seconds })
            }
            Some(seconds) => Ok(seconds.min(self.max_expires_seconds)),
        }
    }
}

/// No interval of an hour or more is too brief (§10.3 step 7); and what a malformed value counts for (§10.2).
pub(crate) const ONE_HOUR_SECONDS: u32 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 3261 §10.3 step 7.
    #[test]
    fn lifetimes() {
        let config = Config { min_expires_seconds: 60, default_expires_seconds: 1800, ..Config::default() };
        let brief = Err(Error::IntervalTooBrief { min_expires_seconds: 60 });
        for (requested, granted) in [
            (None, Ok(1800)),
            (Some(0), Ok(0)),
            (Some(1), brief.clone()),
            (Some(59), brief),
            (Some(60), Ok(60)),
            (Some(7200), Ok(7200)),
            (Some(7201), Ok(7200)),
            (Some(u32::MAX), Ok(7200)),
        ] {
            assert_eq!(config.lifetime(requested), granted, "{requested:?}");
        }
    }

    // RFC 3261 §10.3 step 7: "if and only if … smaller than one hour".
    #[test]
    fn an_hour_is_never_too_brief() {
        let config = Config { min_expires_seconds: 5000, default_expires_seconds: 10, ..Config::default() };
        assert!(config.lifetime(Some(3599)).is_err());
        assert_eq!(config.lifetime(Some(3600)), Ok(3600));
        assert_eq!(config.lifetime(None), Ok(5000));
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert_eq!(toml::from_str::<Config>("min_expires_seconds = 30").unwrap().min_expires_seconds, 30);
        assert!(toml::from_str::<Config>("min_expire_seconds = 30").is_err());
    }
}
