//! Digest credentials, read and checked for completeness (RFC 7616 §3.4, RFC 3261 §22.4).

use provisioning::{Algorithm, Digest};
use sip_message::AuthParams;

use crate::Error;

/// Credentials whose parameters can be used.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// `username`.
    pub username: &'a str,
    /// `realm`.
    pub realm: &'a str,
    /// `uri`.
    pub uri: &'a str,
    /// `nonce`.
    pub nonce: &'a str,
    /// `algorithm`, MD5 if there is none (RFC 7616 §3.4); `None` for one that we do not have.
    pub algorithm: Option<Algorithm>,
    /// What `qop` says.
    pub protection: Protection<'a>,
    /// `response`; `None` if it is no hash of the algorithm.
    pub response: Option<Digest>,
}

/// The quality of protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection<'a> {
    /// No qop: what implementations of RFC 2543 send (RFC 3261 §22.4 item 8).
    Legacy,
    /// `qop=auth`.
    Auth {
        /// `nc`: eight digits as they came.
        nc: &'a str,
        /// Their value, at least 1.
        count: u32,
        /// `cnonce`.
        cnonce: &'a str,
    },
}

impl<'a> Credentials<'a> {
    /// Takes what was parsed as `Digest`.
    ///
    /// # Errors
    /// [`Error::BadCredentials`] for a parameter that is missing or out of range (RFC 7616 §3.4).
    pub fn read(params: &AuthParams<'a>) -> Result<Self, Error> {
        let need = |name, expected| params.value(name).ok_or(Error::BadCredentials { expected });
        let algorithm = params.value("algorithm").map_or(Some(Algorithm::Md5), Algorithm::from_token);
        let protection = match params.value("qop") {
            None => Protection::Legacy,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                let nc = need("nc", "nc with qop")?;
                let is_count = nc.len() == 8 && nc.bytes().all(|b| b.is_ascii_hexdigit());
                let count = u32::from_str_radix(nc, 16).ok().filter(|count| is_count && *count > 0);
                let count = count
                    .ok_or(Error::BadCredentials { expected: "nc of 8 hexadecimal digits, from 00000001" })?;
                Protection::Auth { nc, count, cnonce: need("cnonce", "cnonce with qop")? }
            }
            Some(_) => return Err(Error::BadCredentials { expected: "qop=auth, as was offered" }),
        };
        let response = need("response", "a response")?;
        Ok(Self {
            username: need("username", "a username")?,
            realm: need("realm", "a realm")?,
            uri: need("uri", "a uri")?,
            nonce: need("nonce", "a nonce")?,
            algorithm,
            protection,
            response: algorithm.and_then(|algorithm| Digest::from_hex(algorithm, response)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Protection<'_>, Error> {
        let params = AuthParams::parse(text.as_bytes(), "Authorization").expect("parameters");
        Credentials::read(&params).map(|c| c.protection)
    }

    // RFC 7616 §3.4; RFC 3261 §22.4.
    #[test]
    fn what_must_be_there() {
        let all = "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:r\", response=\"0\"";
        assert_eq!(read(all), Ok(Protection::Legacy));
        let with = |more: &str| read(Box::leak(format!("{all}, {more}").into_boxed_str()));
        assert_eq!(
            with("qop=auth, nc=0000000a, cnonce=\"c\""),
            Ok(Protection::Auth { nc: "0000000a", count: 10, cnonce: "c" })
        );
        assert_eq!(
            with("qop=\"AUTH\", nc=00000001, cnonce=c"),
            Ok(Protection::Auth { nc: "00000001", count: 1, cnonce: "c" })
        );
        for bad in [
            "qop=auth-int, nc=00000001, cnonce=\"c\"",
            "qop=auth, cnonce=\"c\"",
            "qop=auth, nc=00000001",
            "qop=auth, nc=1, cnonce=\"c\"",
            "qop=auth, nc=0000000g, cnonce=\"c\"",
            "qop=auth, nc=+0000001, cnonce=\"c\"",
            "qop=auth, nc=00000000, cnonce=\"c\"",
        ] {
            assert!(matches!(with(bad), Err(Error::BadCredentials { .. })), "{bad}");
        }
        for missing in ["username", "realm", "nonce", "uri", "response"] {
            let text = all.replace(missing, "other");
            assert!(matches!(read(&text), Err(Error::BadCredentials { .. })), "{missing}");
        }
    }
}
