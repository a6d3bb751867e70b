//! What must be true of a request before it is forwarded (RFC 3261 §16.3), and where it says it goes (§16.4).

use std::hash::{DefaultHasher, Hash, Hasher};

use sip_auth::NodeSecret;
use sip_message::{HeaderName, Message, NameAddr, Request, Scheme, Uri, Via};
use sip_service::Domains;
use sip_transaction::Branch;

use crate::{Config, Error};

/// A request after validation and route preprocessing.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// The Request-URI that counts.
    pub(crate) uri: Box<str>,
    /// Whether it differs from what stands in the request (§16.4, a strict router before us).
    pub(crate) uri_was_replaced: bool,
    /// Values to take from the front of Route: ours.
    pub(crate) routes_popped: usize,
    /// The URI of the first Route that is not ours: the next hop.
    pub(crate) next_route: Option<Box<str>>,
    /// A Route of ours proves that the dialog was let through before.
    pub(crate) has_dialog_token: bool,
    /// Max-Forwards of the copy.
    pub(crate) max_forwards: u32,
    /// RFC 5393 §4.2: what detects that the request comes back.
    pub(crate) loop_hash: u64,
    /// Max-Breadth, at least 1 (RFC 5393 §5.3.3).
    pub(crate) max_breadth: u32,
}

impl Incoming {
    pub(crate) fn read(
        request: &Request,
        config: &Config,
        domains: &Domains,
        secret: &NodeSecret,
    ) -> Result<Self, Error> {
        // §16.3 step 3; a request without Max-Forwards passes.
        let max_forwards = match request.number(HeaderName::MaxForwards) {
            None => u32::from(config.max_forwards),
            Some(Ok(0)) => return Err(Error::TooManyHops),
            Some(Ok(hops)) => hops - 1,
            Some(Err(_)) => return Err(bad("Max-Forwards", "a number from 0 to 255")),
        };
        // Step 4.
        let loop_hash = loop_hash(request);
        if has_been_here(request, loop_hash, domains) {
            return Err(Error::LoopDetected);
        }
        // Step 5: we have no extension that could be required of a proxy.
        let unsupported: Vec<String> = request
            .values(HeaderName::ProxyRequire)
            .map(|tag| String::from_utf8_lossy(tag).into_owned())
            .collect();
        if !unsupported.is_empty() {
            return Err(Error::BadExtension { unsupported });
        }
        let max_breadth = match request.number(HeaderName::MaxBreadth) {
            None => config.max_breadth.max(1),
            Some(Ok(0)) => return Err(Error::MaxBreadthExceeded),
            Some(Ok(breadth)) => breadth,
            Some(Err(_)) => return Err(bad("Max-Breadth", "a number")),
        };
        let routes = routes(request)?;
        let mut incoming = Self {
            uri: request.uri_text().into(),
            uri_was_replaced: false,
            routes_popped: 0,
            next_route: None,
            has_dialog_token: false,
            max_forwards,
            loop_hash,
            max_breadth,
        };
        incoming.preprocess(request, &routes, domains, secret);
        // §16.3 step 2: what a Route leads elsewhere is for the next hop to understand.
        let is_forwarded = Uri::parse(incoming.uri.as_bytes())
            .is_ok_and(|uri| matches!(uri.scheme(), Scheme::Sip | Scheme::Sips | Scheme::Pres | Scheme::Im));
        if !is_forwarded && incoming.next_route.is_none() {
            return Err(Error::UnsupportedScheme);
        }
        Ok(incoming)
    }

    /// §16.4.
    fn preprocess(
        &mut self,
        request: &Request,
        routes: &[NameAddr<'_>],
        domains: &Domains,
        secret: &NodeSecret,
    ) {
        let is_ours = |text: &str| Uri::parse(text.as_bytes()).is_ok_and(|uri| domains.is_ours(&uri));
        let mut routes = routes;
        // A strict router put our Record-Route value into the Request-URI, and the real one last into Route.
        let uri = request.uri();
        if let Some((last, before)) = routes.split_last()
            && domains.is_listener(&uri)
            && (uri.param("lr").is_some() || self.proves(request, &uri, secret))
        {
            self.has_dialog_token |= self.proves(request, &uri, secret);
            self.uri = last.uri_text.into();
            self.uri_was_replaced = true;
            routes = before;
        }
        // Ours are popped: one, or both of a double Record-Route (RFC 5658 §4).
        for route in routes {
            if !is_ours(route.uri_text) {
                self.next_route = Some(route.uri_text.into());
                break;
            }
            if let Ok(uri) = route.uri() {
                self.has_dialog_token |= self.proves(request, &uri, secret);
            }
            self.routes_popped += 1;
        }
    }

    /// Whether a URI of ours carries the token of this dialog.
    fn proves(&self, request: &Request, uri: &Uri<'_>, secret: &NodeSecret) -> bool {
        let from_tag = request.from().tag().unwrap_or("");
        uri.user().is_some_and(|token| {
            secret.verify_dialog_token(token, request.call_id(), from_tag, request.to().tag())
        })
    }

    /// Whether the request goes to somebody of ours, as far as routing alone tells.
    pub(crate) fn is_for_us(&self, domains: &Domains) -> bool {
        self.next_route.is_none() && Uri::parse(self.uri.as_bytes()).is_ok_and(|uri| domains.is_ours(&uri))
    }
}

/// The values of Route.
fn routes(request: &Request) -> Result<Vec<NameAddr<'_>>, Error> {
    request
        .values(HeaderName::Route)
        .map(|value| NameAddr::parse(value, "Route").map_err(|error| bad("Route", error.what)))
        .collect()
}

/// RFC 5393 §4.2.1: a hash over all that decides where the request goes, and over what tells it from others. The method
/// is no part of it, so that CANCEL and ACK have the branch of their INVITE.
fn loop_hash(request: &Request) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.uri_text().hash(&mut hasher);
    for route in request.lines(HeaderName::Route) {
        route.hash(&mut hasher);
    }
    request.from().tag().hash(&mut hasher);
    request.to().tag().hash(&mut hasher);
    request.call_id().hash(&mut hasher);
    request.cseq().number.hash(&mut hasher);
    hasher.finish()
}

/// Whether a Via of ours has that hash: unless a spiral changed something, the request is where it was before. The sent-by
/// must be ours, too: another proxy of this kind writes the same hash when it forwards the request to us unchanged.
fn has_been_here(request: &Message, loop_hash: u64, domains: &Domains) -> bool {
    request.values(HeaderName::Via).filter_map(|value| Via::parse(value).ok()).any(|via| {
        Branch::parse(via.branch()).is_some_and(|branch| branch.loop_hash == loop_hash)
            && domains.is_address(via.host, via.port)
    })
}

pub(crate) fn bad(header: &'static str, expected: &'static str) -> Error {
    Error::BadRequest { header, expected }
}
