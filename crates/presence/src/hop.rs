//! Where a watcher's NOTIFYs go.

use sip_message::{HeaderName, Request, Uri};
use sip_service::Flow;

/// The flow to send NOTIFYs on instead of locating the dialog's next hop, if the SUBSCRIBE came by one that leads to the
/// watcher itself, and its Contact may not:
///
/// - over a connection: whoever opened it may not be reachable at all otherwise (RFC 5923, RFC 5626 §3.5); when the
///   connection is gone, the Contact is located;
/// - as a datagram from behind a NAT: the Contact is an IP address, it is not the one that the datagram came from, and
///   neither is the sent-by of the Via. This is the rule that the registrar has for bindings.
///
/// Not if proxies stand between (more than one Via, or a Record-Route): the flow would lead to the last of them, and the
/// route set says whether it wants to be passed again.
pub(crate) fn flow_to_watcher(request: &Request, source: &Flow, contact: &str) -> Option<Flow> {
    let came_directly = request.values(HeaderName::Via).nth(1).is_none();
    if !came_directly || request.header(HeaderName::RecordRoute).is_some() {
        return None;
    }
    if source.transport.is_reliable() {
        return Some(*source);
    }
    let source_ip = source.remote.ip().to_canonical();
    let contact_ip = Uri::parse(contact.as_bytes()).ok()?.ip()?;
    let sent_by_ip = host_ip(request.via().host);
    let is_behind_nat = contact_ip.to_canonical() != source_ip && sent_by_ip != Some(source_ip);
    is_behind_nat.then_some(*source)
}

fn host_ip(host: &str) -> Option<std::net::IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}
