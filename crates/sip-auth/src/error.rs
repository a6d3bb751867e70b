//! Why a request is not let through.

/// Each variant names the status that answers it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 401 with WWW-Authenticate, or 407 with Proxy-Authenticate (RFC 3261 §22.2, §22.3).
    #[error("credentials are needed")]
    Challenge {
        /// Whether as a proxy: 407.
        proxy: bool,
        /// One value for each algorithm, in the order of preference (RFC 8760 §2.4).
        challenges: Vec<String>,
    },
    /// 403: good credentials, but of another user than From names.
    #[error("the credentials are not those of the user in From")]
    Forbidden,
    /// 400 (RFC 7616 §3.4): credentials that lack a parameter or cannot be read.
    #[error("Digest credentials: expected {expected}")]
    BadCredentials {
        /// What was expected.
        expected: &'static str,
    },
}
