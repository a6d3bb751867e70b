//! Requests to the server itself (RFC 3261 §8.2, §11): it is no user agent, so it answers OPTIONS and refuses the rest.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use presence::Presence;
use sip_message::{HeaderName, Method, StatusCode};
use sip_service::{Answered, SipRequest};
use tower_service::Service;

use crate::Error;

/// What the server itself understands (§8.2.1, RFC 3903 §7, RFC 6665 §4.4.4): the Allow and Allow-Events of its responses.
pub(crate) const ALLOW: &str = "REGISTER, PUBLISH, SUBSCRIBE, OPTIONS, CANCEL, ACK";
pub(crate) const ALLOW_EVENTS: &str = "presence";

/// Why the server itself refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalError {
    /// A method that we serve for users, not for ourselves (405 with Allow).
    #[error("method not allowed for the server itself")]
    MethodNotAllowed,
    /// A method that we do not know (501).
    #[error("method not implemented")]
    NotImplemented,
    /// A request within a dialog that we do not have (481).
    #[error("no such dialog")]
    NoDialog,
    /// A user part at one of our addresses, which is no domain of ours (404).
    #[error("no such user at this address")]
    NoUser,
}

#[derive(Clone)]
pub(crate) struct Local {
    presence: Arc<Presence>,
}

impl Local {
    /// The dialogs of `presence` are the only ones that the server has.
    pub(crate) fn new(presence: Arc<Presence>) -> Self {
        Self { presence }
    }

    fn answer(&self, request: SipRequest) -> Result<Answered, Error> {
        let message = request.message();
        let in_dialog = message.to().tag().is_some();
        let error = match message.method() {
            // §11.2: a response to OPTIONS is what an INVITE would get, with what we are capable of.
            Method::Options if !in_dialog => {
                let reply = request
                    .transaction
                    .reply(StatusCode::OK)
                    .header(HeaderName::Allow, ALLOW)
                    .header(HeaderName::AllowEvents, ALLOW_EVENTS)
                    .header(HeaderName::Accept, "application/pidf+xml")
                    .header(HeaderName::AcceptEncoding, "identity")
                    .header(HeaderName::AcceptLanguage, "en")
                    .header(HeaderName::Supported, "path")
                    .finish();
                return Ok(request.transaction.finish(&reply));
            }
            _ if in_dialog && self.presence.is_in_dialog(message) => LocalError::MethodNotAllowed,
            _ if in_dialog => LocalError::NoDialog,
            _ if message.uri().user().is_some() => LocalError::NoUser,
            Method::Extension(_) => LocalError::NotImplemented,
            _ => LocalError::MethodNotAllowed,
        };
        Err(error.into())
    }
}

impl Service<SipRequest> for Local {
    type Response = Answered;
    type Error = Error;
    type Future = Ready<Result<Answered, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: SipRequest) -> Self::Future {
        ready(self.answer(request))
    }
}
