//! REGISTER and the location service, as tower services.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use sip_message::{Aor, HeaderName, Reply, Request, Scheme, StatusCode};
use sip_service::{Answer, Answered, Directory, Domains, Identity, SipRequest, TargetSet};
use tower_service::Service;

use crate::date::SipDate;
use crate::{Config, Error, Register, Registered, Store};

/// The extensions that a REGISTER may require (RFC 3261 §10.3 step 2).
const SUPPORTED: [&str; 1] = ["path"];

/// The registrar of the domains that are ours (RFC 3261 §10.3). Authentication stands above it: who is not proved to be
/// anyone is refused.
#[derive(Clone)]
pub struct Registrar {
    store: Arc<Store>,
    config: Arc<Config>,
    domains: Arc<Domains>,
    directory: Arc<dyn Directory>,
    wall_clock: fn() -> SystemTime,
}

impl Registrar {
    /// A registrar over `store`, which outlives it.
    #[allow(clippy::disallowed_methods)] // the shell may look at the clock; decisions are made by `SipRequest::now`
    pub fn new(
        store: Arc<Store>,
        config: Arc<Config>,
        domains: Arc<Domains>,
        directory: Arc<dyn Directory>,
    ) -> Self {
        domains.iter().for_each(|domain| store.metrics().domain(&domain.name));
        Self { store, config, domains, directory, wall_clock: SystemTime::now }
    }

    /// Takes the time of Date header fields from elsewhere than the machine.
    #[must_use]
    pub fn with_wall_clock(self, wall_clock: fn() -> SystemTime) -> Self {
        Self { wall_clock, ..self }
    }

    fn answer(&self, request: &SipRequest) -> Result<(Aor, Registered<Reply>), Error> {
        let message = request.message();
        check_extensions(message)?;
        check_body(message)?;
        let aor = self.address_of_record(message, request.identity.as_ref())?;
        let register = Register::read(message, request.source(), &aor, &self.config)?;
        let registered = self.store.register(request.now, &aor, &register, &self.config, |bindings| {
            // §10.3 step 8.
            let mut reply = request.transaction.reply(StatusCode::OK);
            for binding in bindings.iter() {
                reply = reply.header(HeaderName::Contact, binding.listed(request.now));
            }
            // RFC 3327 §5.3.
            if !register.path.is_empty() {
                reply = reply.copy(message, HeaderName::Path);
            }
            reply
                .header(HeaderName::Supported, SUPPORTED[0])
                .header(HeaderName::Date, SipDate((self.wall_clock)()))
                .finish()
        })?;
        Ok((aor, registered))
    }

    /// §10.3 steps 1, 4 and 5: whose bindings these are, and that the sender may change them.
    fn address_of_record(&self, message: &Request, identity: Option<&Identity>) -> Result<Aor, Error> {
        let request_uri = message.uri();
        let domain = self.domains.of(&request_uri);
        if domain.is_none() && !self.domains.is_listener(&request_uri) {
            return Err(Error::ForeignDomain);
        }
        let to = message.to().uri().map_err(Error::unreadable("To"))?;
        // §10.2: "This address-of-record MUST be a SIP URI or SIPS URI".
        if !matches!(to.scheme(), Scheme::Sip | Scheme::Sips) {
            return Err(Error::BadRequest { header: "To", expected: "a SIP or SIPS URI" });
        }
        // Without a user part it names nobody of the domain.
        let aor = Aor::of(&to).ok_or(Error::NotFound)?;
        // Step 4 comes before step 5: who asks for another's AOR does not learn whether that exists.
        let is_allowed = match identity {
            Some(Identity::User(user)) => *user == aor,
            Some(Identity::TrustedPeer | Identity::Anyone) => true,
            None => false,
        };
        if !is_allowed {
            return Err(Error::Forbidden);
        }
        // A Request-URI that is one of our addresses stands for every domain of ours.
        let to_domain = self.domains.find(aor.domain()).ok_or(Error::ForeignDomain)?;
        if domain.is_some_and(|domain| domain.index != to_domain.index) {
            return Err(Error::ForeignDomain);
        }
        if !self.directory.exists(&aor) {
            return Err(Error::NotFound);
        }
        Ok(aor)
    }
}

