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
        LimitExceeded, NotFound, OutOfOrder, Storage, TooManyBindings, UnsupportedBody,
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
        Storage(unkept) => storage(*unkept, transaction),
    }
}

/// What cannot be kept now may be when the disk is well again (RFC 3261 §21.5.4).
fn storage(unkept: replication::Unkept, transaction: &Rescue) -> Reply {
    because(transaction, StatusCode::SERVICE_UNAVAILABLE, unkept)
        .header(HeaderName::RetryAfter, RETRY_AFTER_SECONDS)
        .finish()
}

fn presence(error: &presence::Error, transaction: &Rescue) -> Reply {
    use presence::Error::{
        BadEvent, BadExtension, ConditionFailed, Document, Forbidden, IntervalTooBrief, Malformed,
        MergedRequest, NoBody, NoSubscription, NotAcceptable, NotFound, NothingPublished, OutOfOrder,
        Storage, TooLarge, TooManyPublications, TooManyPublicationsOfAor, TooManySubscriptions,
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
        Storage(unkept) => storage(*unkept, transaction),
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use sip_message::{Request, Transport};
    use sip_service::{EndpointConfig, Flow, SipRequest, TransactionUser};
    use testkit::Bench;

    use super::*;

    /// Refuses every request with the error that it holds.
    #[derive(Default)]
    struct Refuses(Mutex<Option<Error>>);

    impl TransactionUser for Refuses {
        fn on_request(&self, request: SipRequest) {
            let error = self.0.lock().unwrap().take().expect("an error");
            let hold = request.transaction.rescue();
            let reply = rescue(&error, &hold);
            let _answered = hold.finish(&reply);
        }

        fn on_ack(&self, _: Instant, _: Request, _: &Flow) {}
    }

    fn doc_error(text: &str) -> presence_doc::Error {
        let limits =
            presence_doc::DocumentLimits { bytes_max: 100, ..presence_doc::DocumentLimits::default() };
        presence_doc::Document::parse(text.as_bytes(), &limits).expect_err(text)
    }

    /// The status line and the header fields that go with the status.
    fn answer(bench: &mut Bench<Refuses>, branch: u64, error: Error) -> String {
        *bench.user.0.lock().unwrap() = Some(error);
        bench.send(
            "alice",
            &format!(
                "
                 OPTIONS sip:bob@example.test SIP/2.0
                 Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK{branch}
                 Max-Forwards: 70
                 From: <sip:alice@example.test>;tag=1
                 To: <sip:bob@example.test>
                 Call-ID: {branch}
                 CSeq: 1 OPTIONS"
            ),
        );
        bench.run_to(100 * branch);
        let received = bench.take("alice");
        let [response] = &received[..] else { panic!("{} responses", received.len()) };
        let text = String::from_utf8(response.message().bytes().to_vec()).expect("text");
        let plain = ["Via:", "From:", "To:", "Call-ID:", "CSeq:", "Content-Length:"];
        let lines =
            text.lines().filter(|line| !line.is_empty() && !plain.iter().any(|name| line.starts_with(name)));
        lines.collect::<Vec<_>>().join(" | ")
    }

    // RFC 3261 §21 and §20; RFC 3903 §6, §11.3; RFC 6665 §4.2.1.1; RFC 5393 §5.3.3; RFC 7616 §3.3.
    #[test]
    fn every_refusal_has_its_status() {
        let mut bench = Bench::new("example.test", EndpointConfig::default(), |_, _| Refuses::default());
        bench.add_agent("alice", Transport::Udp, "192.0.2.10:5060");
        let challenge = |proxy| sip_auth::Error::Challenge {
            proxy,
            challenges: vec!["Digest a".into(), "Digest b".into()],
        };
        let mut requests = 0;
        let mut check = |error: Error, want: &str| {
            let shown = format!("{error:?}");
            requests += 1;
            assert_eq!(answer(&mut bench, requests, error), format!("SIP/2.0 {want}"), "{shown}");
        };
        use presence::Error as P;
        use proxy::Error as X;
        use registrar::Error as R;
        check(AdmissionError::TooManyRequests.into(), "503 Service Unavailable | Retry-After: 10");
        check(AdmissionError::Draining.into(), "503 Service Unavailable | Retry-After: 10");
        check(
            challenge(false).into(),
            "401 Unauthorized | WWW-Authenticate: Digest a | WWW-Authenticate: Digest b",
        );
        check(
            challenge(true).into(),
            "407 Proxy Authentication Required | Proxy-Authenticate: Digest a | Proxy-Authenticate: Digest b",
        );
        check(sip_auth::Error::Forbidden.into(), "403 Forbidden");
        check(
            sip_auth::Error::BadCredentials { expected: "a nonce" }.into(),
            "400 Bad Request - Digest credentials: expected a nonce",
        );
        check(
            R::BadExtension { unsupported: vec!["a".into(), "b".into()] }.into(),
            "420 Bad Extension | Unsupported: a, b",
        );
        check(R::UnsupportedBody.into(), "415 Unsupported Media Type | Accept: ");
        check(R::Forbidden.into(), "403 Forbidden");
        check(R::ForeignDomain.into(), "404 Not Found");
        check(R::NotFound.into(), "404 Not Found");
        check(
            R::BadRequest { header: "To", expected: "a URI" }.into(),
            "400 Bad Request - To: expected a URI",
        );
        check(R::ForbiddenContact { expected: "x" }.into(), "403 Forbidden - a contact must be x");
        check(
            R::IntervalTooBrief { min_expires_seconds: 60 }.into(),
            "423 Interval Too Brief | Min-Expires: 60",
        );
        check(
            R::OutOfOrder.into(),
            "500 Server Internal Error - CSeq is not higher than that of the binding",
        );
        check(
            R::TooManyBindings { max: 9 }.into(),
            "403 Forbidden - more than 9 bindings of one address-of-record",
        );
        check(R::LimitExceeded { limit: "l", max: 9 }.into(), "403 Forbidden - l is 9");
        check(
            R::Storage(replication::Unkept::Full).into(),
            "503 Service Unavailable - the disk takes no more changes | Retry-After: 10",
        );
        check(
            P::Storage(replication::Unkept::Lost).into(),
            "503 Service Unavailable - a change could not be written to the disk | Retry-After: 10",
        );
        check(
            P::Malformed { header: "Expires", expected: "a number" }.into(),
            "400 Bad Request - Expires: a number is expected",
        );
        check(P::NoBody.into(), "400 Bad Request - an initial publication without body");
        let document = doc_error("<a/>");
        check(P::from(document.clone()).into(), &format!("400 Bad Request - {document}"));
        let large = doc_error(&"x".repeat(101));
        check(P::from(large.clone()).into(), &format!("413 Request Entity Too Large - {large}"));
        check(P::Forbidden { action: "publish" }.into(), "403 Forbidden");
        check(
            P::TooManyPublicationsOfAor { max: 9 }.into(),
            "403 Forbidden - the AOR has 9 live publications",
        );
        check(
            P::TooManySubscriptionsInDialog { max: 9 }.into(),
            "403 Forbidden - the dialog has 9 subscriptions",
        );
        check(P::NotFound.into(), "404 Not Found");
        check(P::NotAcceptable { content_type: "a/b" }.into(), "406 Not Acceptable | Accept: a/b");
        check(P::ConditionFailed.into(), "412 Conditional Request Failed");
        check(P::UnsupportedMediaType { accept: "a/b" }.into(), "415 Unsupported Media Type | Accept: a/b");
        check(
            P::UnsupportedEncoding { accept_encoding: "identity" }.into(),
            "415 Unsupported Media Type | Accept-Encoding: identity",
        );
        check(P::BadExtension { unsupported: "a".into() }.into(), "420 Bad Extension | Unsupported: a");
        check(
            P::IntervalTooBrief { min_expires_seconds: 60 }.into(),
            "423 Interval Too Brief | Min-Expires: 60",
        );
        check(P::NothingPublished.into(), "480 Temporarily Unavailable");
        check(
            P::TooManyWatchers { max: 9, retry_after_seconds: 60 }.into(),
            "480 Temporarily Unavailable | Retry-After: 60",
        );
        check(P::NoSubscription.into(), "481 Call/Transaction Does Not Exist");
        check(P::MergedRequest.into(), "482 Loop Detected");
        check(P::BadEvent { allow_events: "presence" }.into(), "489 Bad Event | Allow-Events: presence");
        check(
            P::OutOfOrder { cseq: 1, last: 2 }.into(),
            "500 Server Internal Error - CSeq 1 is lower than 2",
        );
        check(
            P::TooManyPublications { max: 9, retry_after_seconds: 60 }.into(),
            "503 Service Unavailable | Retry-After: 60",
        );
        check(
            P::TooManySubscriptions { max: 9, retry_after_seconds: 60 }.into(),
            "503 Service Unavailable | Retry-After: 60",
        );
        check(
            X::BadRequest { header: "Route", expected: "a URI" }.into(),
            "400 Bad Request - Route: expected a URI",
        );
        check(X::RelayingForbidden.into(), "403 Forbidden - relaying forbidden");
        check(X::NotFound.into(), "404 Not Found");
        check(X::UnsupportedScheme.into(), "416 Unsupported URI Scheme");
        check(X::BadExtension { unsupported: vec!["a".into()] }.into(), "420 Bad Extension | Unsupported: a");
        check(X::MaxBreadthExceeded.into(), "440 Max-Breadth Exceeded");
        check(X::Unavailable.into(), "480 Temporarily Unavailable");
        check(X::LoopDetected.into(), "482 Loop Detected");
        check(X::TooManyHops.into(), "483 Too Many Hops");
        check(LocalError::MethodNotAllowed.into(), &format!("405 Method Not Allowed | Allow: {ALLOW}"));
        check(LocalError::NotImplemented.into(), &format!("501 Not Implemented | Allow: {ALLOW}"));
        check(LocalError::NoDialog.into(), "481 Call/Transaction Does Not Exist");
        check(LocalError::NoUser.into(), "404 Not Found");
    }
}
