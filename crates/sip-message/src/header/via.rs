//! Via (RFC 3261 §20.42, RFC 3581).

use std::net::{IpAddr, SocketAddr};

use super::params::{self, Params, Place};
use super::split_value;
use crate::chars::{self, Cursor, Span};
use crate::uri::{host_ip, split};
use crate::{ParseError, Transport};

/// One Via value.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// The transport token as written; see [`Via::transport`].
    pub protocol: &'a str,
    /// The host of sent-by as written (IPv6 with brackets).
    pub host: &'a str,
    /// The port of sent-by.
    pub port: Option<u16>,
    /// The parameters.
    pub params: Params<'a>,
    branch: &'a str,
    asks_rport: bool,
}

/// Where the parts of a Via value are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ViaParts {
    pub(crate) protocol: Span,
    pub(crate) host: Span,
    pub(crate) port: Option<u16>,
    pub(crate) params: Span,
    /// The parameters that every request is asked for, found as they pass.
    branch: Option<Place>,
    pub(crate) rport: Option<Place>,
    pub(crate) received: Option<Place>,
}

impl ViaParts {
    /// Reads the first value of the list at `span` into parts that are empty, and tells where it ends: before a comma or
    /// at the end. After an error there is a host if sent-by was read: with it come the parts that a response still needs.
    pub(crate) fn read(&mut self, octets: &[u8], span: Span) -> Result<usize, &'static str> {
        let mut cursor = Cursor::new(octets, span.start as usize, span.end as usize);
        cursor.skip_lws();
        let (protocol, is_sip_2) = sent_protocol(&mut cursor)?;
        let has_blank = cursor.peek().is_some_and(chars::is_lws);
        cursor.skip_lws();
        if !has_blank || matches!(cursor.peek(), None | Some(b',')) {
            return Err("white space before sent-by");
        }
        let host = split::host(&mut cursor)?;
        let end = cursor.at;
        cursor.skip_lws();
        if cursor.eat(b':') {
            cursor.skip_lws();
            self.port = Some(split::port(&mut cursor)?);
        } else {
            cursor.at = end;
        }
        (self.protocol, self.host) = (protocol, host);
        let params = params::each_of_value(&mut cursor, |name, place| {
            let known = match name.len() {
                5 if chars::is_text(name, b"rport") => &mut self.rport,
                6 if chars::is_text(name, b"branch") => &mut self.branch,
                8 if chars::is_text(name, b"received") => &mut self.received,
                _ => return,
            };
            known.get_or_insert(place);
        });
        // Where they could not be read, they would go to the end of the value.
        self.params = params.unwrap_or_else(|_| Span::empty_at(split_value(octets, span).0.end));
        params?;
        if is_sip_2 { Ok(cursor.at) } else { Err(PROTOCOL) }
    }

    /// Whether sent-by was read.
    pub(crate) const fn has_sent_by(&self) -> bool {
        !self.host.is_empty()
    }

    pub(crate) fn view<'a>(&self, octets: &'a [u8]) -> Via<'a> {
        Via {
            protocol: self.protocol.text(octets),
            host: self.host.text(octets),
            port: self.port,
            params: Params(self.params.text(octets)),
            branch: self.branch.map_or("", |branch| branch.text(octets)),
            asks_rport: self.rport.is_some(),
        }
    }
}

const PROTOCOL: &str = "SIP/2.0/ and a transport";

