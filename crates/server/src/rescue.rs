//! Errors as responses: the one place where a status is chosen for what a feature refused (RFC 3261 §21).

use sip_message::{HeaderName, Reply, ReplyBuilder, StatusCode};
use sip_service::Rescue;

use crate::error::Error;
use crate::layers::AdmissionError;
use crate::local::{ALLOW, LocalError};

/// Seconds after which a client that was turned away for load may come again.
const RETRY_AFTER_SECONDS: u32 = 10;

/// The response to a request that was refused.
pub(crate) fn rescue(error: &Error, transaction: &Rescue) -> Reply {
    match error {
        Error::Admission(error) => admission(*error, transaction),
        Error::Auth(error) => auth(error, transaction),
        Error::Registrar(error) => registrar(error, transaction),
        Error::Presence(error) => presence(error, transaction),
        Error::Proxy(error) => proxy(error, transaction),
        Error::Local(error) => local(*error, transaction),
    }
}

/// A response whose reason phrase tells what was wrong, for the codes that have no header field to say it in.
fn because(transaction: &Rescue, code: StatusCode, why: impl std::fmt::Display) -> ReplyBuilder {
    transaction.reply(code).reason(&format!("{} - {why}", code.reason()))
}

fn admission(error: AdmissionError, transaction: &Rescue) -> Reply {
    match error {
        AdmissionError::TooManyRequests | AdmissionError::Draining => transaction
            .reply(StatusCode::SERVICE_UNAVAILABLE)
            .header(HeaderName::RetryAfter, RETRY_AFTER_SECONDS)
            .finish(),
    }
}

fn auth(error: &sip_auth::Error, transaction: &Rescue) -> Reply {
    use sip_auth::Error::{BadCredentials, Challenge, Forbidden};
    match error {
        Challenge { proxy, challenges } => {
            let (code, name) = if *proxy {
                (StatusCode::PROXY_AUTHENTICATION_REQUIRED, HeaderName::ProxyAuthenticate)
            } else {
                (StatusCode::UNAUTHORIZED, HeaderName::WwwAuthenticate)
            };
            challenges.iter().fold(transaction.reply(code), |reply, value| reply.header(name, value)).finish()
        }
        Forbidden => transaction.reply(StatusCode::FORBIDDEN).finish(),
        BadCredentials { .. } => because(transaction, StatusCode::BAD_REQUEST, error).finish(),
    }
}

fn registrar(error: &registrar::Error, transaction: &Rescue) -> Reply {
    use registrar::Error::{
        BadExtension, BadRequest, Forbidden, ForbiddenContact, ForeignDomain, IntervalTooBrief,
        LimitExceeded, NotFound, OutOfOrder, TooManyBindings, UnsupportedBody,
    };
    match error {
        BadExtension { unsupported } => transaction
            .reply(StatusCode::BAD_EXTENSION)
            .header(HeaderName::Unsupported, unsupported.join(", "))
            .finish(),
        UnsupportedBody => {
            transaction.reply(StatusCode::UNSUPPORTED_MEDIA_TYPE).header(HeaderName::Accept, "").finish()
        }
        Forbidden => transaction.reply(StatusCode::FORBIDDEN).finish(),
        ForbiddenContact { .. } | TooManyBindings { .. } | LimitExceeded { .. } => {
            because(transaction, StatusCode::FORBIDDEN, error).finish()
        }
        ForeignDomain | NotFound => transaction.reply(StatusCode::NOT_FOUND).finish(),
        BadRequest { .. } => because(transaction, StatusCode::BAD_REQUEST, error).finish(),
        IntervalTooBrief { min_expires_seconds } => transaction
            .reply(StatusCode::INTERVAL_TOO_BRIEF)
            .header(HeaderName::MinExpires, min_expires_seconds)
            .finish(),
        OutOfOrder => because(transaction, StatusCode::SERVER_INTERNAL_ERROR, error).finish(),
    }
}

