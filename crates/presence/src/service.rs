//! PUBLISH and SUBSCRIBE as tower services.

use std::sync::Arc;
use std::task::{Context, Poll};

use sip_message::{HeaderName, ReplyBuilder, StatusCode};
use sip_service::{Answer, Answered, SipRequest};
use tower_service::Service;

use crate::shard::{Published, Subscribed};
use crate::{Error, Presence};

/// PUBLISH for a user of a domain whose presence is served: the event state compositor of RFC 3903.
#[derive(Clone, Debug)]
pub struct Publish(Arc<Presence>);

/// SUBSCRIBE for such a user, and within the dialogs that come of it: the notifier of RFC 6665, the presence agent of
/// RFC 3856.
#[derive(Clone, Debug)]
pub struct Subscribe(Arc<Presence>);

impl Publish {
    /// The service over a state.
    pub const fn new(presence: Arc<Presence>) -> Self {
        Self(presence)
    }

    fn answer(&self, request: SipRequest) -> Answer<Error> {
        let mut out = Vec::new();
        let published = self.0.publish(&request, &mut out);
        let SipRequest { transaction, now, .. } = request;
        let Published { entity_tag, expires_seconds, durable } = match published {
            Ok(published) => published,
            Err(error) => {
                self.0.send(now, out);
                return Answer::now(Err(error));
            }
        };
        // RFC 3903 §6 step 6: no Record-Route, and a new entity-tag each time, after a removal too (§11.3).
        let reply = transaction
            .reply(StatusCode::OK)
            .header(HeaderName::Expires, expires_seconds)
            .header(HeaderName::SipEtag, entity_tag)
            .finish();
        Arc::clone(&self.0).acknowledge(transaction, now, reply, out, durable)
    }
}

impl Subscribe {
    /// The service over a state.
    pub const fn new(presence: Arc<Presence>) -> Self {
        Self(presence)
    }

    fn answer(&self, request: SipRequest) -> Answer<Error> {
        let mut out = Vec::new();
        let subscribed = self.0.subscribe(&request, &mut out);
        let SipRequest { transaction, now, .. } = request;
        let Subscribed { local_tag, contact, expires_seconds, durable } = match subscribed {
            Ok(subscribed) => subscribed,
            Err(error) => {
                self.0.send(now, out);
                return Answer::now(Err(error));
            }
        };
        let message = transaction.request();
        let (received, rport) = transaction.via_source();
        // RFC 6665 §4.2.1.1: 200, never 202; RFC 3261 §12.1.1: Record-Route, Contact and our tag make the dialog.
        let reply =
            ReplyBuilder::with_source(message, StatusCode::OK, &local_tag.to_string(), received, rport)
                .copy(message, HeaderName::RecordRoute)
                .header(HeaderName::Contact, contact)
                .header(HeaderName::Expires, expires_seconds)
                .finish();
        Arc::clone(&self.0).acknowledge(transaction, now, reply, out, durable)
    }
}

impl Service<SipRequest> for Publish {
    type Response = Answered;
    type Error = Error;
    type Future = Answer<Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(())) // admission is decided in `call`
    }

    fn call(&mut self, request: SipRequest) -> Self::Future {
        self.answer(request)
    }
}

impl Service<SipRequest> for Subscribe {
    type Response = Answered;
    type Error = Error;
    type Future = Answer<Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(())) // admission is decided in `call`
    }

    fn call(&mut self, request: SipRequest) -> Self::Future {
        self.answer(request)
    }
}
