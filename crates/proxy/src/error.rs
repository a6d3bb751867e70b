//! Why a request is not forwarded.

/// Each variant names the status that answers it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 400: a header field that forwarding depends on cannot be read.
    #[error("{header}: expected {expected}")]
    BadRequest {
        /// The header field.
        header: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// 403: neither from nor for a user of ours, nor within a dialog of theirs.
    #[error("relaying forbidden")]
    RelayingForbidden,
    /// 404 (RFC 3261 §21.4.5): no such user in our domain.
    #[error("no such user")]
    NotFound,
    /// 416 (§16.3 step 2).
    #[error("a scheme that is not forwarded")]
    UnsupportedScheme,
    /// 420 with Unsupported (§16.3 step 5).
    #[error("extensions are required of proxies that this one does not have")]
    BadExtension {
        /// The values of Unsupported.
        unsupported: Vec<String>,
    },
    /// 440 (RFC 5393 §5.3.3): Max-Breadth allows no branch.
    #[error("Max-Breadth is used up")]
    MaxBreadthExceeded,
    /// 480 (§21.4.18): the user has no binding.
    #[error("the user is not registered")]
    Unavailable,
    /// 482 (§16.3 step 4, RFC 5393 §4.2).
    #[error("the request came back unchanged")]
    LoopDetected,
    /// 483 (§16.3 step 3).
    #[error("Max-Forwards is used up")]
    TooManyHops,
}
