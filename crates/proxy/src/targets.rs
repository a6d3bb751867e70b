//! The target set of a request (RFC 3261 §16.5), and whether we relay to it at all.

use std::convert::Infallible;
use std::future::Ready;

use sip_message::{Aor, Scheme, Uri};
use sip_service::{Domains, Target, TargetSet};
use tower_service::Service;

use crate::Error;
use crate::incoming::{Incoming, bad};

/// Finds the targets.
pub(crate) fn targets<L>(
    incoming: &Incoming,
    is_trusted: bool,
    domains: &Domains,
    locations: &mut L,
) -> Result<Vec<Target>, Error>
where
    L: Service<Aor, Response = TargetSet, Error = Infallible, Future = Ready<Result<TargetSet, Infallible>>>,
{
    // No open relay, whatever Route or To tag the request carries: from somebody of ours, for somebody of ours, or
    // within a dialog that we let through before.
    if !is_trusted && !incoming.has_dialog_token && !incoming.is_for_us(domains) {
        return Err(Error::RelayingForbidden);
    }
    let uri = match Uri::parse(incoming.uri.as_bytes()) {
        Ok(uri) => uri,
        // A Route leads elsewhere: the next hop may understand it.
        Err(_) if incoming.next_route.is_some() => return Ok(vec![the_uri_itself(incoming)]),
        Err(error) => return Err(bad("Request-URI", error.what)),
    };
    // §16.5: with a maddr that is not ours, or a domain that is not ours, the Request-URI is the only target. A Route
    // that is left says where that is.
    let maddr_is_foreign = uri.param("maddr").is_some_and(|maddr| {
        let text = format!("sip:{maddr}:{}", uri.port().unwrap_or(5060));
        !Uri::parse(text.as_bytes()).is_ok_and(|uri| domains.is_ours(&uri))
    });
    if incoming.next_route.is_some() || maddr_is_foreign || !domains.is_ours(&uri) {
        return Ok(vec![the_uri_itself(incoming)]);
    }
    // An address of ours that is no domain has no users, and the server itself is nobody to forward to.
    let aor = Aor::of(&uri).filter(|_| domains.of(&uri).is_some()).ok_or(Error::NotFound)?;
    let Ok(mut found) = locations.call(aor).into_inner();
    if !found.known {
        return Err(Error::NotFound);
    }
    if uri.scheme() == Scheme::Sips {
        // §16.5, RFC 5630 §5.3: a SIPS request reaches SIPS contacts only.
        found.targets.retain(|target| target.uri.get(..5).is_some_and(|s| s.eq_ignore_ascii_case("sips:")));
    }
    if found.targets.is_empty() {
        return Err(Error::Unavailable);
    }
    Ok(found.targets)
}

fn the_uri_itself(incoming: &Incoming) -> Target {
    Target { uri: (&*incoming.uri).into(), q_milli: 1000, path: Vec::new(), flow: None, instance: None }
}
