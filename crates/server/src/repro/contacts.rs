//! Contacts as repro has them, and bindings as we have them (presence-and-replication §6.4, §6.6).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use registrar::{Binding, Config, Contact, Gone};
use repro_sync::{ContactInfo, TransportType, Tuple};
use sip_message::{Aor, NameAddr, Transport, Uri};
use sip_service::{Connection, Flow};

/// The longest that anything may live that the peer has. repro bounds nothing; nobody is granted more anywhere.
pub(super) const LIFETIME_MAX_SECONDS: u64 = 31 * 24 * 3600;

/// A contact that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The registrar would not take it from a phone either.
    #[error(transparent)]
    Contact(#[from] registrar::Error),
    /// It is no contact.
    #[error("a contact that is no name-addr")]
    NameAddr,
    /// It is the AOR itself.
    #[error("a contact that leads back to its AOR")]
    LeadsBack,
    /// A path that is none, or too long.
    #[error("a path that cannot be followed")]
    Path,
}

/// What a contact of the peer is here at `now`; its version was made `age_seconds` ago. Call-ID and CSeq are not on the wire:
/// no REGISTER has an empty Call-ID, so whatever the phone sends next is taken for new (RFC 3261 §10.3 step 7).
pub(super) fn read(
    info: &ContactInfo,
    aor: &Aor,
    age_seconds: u64,
    now: Instant,
    config: &Config,
) -> Result<Binding, Fault> {
    // What was granted there is not for us to shorten or refuse.
    let config = Config { min_expires_seconds: 0, max_expires_seconds: u32::MAX, ..config.clone() };
    let value = NameAddr::parse(info.contact_uri.as_bytes(), "Contact").map_err(|_| Fault::NameAddr)?;
    let contact = Contact::read(&value, None, &config)?;
    if leads_back(&contact.uri, aor) {
        return Err(Fault::LeadsBack);
    }
    let text = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
    let left_seconds = info.expires_seconds.min(LIFETIME_MAX_SECONDS);
    let lifetime_seconds = left_seconds.saturating_add(age_seconds).min(LIFETIME_MAX_SECONDS);
    let path = path(info, &config)?;
    let flow = if path.is_some() { None } else { flow(info.received_from.as_ref(), &contact.uri) };
    Ok(Binding {
        uri: contact.uri.as_str().into(),
        display: text(&contact.display),
        params: text(&contact.params),
        q_milli: contact.q_milli,
        instance: contact.instance.and_then(text),
        reg_id: contact.reg_id,
        path,
        flow: flow.map(Box::new),
        call_id: "".into(),
        cseq: 0,
        lifetime_seconds: u32::try_from(lifetime_seconds).unwrap_or(u32::MAX),
        expires_at: now + Duration::from_secs(left_seconds),
    })
}

/// As the registrar judges it of a REGISTER.
fn leads_back(uri: &Uri<'_>, aor: &Aor) -> bool {
    uri.is_sip() && uri.port().is_none() && uri.param("maddr").is_none() && Aor::of(uri).as_ref() == Some(aor)
}

/// The wire has bare URIs, of which repro loses the parameters that it does not know (§7, 27). Here the URI is all of the
/// text.
fn path(info: &ContactInfo, config: &Config) -> Result<Option<Arc<[Arc<str>]>>, Fault> {
    let octets: usize = info.path.iter().map(String::len).sum();
    if info.path.len() > config.path_values_max || octets > config.path_bytes_max {
        return Err(Fault::Path);
    }
    let mut path: Vec<Arc<str>> = Vec::new();
    for text in &info.path {
        let uri = if text.contains('<') { repro_sync::addr_spec(text) } else { text.trim() };
        let is_sip = Uri::parse(uri.as_bytes()).is_ok_and(|uri| uri.is_sip());
        if !is_sip || !uri.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Fault::Path);
        }
        path.push(format!("<{uri}>").into());
    }
    Ok((!path.is_empty()).then(|| path.into()))
}