fn presence(error: &presence::Error, transaction: &Rescue) -> Reply {
    use presence::Error::{
        BadEvent, BadExtension, ConditionFailed, Document, Forbidden, IntervalTooBrief, Malformed,
        MergedRequest, NoBody, NoSubscription, NotAcceptable, NotFound, NothingPublished, OutOfOrder,
        TooLarge, TooManyPublications, TooManyPublicationsOfAor, TooManySubscriptions,
        TooManySubscriptionsInDialog, TooManyWatchers, UnsupportedEncoding, UnsupportedMediaType,
    };
    match error {
        Malformed { .. } | NoBody | Document(_) => {
            because(transaction, StatusCode::BAD_REQUEST, error).finish()
        }
        TooLarge(_) => because(transaction, StatusCode::REQUEST_ENTITY_TOO_LARGE, error).finish(),
        Forbidden { .. } => transaction.reply(StatusCode::FORBIDDEN).finish(),
        TooManyPublicationsOfAor { .. } | TooManySubscriptionsInDialog { .. } => {
            because(transaction, StatusCode::FORBIDDEN, error).finish()
        }
        NotFound => transaction.reply(StatusCode::NOT_FOUND).finish(),
        NotAcceptable { content_type } => {
            transaction.reply(StatusCode::NOT_ACCEPTABLE).header(HeaderName::Accept, content_type).finish()
        }
        ConditionFailed => transaction.reply(StatusCode::CONDITIONAL_REQUEST_FAILED).finish(),
        UnsupportedMediaType { accept } => {
            transaction.reply(StatusCode::UNSUPPORTED_MEDIA_TYPE).header(HeaderName::Accept, accept).finish()
        }
        UnsupportedEncoding { accept_encoding } => transaction
            .reply(StatusCode::UNSUPPORTED_MEDIA_TYPE)
            .header(HeaderName::AcceptEncoding, accept_encoding)
            .finish(),
        BadExtension { unsupported } => {
            transaction.reply(StatusCode::BAD_EXTENSION).header(HeaderName::Unsupported, unsupported).finish()
        }
        IntervalTooBrief { min_expires_seconds } => transaction
            .reply(StatusCode::INTERVAL_TOO_BRIEF)
            .header(HeaderName::MinExpires, min_expires_seconds)
            .finish(),
        NothingPublished => transaction.reply(StatusCode::TEMPORARILY_UNAVAILABLE).finish(),
        TooManyWatchers { retry_after_seconds, .. } => transaction
            .reply(StatusCode::TEMPORARILY_UNAVAILABLE)
            .header(HeaderName::RetryAfter, retry_after_seconds)
            .finish(),
        NoSubscription => transaction.reply(StatusCode::CALL_DOES_NOT_EXIST).finish(),
        MergedRequest => transaction.reply(StatusCode::LOOP_DETECTED).finish(),
        BadEvent { allow_events } => {
            transaction.reply(StatusCode::BAD_EVENT).header(HeaderName::AllowEvents, allow_events).finish()
        }
        OutOfOrder { .. } => because(transaction, StatusCode::SERVER_INTERNAL_ERROR, error).finish(),
        TooManyPublications { retry_after_seconds, .. }
        | TooManySubscriptions { retry_after_seconds, .. } => transaction
            .reply(StatusCode::SERVICE_UNAVAILABLE)
            .header(HeaderName::RetryAfter, retry_after_seconds)
            .finish(),
    }
}

fn proxy(error: &proxy::Error, transaction: &Rescue) -> Reply {
    use proxy::Error::{
        BadExtension, BadRequest, LoopDetected, MaxBreadthExceeded, NotFound, RelayingForbidden, TooManyHops,
        Unavailable, UnsupportedScheme,
    };
    match error {
        BadRequest { .. } => because(transaction, StatusCode::BAD_REQUEST, error).finish(),
        RelayingForbidden => because(transaction, StatusCode::FORBIDDEN, error).finish(),
        NotFound => transaction.reply(StatusCode::NOT_FOUND).finish(),
        UnsupportedScheme => transaction.reply(StatusCode::UNSUPPORTED_URI_SCHEME).finish(),
        BadExtension { unsupported } => transaction
            .reply(StatusCode::BAD_EXTENSION)
            .header(HeaderName::Unsupported, unsupported.join(", "))
            .finish(),
        MaxBreadthExceeded => transaction.reply(StatusCode::MAX_BREADTH_EXCEEDED).finish(),
        Unavailable => transaction.reply(StatusCode::TEMPORARILY_UNAVAILABLE).finish(),
        LoopDetected => transaction.reply(StatusCode::LOOP_DETECTED).finish(),
        TooManyHops => transaction.reply(StatusCode::TOO_MANY_HOPS).finish(),
    }
}

fn local(error: LocalError, transaction: &Rescue) -> Reply {
    match error {
        LocalError::MethodNotAllowed => {
            transaction.reply(StatusCode::METHOD_NOT_ALLOWED).header(HeaderName::Allow, ALLOW).finish()
        }
        LocalError::NotImplemented => {
            transaction.reply(StatusCode::NOT_IMPLEMENTED).header(HeaderName::Allow, ALLOW).finish()
        }
        LocalError::NoDialog => transaction.reply(StatusCode::CALL_DOES_NOT_EXIST).finish(),
        LocalError::NoUser => transaction.reply(StatusCode::NOT_FOUND).finish(),
    }
}
