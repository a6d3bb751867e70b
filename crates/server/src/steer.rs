//! Which service a request is for: by domain, method and event.

use std::future::Ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use presence::{Publish, Subscribe};
use proxy::Proxy;
use registrar::{Locations, Registrar};
use sip_message::{Aor, EventType, HeaderName, Method, NameAddr, Request};
use sip_service::{Answer, Answered, Domains, Registrations, SipRequest};
use tower_service::Service;

use crate::Error;
use crate::local::Local;

/// The services at the bottom of the stack.
#[derive(Clone)]
pub(crate) struct Steer {
    pub(crate) domains: Arc<Domains>,
    pub(crate) registrations: Arc<dyn Registrations>,
    pub(crate) registrar: Registrar,
    pub(crate) publish: Publish,
    pub(crate) subscribe: Subscribe,
    pub(crate) proxy: Proxy<Locations>,
    pub(crate) local: Local,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Registrar,
    Publish,
    Subscribe,
    Proxy,
    Local,
}

/// Chooses by what the request says alone, so that authentication and steering cannot disagree.
pub(crate) fn destination(request: &Request, domains: &Domains) -> Destination {
    let uri = request.uri();
    // A Route that is not ours leads elsewhere, whatever the Request-URI names (RFC 3261 §16.6 step 6).
    if !uri.is_sip() && Aor::of(&uri).is_none() || leads_elsewhere(request, domains) {
        return Destination::Proxy;
    }
    let domain = domains.of(&uri);
    let is_listener = domain.is_none() && domains.is_listener(&uri);
    let has_user = uri.user().is_some();
    let in_dialog = request.to().tag().is_some();
    match (request.method(), domain) {
        (Method::Register, Some(_)) => Destination::Registrar,
        (Method::Register, None) if is_listener && !has_user => Destination::Registrar,
        (Method::Publish, Some(domain)) if has_user && domain.presence => Destination::Publish,
        // Some watchers keep the AOR as Request-URI within the dialog: of presence it can be with us alone.
        (Method::Subscribe, Some(domain))
            if has_user && domain.presence && (!in_dialog || package(request) == Some("presence")) =>
        {
            Destination::Subscribe
        }
        // Within a dialog of ours the Request-URI is our own Contact (RFC 3261 §12.2.1.1).
        (Method::Subscribe, None) if is_listener && has_user && in_dialog => Destination::Subscribe,
        (_, Some(_)) if has_user => Destination::Proxy,
        (_, None) if !is_listener => Destination::Proxy,
        _ => Destination::Local,
    }
}

/// The package that its Event names, if that can be read.
fn package(request: &Request) -> Option<&str> {
    request
        .header(HeaderName::Event)
        .and_then(|value| EventType::parse(value).ok())
        .map(|event| event.package)
}

fn leads_elsewhere(request: &Request, domains: &Domains) -> bool {
    request.values(HeaderName::Route).any(|value| {
        let ours = NameAddr::parse(value, "Route").and_then(|route| Ok(domains.is_ours(&route.uri()?)));
        // What cannot be read is the proxy's to refuse.
        !ours.unwrap_or(false)
    })
}

impl Steer {
    /// A SUBSCRIBE for a package that we do not serve goes to the user's devices, which may (RFC 4235 BLF, RFC 3842);
    /// with no device, we answer for the domain: 489 with the packages that we do serve (RFC 6665 §4.2.1.1).
    fn is_for_devices(&self, request: &SipRequest) -> bool {
        let message = request.message();
        package(message).is_some_and(|package| package != "presence")
            && Aor::of(&message.uri()).is_some_and(|aor| self.registrations.is_registered(&aor, request.now))
    }
}

impl Service<SipRequest> for Steer {
    type Response = Answered;
    type Error = Error;
    type Future = Answer<Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(())) // every service is always ready: admission is decided in `call`
    }

    fn call(&mut self, request: SipRequest) -> Self::Future {
        match destination(request.message(), &self.domains) {
            Destination::Registrar => self.registrar.call(request).map_err(),
            Destination::Publish => self.publish.call(request).map_err(),
            Destination::Subscribe if self.is_for_devices(&request) => at_once(self.proxy.call(request)),
            Destination::Subscribe => self.subscribe.call(request).map_err(),
            Destination::Proxy => at_once(self.proxy.call(request)),
            Destination::Local => at_once(self.local.call(request)),
        }
    }
}

/// The answer of a feature that never waits, with its error as one of ours.
fn at_once<E: Into<Error>>(answer: Ready<Result<Answered, E>>) -> Answer<Error> {
    Answer::now(answer.into_inner().map_err(Into::into))
}
