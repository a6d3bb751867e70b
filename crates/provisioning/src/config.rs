//! `[[user]]`: a user that stands in the configuration file.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Algorithm;

/// One `[[user]]` block. Its secrets are read but never written: neither `Debug` nor serialization shows them.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// The AOR, `alice@example.test` or `sip:alice@example.test`. Its domain is the realm.
    pub aor: String,
    /// The password in clear text; kept only as HA1.
    #[serde(default, skip_serializing, deserialize_with = "password")]
    pub password: Option<String>,
    /// HA1 instead of the password.
    #[serde(default, skip_serializing)]
    pub ha1: Option<Ha1Config>,
    /// The algorithms that this user may answer with, of those that the domain offers. Default: with a password all, else
    /// those of `ha1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<Vec<Algorithm>>,
}

impl fmt::Debug for UserConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserConfig")
            .field("aor", &self.aor)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// HA1 as hexadecimal digits: `"…"` for MD5, or `{ MD5 = "…", SHA-256 = "…" }`.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1Config(pub BTreeMap<Algorithm, String>);

impl fmt::Debug for Ha1Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Ha1Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Secret("digits in quotes, or a table of them by algorithm")).map(Self)
    }
}

fn password<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let read = deserializer.deserialize_string(Secret("a password in quotes"))?;
    Ok(read.into_values().next())
}

/// Reads a secret: a string (under MD5) or a table of strings. What is neither is refused without being shown, which
/// serde's own message would do (`invalid type: integer 1234`).
struct Secret(&'static str);

impl<'de> Visitor<'de> for Secret {
    type Value = BTreeMap<Algorithm, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(BTreeMap::from([(Algorithm::Md5, text.to_owned())]))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut digits = BTreeMap::new();
        while let Some(algorithm) = map.next_key::<Algorithm>()? {
            let text = map.next_value::<Text>()?;
            if digits.insert(algorithm, text.0).is_some() {
                return Err(A::Error::custom(format_args!("{algorithm} stands here twice")));
            }
        }
        Ok(digits)
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Err(self.refused())
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Err(self.refused())
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Self::Value, E> {
        Err(self.refused())
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Err(self.refused())
    }
}

impl Secret {
    fn refused<E: serde::de::Error>(&self) -> E {
        E::custom(format_args!("expected {}", self.0))
    }
}

/// A string within a table of secrets.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = deserializer.deserialize_string(Secret("digits in quotes"))?;
        Ok(Self(read.into_values().next().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<UserConfig, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn blocks_with_a_password_one_ha1_or_several() {
        let user = read("aor = 'alice@a.test'\npassword = 'wonderland'").expect("a user");
        assert_eq!((user.aor.as_str(), user.password.as_deref()), ("alice@a.test", Some("wonderland")));
        let user = read("aor = 'sip:alice@a.test'\nha1 = '00ff'").expect("a user");
        assert_eq!(user.ha1.map(|h| h.0), Some(BTreeMap::from([(Algorithm::Md5, "00ff".to_owned())])));
        let user = read("aor = 'a@b'\nha1 = { MD5 = '1', sha-256 = '2' }\nalgorithms = ['SHA-256']")
            .expect("a user");
        assert_eq!(
            user.ha1.map(|h| h.0.into_values().collect::<Vec<_>>()),
            Some(vec!["1".to_owned(), "2".to_owned()])
        );
        assert_eq!(user.algorithms, Some(vec![Algorithm::Sha256]));
    }

    #[test]
    fn no_message_shows_a_secret() {
        for (text, expected) in [
            ("aor = 'a@b'\npassword = 4711", "expected a password in quotes"),
            ("aor = 'a@b'\npassword = 47.11", "expected a password in quotes"),
            ("aor = 'a@b'\nha1 = 4711", "expected digits in quotes"),
            ("aor = 'a@b'\nha1 = { MD5 = 4711 }", "expected digits in quotes"),
            ("aor = 'a@b'\nha1 = ['4711']", "expected digits in quotes"),
            ("aor = 'a@b'\nha1 = { SHA1 = '4711' }", "unknown variant `SHA1`, expected one of"),
            ("aor = 'a@b'\npasword = '4711'", "unknown field `pasword`"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.message().contains(expected), "{text}: {}", error.message());
            assert!(!error.message().contains("47"), "{}", error.message());
        }
    }

    #[test]
    fn secrets_are_not_written() {
        let text = "aor = 'a@b'\npassword = 'hidden'\nha1 = { MD5 = 'hidden' }\nalgorithms = ['MD5']";
        let user = read(text).expect("a user");
        let written = [
            format!("{user:?} {:?}", user.ha1),
            toml::to_string(&user).expect("TOML"),
            serde_json::to_string(&user).expect("JSON"),
        ];
        for text in &written {
            assert!(text.contains("a@b") && !text.contains("hidden") && !text.contains("password"), "{text}");
        }
        assert_eq!(written[1], "aor = \"a@b\"\nalgorithms = [\"MD5\"]\n");
    }
}
