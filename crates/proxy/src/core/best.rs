//! The best response (RFC 3261 §16.7 steps 6 and 7).

use sip_message::StatusCode;

use super::{Branch, End, Output};

/// Chooses among branches that have all ended.
pub(super) fn choose(is_invite: bool, was_cancelled: bool, branches: &[Branch]) -> Output {
    let ends = || (0u32..).zip(branches).filter_map(|(branch, b)| Some((branch, b.end?)));
    // RFC 4320 §4.2: a 408 never answers a non-INVITE request, so it is chosen only if there is nothing else.
    let is_barred = |code| !is_invite && code == StatusCode::REQUEST_TIMEOUT;
    let Some((branch, end)) = ends().min_by_key(|(_, end)| (is_barred(end.code), rank(*end))) else {
        // Nothing was forwarded, which only a CANCEL can bring about.
        let code = if was_cancelled { StatusCode::REQUEST_TERMINATED } else { StatusCode::REQUEST_TIMEOUT };
        return if is_barred(code) { Output::Abandon } else { Output::Answer(code) };
    };
    match (end.code, end.is_response) {
        (code, _) if is_barred(code) => Output::Abandon,
        // §16.7 step 6: a 503 says that this server cannot serve, which another server's 503 does not mean.
        (StatusCode::SERVICE_UNAVAILABLE, _) => Output::Answer(StatusCode::SERVER_INTERNAL_ERROR),
        (StatusCode::REQUEST_TIMEOUT, false) if was_cancelled => {
            Output::Answer(StatusCode::REQUEST_TERMINATED)
        }
        // That a flow is gone concerns nobody upstream (RFC 5626 §11.5: endpoints never receive a 430); the callee cannot be
        // reached now.
        (StatusCode::FLOW_FAILED, _) => Output::Answer(StatusCode::TEMPORARILY_UNAVAILABLE),
        (code, false) => Output::Answer(code),
        (code, true) => {
            let challenges = ends()
                .filter(|(other, end)| {
                    is_challenge(code) && *other != branch && end.is_response && is_challenge(end.code)
                })
                .map(|(other, _)| other)
                .collect();
            Output::Final { branch, challenges }
        }
    }
}

/// 401 or 407.
pub(super) fn is_challenge(code: StatusCode) -> bool {
    matches!(code, StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED)
}

/// The lowest is the best. 6xx before all, then the lowest class; within 4xx first what helps the caller to try again
/// with success, last what says nothing of the callee; a response before a failure that counts as one; the first branch.
fn rank(end: End) -> (u8, u8, bool) {
    let class = if end.code.class() == 6 { 0 } else { end.code.class() };
    let within = match end.code.as_u16() {
        401 | 407 => 0,
        402 | 415 | 420 | 484 => 1,
        486 => 2,
        480 => 3,
        482 | 483 | 487 => 5,
        408 | 430 | 503 => 6,
        _ => 4,
    };
    (class, within, !end.is_response)
}