/// How the contact is reached, if not by its URI. Of the flow by which it registered over there only the address is of use: a
/// datagram can be sent to a phone behind NAT from here, too, if the NAT lets it in. Its connection is none of ours: where
/// only that leads to the phone, it is not reached through this node, and a call is told so at once.
fn flow(received_from: Option<&Tuple>, contact: &Uri<'_>) -> Option<Flow> {
    let received_from = received_from?;
    let transport = match received_from.transport {
        TransportType::Udp => Transport::Udp,
        TransportType::Tcp => Transport::Tcp,
        TransportType::Tls => Transport::Tls,
        TransportType::Ws => Transport::Ws,
        TransportType::Wss => Transport::Wss,
        TransportType::Sctp | TransportType::Dccp | TransportType::Dtls => return None,
    };
    let remote = received_from.address;
    let is_behind_nat = match contact.ip().map(|ip| ip.to_canonical()) {
        // Another public address is that of another device: the phone knows it, and means it.
        Some(ip) => ip != remote.ip().to_canonical() && super::is_local(ip),
        None => has_made_up_name(contact),
    };
    let connection = match transport {
        Transport::Udp => Connection::NONE,
        _ => Connection::GONE,
    };
    // Whichever of our sockets leads there.
    let local = match remote {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    };
    (is_behind_nat || received_from.is_connection_only).then_some(Flow {
        transport,
        local,
        remote,
        connection,
    })
}

/// RFC 7118 appendix B.1: a browser does not know where it is.
fn has_made_up_name(uri: &Uri<'_>) -> bool {
    uri.host().rsplit('.').next().is_some_and(|label| label.eq_ignore_ascii_case("invalid"))
}

/// Whether the peer could reach a contact: not one that only a connection to us leads to.
pub(super) fn is_exportable(binding: &Binding) -> bool {
    let on_connection = binding.flow.as_ref().is_some_and(|flow| flow.connection != Connection::NONE);
    let is_bound_to_it = binding.reg_id.is_some()
        || Uri::parse(binding.uri.as_bytes()).is_ok_and(|uri| has_made_up_name(&uri));
    !(on_connection && is_bound_to_it)
}

/// What a contact says, without what changes from refresh to refresh: what tells two versions apart.
pub(super) fn contents(binding: &Binding, now: Instant) -> Vec<u8> {
    let listed = binding.listed(now).to_string();
    let mut text = listed.rsplit_once(";expires=").map_or(&*listed, |(text, _)| text).to_owned();
    for value in binding.path.as_deref().unwrap_or_default() {
        text.push('\n');
        text.push_str(repro_sync::addr_spec(value));
    }
    text.into_bytes()
}

/// A binding as repro writes it.
pub(super) fn write(binding: &Binding, age_seconds: u64, now: Instant) -> ContactInfo {
    let listed = binding.listed(now).to_string();
    let granted = binding.lifetime_seconds;
    let contact_uri = match listed.rsplit_once(";expires=") {
        // The Contact had what the phone asked for.
        Some((text, _)) => format!("{text};expires={granted}"),
        None => listed,
    };
    let path = binding.path.as_deref().unwrap_or_default();
    ContactInfo {
        contact_uri,
        expires_seconds: binding.expires_seconds(now),
        last_update_seconds: Some(age_seconds),
        received_from: binding.flow.as_deref().and_then(tuple),
        public_address: None,
        path: path.iter().map(|value| repro_sync::addr_spec(value).to_owned()).collect(),
        instance: binding.instance.as_ref().map(|urn| format!("<{urn}>")).unwrap_or_default(),
        // repro matches by it only where outbound is in use, and writes it only then.
        reg_id: binding.reg_id.filter(|_| binding.is_outbound()).map_or(0, std::num::NonZeroU32::get),
        user_agent: String::new(),
    }
}

