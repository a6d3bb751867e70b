//! NOTIFY requests (RFC 6665 §4.2.2; RFC 3261 §12.2.1.1 for what a dialog gives).

use std::fmt::{self, Display};

use bytes::Bytes;
use sip_message::{HeaderName, Method, RequestBuilder, Uri};

use crate::dialog::{is_loose, route_uri};
use crate::{Dialog, SubscriptionState};

/// One NOTIFY to be sent, and from now on in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Its CSeq number.
    pub cseq: u32,
    /// Its Subscription-State.
    pub state: SubscriptionState,
    /// The version of the resource's state that it carries; the owner has it at hand.
    pub version: u64,
    /// Whether it carries the state: not while permission is pending, and not when the subscription ended for a reason
    /// other than the watcher's own SUBSCRIBE.
    pub with_state: bool,
    /// Whether a change of state is its cause, rather than a SUBSCRIBE, a permission or an end.
    pub is_change: bool,
    /// Which subscription of the dialog it belongs to.
    pub(crate) subscription: usize,
}

/// The body of a NOTIFY.
#[derive(Clone, Copy, Debug)]
pub struct NotifyBody<'a> {
    /// Its media type.
    pub content_type: &'a str,
    /// Its octets.
    pub octets: &'a [u8],
}

impl Dialog {
    /// Writes a NOTIFY that [`Dialog::handle`] has just put out.
    ///
    /// `via` is the value of the Via header field. A body is written if the NOTIFY is to carry the state and there is one.
    pub fn render(&self, notify: &Notify, via: impl Display, body: Option<NotifyBody<'_>>) -> Bytes {
        // RFC 3261 §12.2.1.1: a strict router gets the request under its own URI, the remote target comes last.
        let (request_uri, routes, last) = match self.route_set.split_first() {
            Some((first, rest)) if !is_loose(first) => {
                (plain(route_uri(first)), rest, Some(&*self.remote_target))
            }
            _ => (plain(&self.remote_target), &*self.route_set, None),
        };
        let mut request = RequestBuilder::new(Method::Notify, &request_uri)
            .header(HeaderName::Via, via)
            .header(HeaderName::MaxForwards, 70)
            .header(HeaderName::From, &self.local)
            .header(HeaderName::To, &self.remote)
            .header(HeaderName::CallId, &self.call_id)
            .header(HeaderName::CSeq, format_args!("{} NOTIFY", notify.cseq));
        for route in routes {
            request = request.header(HeaderName::Route, route);
        }
        if let Some(target) = last {
            request = request.header(HeaderName::Route, format_args!("<{target}>"));
        }
        let id = self.subscriptions.get(notify.subscription).and_then(|s| s.id.as_deref());
        request = request
            .header(HeaderName::Contact, &self.contact)
            .header(HeaderName::Event, Event { package: self.package, id })
            .header(HeaderName::SubscriptionState, notify.state);
        match body.filter(|_| notify.with_state) {
            Some(body) => request.body(body.content_type, body.octets),
            None => request.finish(),
        }
    }

    /// About how many octets a NOTIFY with such a body has, at least: what decides between UDP and TCP (RFC 3261 §18.1.1).
    pub fn rendered_bytes(&self, body_bytes: usize) -> usize {
        const FIXED: usize = 330; // names, Via, CSeq, Max-Forwards, Subscription-State, line ends
        let routes: usize = self.route_set.iter().map(|r| r.len() + 9).sum();
        FIXED
            + self.call_id.len()
            + self.local.len()
            + self.remote.len()
            + self.remote_target.len()
            + self.contact.len()
            + routes
            + body_bytes
    }
}

/// A URI fit to be a Request-URI: a `method` parameter and headers are not allowed there (RFC 3261 §19.1.5).
fn plain(uri: &str) -> std::borrow::Cow<'_, str> {
    let without_headers = uri.split_once('?').map_or(uri, |(before, _)| before);
    let has_method = Uri::parse(without_headers.as_bytes()).is_ok_and(|uri| uri.param("method").is_some());
    if !has_method {
        return without_headers.into();
    }
    // Parameters come after the host, and a user part may hold ';' too.
    let host = without_headers.rfind('@').map_or(0, |at| at + 1);
    let (user, rest) = without_headers.split_at(host);
    let kept: Vec<&str> = rest.split(';').filter(|p| !is_method(p)).collect();
    format!("{user}{}", kept.join(";")).into()
}

fn is_method(parameter: &str) -> bool {
    parameter.split('=').next().is_some_and(|name| name.eq_ignore_ascii_case("method"))
}

/// The Event header field (RFC 6665 §8.2.1): a subscription's `id` stands in all of its NOTIFYs (§4.5.2).
struct Event<'a> {
    package: &'a str,
    id: Option<&'a str>,
}

impl Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.package)?;
        match self.id {
            Some(id) => write!(f, ";id={id}"),
            None => Ok(()),
        }
    }
}
