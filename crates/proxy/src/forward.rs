//! The copy that goes to a target (RFC 3261 §16.6).

use bytes::Bytes;
use sip_auth::NodeSecret;
use sip_message::{AuthParams, Edit, HeaderName, Method, NameAddr, Request, Transport, Uri};
use sip_service::{Domains, Flow, Hop, LocateError, Network, Target};
use sip_transaction::Branch;

use crate::incoming::Incoming;

/// What all copies of one request have in common.
pub(crate) struct Copy<'a> {
    pub(crate) request: &'a Request,
    pub(crate) incoming: &'a Incoming,
    pub(crate) source: &'a Flow,
    pub(crate) via_source: (Option<std::net::IpAddr>, Option<u16>),
    pub(crate) domains: &'a Domains,
    pub(crate) secret: &'a NodeSecret,
    pub(crate) network: &'a dyn Network,
    pub(crate) record_route: bool,
}

/// Room that Via, Record-Route and Path add: what decides, before they are written, whether a copy still fits a datagram.
const ADDED_OCTETS: usize = 300;

impl Copy<'_> {
    /// §16.6 step 7: the next hop is the first Route, else the Request-URI; a flow of the binding, if it lives, needs no
    /// location.
    pub(crate) fn locate(&self, target: &Target) -> Result<Hop, LocateError> {
        let route = self.first_route(target);
        if route.is_none()
            && let Some(flow) = target.flow.filter(|flow| self.network.is_alive(flow))
        {
            return Ok(Hop { flow, sent_by: self.network.sent_by(&flow) });
        }
        let next = route.unwrap_or(&target.uri);
        let uri = Uri::parse(next.as_bytes()).map_err(|_| LocateError::Scheme)?;
        self.network.locate(&uri, self.request.bytes().len() + ADDED_OCTETS)
    }

    /// The URI of the first Route value of the copy: of the binding's Path (RFC 3327 §5.3), else of what is left of the
    /// request's own Route.
    fn first_route<'b>(&'b self, target: &'b Target) -> Option<&'b str> {
        let path = target.path.first().map(|path| match NameAddr::parse(path.as_bytes(), "Path") {
            Ok(path) => path.uri_text,
            Err(_) => path, // no URI, which its reader will find
        });
        path.or(self.incoming.next_route.as_deref())
    }

    /// Writes the copy for a target.
    pub(crate) fn write(&self, target: &Target, hop: &Hop, branch: Branch, max_breadth: u32) -> Bytes {
        let Self { request, incoming, .. } = *self;
        let mut edit = Edit::new(request);
        let (received, rport) = self.via_source;
        edit.received(received, rport);
        // Step 3.
        edit.set(HeaderName::MaxForwards, format_args!("{}", incoming.max_forwards));
        edit.set(HeaderName::MaxBreadth, format_args!("{max_breadth}"));
        // Routes of ours have done their work (§16.4); a strict router's last one became the Request-URI.
        for _ in 0..incoming.routes_popped {
            edit.pop(HeaderName::Route);
        }
        if incoming.uri_was_replaced {
            edit.pop_last(HeaderName::Route);
        }
        // Step 4.
        if self.wants_record_route() {
            self.record_route(&mut edit, hop);
        }
        // Steps 2 and 6.
        self.address(&mut edit, target);
        // §22.3: credentials for a realm of ours have done their work.
        for (line, value) in request.lines(HeaderName::ProxyAuthorization).enumerate() {
            let realm_is_ours = AuthParams::parse(value, "Proxy-Authorization").is_ok_and(|auth| {
                auth.value("realm").is_some_and(|realm| self.domains.find(realm).is_some())
            });
            if realm_is_ours {
                edit.remove_line(HeaderName::ProxyAuthorization, line);
            }
        }
        // Step 8. `rport` asks the next hop to answer to the port that we send from (RFC 3581 §3).
        let rport = if hop.flow.transport == Transport::Udp { ";rport" } else { "" };
        edit.push(
            HeaderName::Via,
            format_args!("SIP/2.0/{} {};branch={branch}{rport}", hop.flow.transport, hop.sent_by),
        );
        // Step 9: a stream needs it.
        if request.count(HeaderName::ContentLength) == 0 {
            edit.append(HeaderName::ContentLength, format_args!("{}", request.body().len()));
        }
        edit.finish()
    }

    /// Request-URI and Route (steps 2 and 6), with the Path of the binding before all other routes (RFC 3327 §5.3).
    fn address(&self, edit: &mut Edit<'_>, target: &Target) {
        let is_strict =
            |route: &&str| Uri::parse(route.as_bytes()).is_ok_and(|uri| uri.param("lr").is_none());
        let strict = self.first_route(target).filter(is_strict);
        let Some(strict) = strict else {
            for path in target.path.iter().rev() {
                edit.push(HeaderName::Route, format_args!("{path}"));
            }
            if *target.uri != *self.request.uri_text() {
                edit.request_uri(self.request, &target.uri);
            }
            return;
        };
        // Step 6: a strict router finds itself in the Request-URI, and the target last in Route.
        edit.append(HeaderName::Route, format_args!("<{}>", target.uri));
        edit.request_uri(self.request, strict);
        match target.path.split_first() {
            Some((_, rest)) => {
                for path in rest.iter().rev() {
                    edit.push(HeaderName::Route, format_args!("{path}"));
                }
            }
            None => {
                edit.pop(HeaderName::Route);
            }
        }
    }

    /// What makes a dialog is record-routed; within one, the route set stands. RFC 6665 §4.3: a NOTIFY, which may make the
    /// dialog, if its SUBSCRIBE was.
    fn wants_record_route(&self) -> bool {
        let begins = self.request.to().tag().is_none();
        self.record_route
            && match self.request.method() {
                Method::Invite | Method::Subscribe | Method::Refer => begins,
                Method::Notify => self.incoming.has_dialog_token,
                _ => false,
            }
    }

    /// Where the two sides reach us by different transports or addresses, each has a value of its own (RFC 5658 §4).
    fn record_route(&self, edit: &mut Edit<'_>, hop: &Hop) {
        let tag = match self.request.method() {
            // The subscriber's tag, as in the Record-Route of its SUBSCRIBE.
            Method::Notify => self.request.to().tag(),
            _ => self.request.from().tag(),
        };
        let token = self.secret.dialog_token(self.request.call_id(), tag.unwrap_or(""));
        let (inside, outside) = (self.source, &hop.flow);
        if inside.transport != outside.transport || inside.local != outside.local {
            let sent_by = self.network.sent_by(inside);
            let transport = transport_param(inside.transport);
            edit.push(HeaderName::RecordRoute, format_args!("<sip:{token}@{sent_by};lr{transport}>"));
        }
        let transport = transport_param(outside.transport);
        edit.push(HeaderName::RecordRoute, format_args!("<sip:{token}@{};lr{transport}>", hop.sent_by));
    }
}

/// §16.6 step 4: the parameter only where the default would be wrong.
fn transport_param(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
        Transport::Ws => ";transport=ws",
        Transport::Wss => ";transport=wss",
    }
}