/// `protocol-name SLASH protocol-version SLASH transport`, white space allowed around the slashes: the transport, and
/// whether the rest is `SIP/2.0`.
fn sent_protocol(cursor: &mut Cursor<'_>) -> Result<(Span, bool), &'static str> {
    let is_sip_2 = protocol(cursor)?;
    let transport = cursor.take(chars::TOKEN);
    if transport.is_empty() {
        return Err(PROTOCOL);
    }
    Ok((transport, is_sip_2))
}

/// `protocol-name SLASH protocol-version SLASH`: whether it is `SIP/2.0/`.
fn protocol(cursor: &mut Cursor<'_>) -> Result<bool, &'static str> {
    // Nearly always it is written so.
    const PLAIN: &[u8] = b"SIP/2.0/";
    if cursor.rest().starts_with(PLAIN) {
        cursor.at += PLAIN.len();
        cursor.skip_lws();
        return Ok(true);
    }
    let name = cursor.take(chars::TOKEN);
    slash(cursor)?;
    let version = cursor.take(chars::TOKEN);
    slash(cursor)?;
    Ok(chars::is_text(cursor.rest_of(name), b"SIP") && cursor.rest_of(version) == b"2.0")
}

fn slash(cursor: &mut Cursor<'_>) -> Result<(), &'static str> {
    cursor.skip_lws();
    if !cursor.eat(b'/') {
        return Err(PROTOCOL);
    }
    cursor.skip_lws();
    Ok(())
}

impl<'a> Via<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// 400 with header `Via`.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let mut parts = ViaParts::default();
        match parts.read(value, Span::new(0, value.len())) {
            Ok(end) if end == value.len() => Ok(parts.view(value)),
            Ok(_) => Err(ParseError::bad_request("Via", params::SEMICOLON)),
            Err(what) => Err(ParseError::bad_request("Via", what)),
        }
    }

    /// The transport, if we know it.
    pub fn transport(&self) -> Option<Transport> {
        Transport::from_token(self.protocol)
    }

    /// The branch, or `""`.
    pub fn branch(&self) -> &'a str {
        self.branch
    }

    /// Whether `rport` stands there: the sender wants the response at the port that it sent from (RFC 3581 §3).
    pub fn asks_rport(&self) -> bool {
        self.asks_rport
    }

    /// Whether the branch begins with the magic cookie `z9hG4bK` (§8.1.1.7; tokens have no case) and has more.
    pub fn is_rfc3261(&self) -> bool {
        const COOKIE: &str = "z9hG4bK";
        let branch = self.branch();
        branch.len() > COOKIE.len()
            && branch.get(..COOKIE.len()).is_some_and(|c| c.eq_ignore_ascii_case(COOKIE))
    }

    /// What `received` and `rport` must be when the message came from `source`.
    ///
    /// `received` is added if the sent-by host is a name or another address (RFC 3261 §18.2.1), and always if `rport` was
    /// asked for (RFC 3581 §4); `rport` is filled if it stands there, whatever a client wrote into it.
    pub fn received_for(&self, source: SocketAddr) -> (Option<IpAddr>, Option<u16>) {
        let ip = source.ip().to_canonical();
        let asked = self.asks_rport;
        let same = host_ip(self.host).is_some_and(|host| host.to_canonical() == ip);
        let received = (asked || !same).then_some(ip);
        (received, asked.then_some(source.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 3261 §20.42, §25.1: white space around the slashes and the colon.
    #[test]
    fn parts() {
        let via = Via::parse(b"SIP / 2.0 / TCP spindle.example.com : 5061 ;\r\n branch = z9hG4bK9ikj8 ; rport;received=2001:db8::9").expect("a Via");
        assert_eq!((via.protocol, via.host, via.port), ("TCP", "spindle.example.com", Some(5061)));
        assert_eq!((via.branch(), via.is_rfc3261()), ("z9hG4bK9ikj8", true));
        assert_eq!(
            (via.params.value("rport"), via.params.value("received")),
            (Some(""), Some("2001:db8::9"))
        );
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/3.0/UDP h",
            "HTTP/2.0/UDP h",
            "SIP/2.0/UDP h;;",
            "SIP/2.0/UDP h;=x",
            "SIP/2.0/UDP h:x",
            "SIP/2.0/UDP h x",
        ] {
            assert!(Via::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    // RFC 3261 §18.2.1, RFC 3581 §4.
    #[test]
    fn received_and_rport() {
        let source: SocketAddr = "192.0.2.1:9999".parse().expect("an address");
        let of = |text: &str| Via::parse(text.as_bytes()).expect("a Via").received_for(source);
        assert_eq!(of("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1"), (None, None));
        assert_eq!(of("SIP/2.0/UDP 10.1.1.1;branch=z9hG4bK1"), (Some(source.ip()), None));
        assert_eq!(of("SIP/2.0/UDP pc.example.com"), (Some(source.ip()), None));
        assert_eq!(of("SIP/2.0/UDP 192.0.2.1;rport"), (Some(source.ip()), Some(9999)));
    }
}