/// A contact that was removed.
pub(super) fn write_gone(gone: &Gone, age_seconds: u64) -> ContactInfo {
    let mut contact_uri = format!("<{}>", gone.uri);
    let instance = gone.instance.as_ref().map(|urn| format!("<{urn}>")).unwrap_or_default();
    if !instance.is_empty() {
        contact_uri += &format!(";+sip.instance=\"{instance}\"");
    }
    if let Some(reg_id) = gone.reg_id {
        contact_uri += &format!(";reg-id={reg_id}");
    }
    ContactInfo {
        contact_uri,
        last_update_seconds: Some(age_seconds),
        instance,
        reg_id: gone.reg_id.filter(|_| gone.is_outbound).map_or(0, std::num::NonZeroU32::get),
        ..ContactInfo::default()
    }
}

fn tuple(flow: &Flow) -> Option<Tuple> {
    let transport = match flow.transport {
        Transport::Udp => TransportType::Udp,
        Transport::Tcp => TransportType::Tcp,
        Transport::Tls => TransportType::Tls,
        Transport::Ws => TransportType::Ws,
        Transport::Wss => TransportType::Wss,
    };
    let address = SocketAddr::new(flow.remote.ip().to_canonical(), flow.remote.port());
    // Keys of sockets mean nothing elsewhere.
    Some(Tuple { flow_key: 0, transport_key: 0, transport, is_connection_only: false, address })
}

/// Whether a flow is the one that a contact of the peer came by.
pub(super) fn is_flow(flow: &Flow, received_from: Option<&Tuple>) -> bool {
    let own = tuple(flow);
    let address = |tuple: &Tuple| (tuple.transport, canonical(tuple.address.ip()), tuple.address.port());
    own.as_ref().map(address) == received_from.map(address)
}

fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aor() -> Aor {
        Aor::parse("carol@example.test").expect("an AOR")
    }

    /// §6.4, as observed.
    fn observed() -> ContactInfo {
        ContactInfo {
            contact_uri: "<sip:carol@127.0.0.1:45677>;q=0.5;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\
                          \";reg-id=1;expires=120"
                .into(),
            expires_seconds: 120,
            last_update_seconds: Some(0),
            received_from: None,
            public_address: None,
            path: vec!["sip:edge.example.test;lr;ob".into(), "sip:p2.example.test;lr;foo=1".into()],
            instance: "<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>".into(),
            reg_id: 1,
            user_agent: String::new(),
        }
    }

    fn taken(info: &ContactInfo) -> Result<Binding, Fault> {
        read(info, &aor(), 5, Instant::now(), &Config::default())
    }

    #[test]
    fn a_contact_goes_out_as_it_came_in() {
        let now = Instant::now();
        let binding = read(&observed(), &aor(), 0, now, &Config::default()).expect("a binding");
        assert_eq!(write(&binding, 0, now), observed());
        let display =
            ContactInfo { contact_uri: "\"C <x>\" <sip:c@192.0.2.1>;foo;expires=120".into(), ..observed() };
        let display = ContactInfo { instance: String::new(), reg_id: 0, ..display };
        let binding = read(&display, &aor(), 0, now, &Config::default()).expect("a binding");
        assert_eq!(write(&binding, 0, now), display);
        assert_eq!((&*binding.call_id, binding.cseq, binding.lifetime_seconds), ("", 0, 120));
    }

    #[test]
    fn a_lifetime_is_what_was_granted_there() {
        for (left, age, lifetime) in [(10, 5, 15), (100_000, 5, 100_005), (u64::MAX, 5, 2_678_400)] {
            let binding = taken(&ContactInfo { expires_seconds: left, ..observed() }).expect("a binding");
            assert_eq!(u64::from(binding.lifetime_seconds), lifetime, "{left} and {age}");
        }
    }

    #[test]
    fn what_is_no_contact_is_refused() {
        for uri in [
            "",
            "*",
            "<sip:carol@example.test>",
            "<sips:carol@EXAMPLE.test;transport=tls>",
            "<>",
            "<sip:x>;q=7",
        ] {
            assert!(taken(&ContactInfo { contact_uri: uri.into(), ..observed() }).is_err(), "{uri}");
        }
        for path in ["", "tel:+1", "sip:a>;x", "<tel:+1>", "sip:a\r\nX: y"] {
            let taken = taken(&ContactInfo { path: vec![path.into()], ..observed() });
            assert!(taken.is_err(), "{path}: {taken:?}");
        }
        let path = vec!["sip:p;lr".to_owned(); 9];
        assert_eq!(taken(&ContactInfo { path, ..observed() }), Err(Fault::Path));
    }

    #[test]
    fn how_a_contact_of_the_peer_is_reached() {
        for (uri, transport, from, expected) in [
            // Where it says it is.
            ("sip:c@192.0.2.1", TransportType::Udp, "192.0.2.1:5060", None),
            ("sip:c@10.0.0.9:5060;transport=tcp", TransportType::Tcp, "10.0.0.9:4711", None),
            ("sip:c@phone.example.test", TransportType::Udp, "192.0.2.1:5060", None),
            // Another device, which the phone knows.
            ("sip:c@198.51.100.7", TransportType::Udp, "192.0.2.1:5060", None),
            // Behind NAT.
            ("sip:c@10.0.0.9", TransportType::Udp, "192.0.2.1:1024", Some(Connection::NONE)),
            ("sip:c@10.0.0.9;transport=tcp", TransportType::Tcp, "192.0.2.1:1024", Some(Connection::GONE)),
            (
                "sip:c@df7jal23ls0d.invalid;transport=ws",
                TransportType::Ws,
                "192.0.2.1:1024",
                Some(Connection::GONE),
            ),
            ("sip:c@10.0.0.9", TransportType::Sctp, "192.0.2.1:1024", None),
        ] {
            let address = from.parse().expect("an address");
            let tuple =
                Tuple { flow_key: 12, transport_key: 1, transport, is_connection_only: false, address };
            let info = ContactInfo {
                contact_uri: format!("<{uri}>"),
                received_from: Some(tuple),
                path: Vec::new(),
                ..observed()
            };
            let flow = taken(&info).expect("a binding").flow;
            assert_eq!(flow.as_ref().map(|flow| flow.connection), expected, "{uri} from {from}");
            assert!(flow.is_none_or(|flow| flow.remote == address));
        }
    }

    #[test]
    fn what_only_we_reach_is_not_told() {
        let at = |text: &str| text.parse().expect("an address");
        let plain = ContactInfo { path: Vec::new(), ..observed() };
        let mut binding = taken(&plain).expect("a binding");
        assert!(is_exportable(&binding));
        let (local, remote) = (at("192.0.2.9:5060"), at("192.0.2.1:4711"));
        let flow = Flow { transport: Transport::Tcp, local, remote, connection: Connection(7) };
        binding.flow = Some(Box::new(flow));
        assert!(!is_exportable(&binding), "outbound, and connected itself");
        binding.reg_id = None;
        assert!(is_exportable(&binding), "it can be connected to, for all we know");
        binding.uri = "sip:c@df7jal23ls0d.invalid".into();
        assert!(!is_exportable(&binding), "a browser");
        binding.flow =
            Some(Box::new(Flow { transport: Transport::Udp, connection: Connection::NONE, ..flow }));
        assert!(is_exportable(&binding));
        assert_eq!(write(&binding, 0, Instant::now()).received_from.map(|tuple| tuple.address), Some(remote));
    }

    #[test]
    fn what_changes_from_refresh_to_refresh_is_no_content() {
        let now = Instant::now();
        let first = taken(&observed()).expect("a binding");
        let refreshed = taken(&ContactInfo { expires_seconds: 60, ..observed() }).expect("a binding");
        assert_eq!(contents(&first, now), contents(&refreshed, now));
        let moved = ContactInfo { path: vec!["sip:edge.example.test;lr;ob".into()], ..observed() };
        assert_ne!(contents(&first, now), contents(&taken(&moved).expect("a binding"), now));
    }
}