impl Service<SipRequest> for Registrar {
    type Response = Answered;
    type Error = Error;
    type Future = Answer<Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(())) // admission was decided above
    }

    fn call(&mut self, request: SipRequest) -> Self::Future {
        let (aor, registered) = match self.answer(&request) {
            Ok(registered) => registered,
            Err(error) => return Answer::now(Err(refused(&self.store, request.message(), error))),
        };
        let Registered { answer: reply, outcome, durable, is_untold } = registered;
        let Some(durable) = durable else {
            self.store.metrics().outcome(outcome);
            return Answer::now(Ok(request.transaction.finish(&reply)));
        };
        // What is acknowledged is kept: the 200 waits for the disk.
        let store = Arc::clone(&self.store);
        Answer::later(async move {
            let kept = durable.await;
            let now = request.now;
            let answered = match kept {
                Ok(()) => {
                    store.metrics().outcome(outcome);
                    Ok(request.transaction.finish(&reply))
                }
                Err(unkept) => Err(refused(&store, request.message(), unkept.into())),
            };
            // The bindings are what they are, even if a failing disk keeps them from being acknowledged.
            if is_untold {
                store.announce(now, &aor);
            }
            answered
        })
    }
}

fn refused(store: &Store, message: &Request, error: Error) -> Error {
    store.metrics().refused(&error);
    tracing::debug!(call_id = message.call_id(), outcome = error.label(), error = %error, "REGISTER refused");
    error
}

/// §10.3 step 2, §8.2.2.3.
fn check_extensions(message: &Request) -> Result<(), Error> {
    let mut unsupported = Vec::new();
    for value in message.values(HeaderName::Require) {
        let tag = std::str::from_utf8(value).ok().filter(|tag| is_token(tag));
        let tag = tag.ok_or(Error::BadRequest { header: "Require", expected: "option tags" })?;
        if !SUPPORTED.iter().any(|supported| supported.eq_ignore_ascii_case(tag)) {
            unsupported.push(tag.to_owned());
        }
    }
    if unsupported.is_empty() { Ok(()) } else { Err(Error::BadExtension { unsupported }) }
}

/// §8.2.3: no body means anything to a registrar, so only one that may be ignored is let pass. A body is not optional
/// unless it says so (§20.11).
fn check_body(message: &Request) -> Result<(), Error> {
    if message.body().is_empty() {
        return Ok(());
    }
    let is_optional = |param: &str| {
        param.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("handling") && value.trim().eq_ignore_ascii_case("optional")
        })
    };
    let disposition = message.text(HeaderName::ContentDisposition).unwrap_or("");
    if disposition.split(';').skip(1).any(is_optional) { Ok(()) } else { Err(Error::UnsupportedBody) }
}

/// `token` (§25.1).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b))
}

/// The location service: what the proxy asks where an AOR is (RFC 3261 §16.5).
#[derive(Clone)]
pub struct Locations {
    store: Arc<Store>,
    directory: Arc<dyn Directory>,
}

impl Locations {
    /// Locations of the bindings in `store`, for the users of `directory`.
    pub fn new(store: Arc<Store>, directory: Arc<dyn Directory>) -> Self {
        Self { store, directory }
    }
}

impl Service<Aor> for Locations {
    type Response = TargetSet;
    type Error = Infallible;
    type Future = Ready<Result<TargetSet, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, aor: Aor) -> Self::Future {
        // Bindings of a user who was deleted since count for nothing.
        let known = self.directory.exists(&aor);
        let targets = if known { self.store.targets(&aor) } else { Vec::new() };
        ready(Ok(TargetSet { known, targets }))
    }
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("config", &self.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for Locations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locations").finish_non_exhaustive()
    }
}
