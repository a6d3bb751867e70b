//! What to listen on, and the limits of the transports.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sip_message::{Limits, Transport, Uri};

use crate::Error;

/// One `[[listen]]` block: a socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// `udp` or `tcp`; `tls`, `ws` and `wss` are known and refused.
    #[serde(with = "transport_name")]
    pub transport: Transport,
    /// Address and port. `0.0.0.0` and `[::]` stand for every address of their family, port 0 for any free one.
    pub address: SocketAddr,
    /// `host` or `host:port` that our Via, Record-Route and Contact say instead of the address, e.g. behind a NAT.
    /// Without a port: the port of `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// Certificate chain in PEM, for `tls` and `wss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Private key in PEM, for `tls` and `wss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl ListenConfig {
    /// A listener that advertises its own address.
    pub const fn new(transport: Transport, address: SocketAddr) -> Self {
        Self { transport, address, advertise: None, certificate: None, key: None }
    }

    /// Checks what can be checked without binding.
    ///
    /// # Errors
    /// A transport that this build does not speak, an `advertise` that is no host, a certificate without use.
    pub fn validate(&self) -> Result<(), Error> {
        let (transport, address) = (self.transport, self.address);
        match transport {
            Transport::Udp | Transport::Tcp => {}
            Transport::Tls | Transport::Ws | Transport::Wss => {
                return Err(Error::TransportUnsupported { transport, address });
            }
        }
        if self.certificate.is_some() || self.key.is_some() {
            return Err(Error::CertificateUnused { transport, address });
        }
        self.advertised().map(drop)
    }

    /// The host, and the port if one is given, of `advertise`.
    pub(crate) fn advertised(&self) -> Result<Option<(String, Option<u16>)>, Error> {
        let Some(value) = &self.advertise else { return Ok(None) };
        let text = format!("sip:{value}");
        match Uri::parse(text.as_bytes()) {
            // Nothing else may be there: no user, parameters or headers.
            Ok(uri) if uri.user().is_none() && !value.contains(['@', ';', '?']) && uri.port() != Some(0) => {
                Ok(Some((uri.host().to_ascii_lowercase(), uri.port())))
            }
            _ => Err(Error::Advertise {
                transport: self.transport,
                address: self.address,
                value: value.clone(),
            }),
        }
    }
}

/// Limits of the transports. Where one is reached it counts in `rollcall_dropped_total` under the reason named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// TCP connections open at once, in both directions; more are refused (`tcp_connections_max`). Default 20,000.
    pub tcp_connections_max: usize,
    /// TCP connections accepted from one IP address; more are refused (`connections_per_source_max`). Default 1,000.
    pub connections_per_source_max: usize,
    /// Seconds without a message or keep-alive in either direction after which a connection is closed. Longer than the
    /// usual registration, since a binding may depend on the connection. Default 3,900.
    pub connection_idle_seconds: u64,
    /// Octets that wait for a peer that reads slowly; beyond it a message is not taken (`connection_queue_bytes_max`).
    /// Default 1 MiB.
    pub connection_queue_bytes_max: usize,
    /// Seconds that a peer may leave what we wrote unacknowledged before the connection is given up. Default 60.
    pub connection_stall_seconds: u64,
    /// Seconds to open a connection in. Default 5.
    pub connect_timeout_seconds: u64,
    /// Seconds from the first octet of a message on a stream to its last; beyond it the connection is closed
    /// (`message_seconds_max`). Default 30.
    pub message_seconds_max: u64,
    /// Receive buffer asked of the system for each UDP socket, octets; `net.core.rmem_max` bounds it. Default 4 MiB.
    pub udp_receive_buffer_bytes: usize,
    /// Datagrams that wait, per worker and socket, while the send buffer is full; more are dropped
    /// (`udp_queue_datagrams_max`). Default 4,096.
    pub udp_queue_datagrams_max: usize,
    /// Octets of one message; beyond it 513 (RFC 3261 §21.5.7), and on a stream the connection is closed. Default 65,535.
    pub message_bytes_max: usize,
    /// Header field lines of one message, 65,534 at most; beyond it 400. Default 256.
    pub header_fields_max: usize,
    /// Octets of one header field line with its folds; beyond it 400. Default 16,384.
    pub header_field_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        let Limits { message_bytes_max, header_fields_max, header_field_bytes_max, .. } = Limits::default();
        Self {
            tcp_connections_max: 20_000,
            connections_per_source_max: 1_000,
            connection_idle_seconds: 3_900,
            connection_queue_bytes_max: 1 << 20,
            connection_stall_seconds: 60,
            connect_timeout_seconds: 5,
            message_seconds_max: 30,
            udp_receive_buffer_bytes: 4 << 20,
            udp_queue_datagrams_max: 4_096,
            message_bytes_max,
            header_fields_max,
            header_field_bytes_max,
        }
    }
}

impl Config {
    /// Refuses limits under which nothing could work.
    ///
    /// # Errors
    /// [`Error::Limit`] with the key.
    pub fn validate(&self) -> Result<(), Error> {
        let at_least =
            |name, value: u64, min| if value < min { Err(Error::Limit { name, min }) } else { Ok(()) };
        at_least("connection_idle_seconds", self.connection_idle_seconds, 1)?;
        at_least("connection_queue_bytes_max", self.connection_queue_bytes_max as u64, 1)?;
        at_least("connection_stall_seconds", self.connection_stall_seconds, 1)?;
        at_least("connect_timeout_seconds", self.connect_timeout_seconds, 1)?;
        at_least("message_seconds_max", self.message_seconds_max, 1)?;
        at_least("udp_queue_datagrams_max", self.udp_queue_datagrams_max as u64, 1)?;
        // RFC 3261 §18.1.1 goes by 1300 octets; a server that refuses those serves nobody.
        at_least("message_bytes_max", self.message_bytes_max as u64, 1_300)
    }

    /// The bounds on one message.
    pub fn message_limits(&self) -> Limits {
        Limits {
            message_bytes_max: self.message_bytes_max,
            header_fields_max: self.header_fields_max,
            header_field_bytes_max: self.header_field_bytes_max,
        }
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(self.connection_idle_seconds)
    }

    pub(crate) fn message_time(&self) -> Duration {
        Duration::from_secs(self.message_seconds_max)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_seconds)
    }

    pub(crate) fn stall(&self) -> Duration {
        Duration::from_secs(self.connection_stall_seconds)
    }
}

/// Transports by their lower-case names.
mod transport_name {
    use serde::de::{Deserialize, Deserializer, Error, Unexpected};
    use serde::ser::Serializer;
    use sip_message::Transport;

    pub(super) fn serialize<S: Serializer>(transport: &Transport, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(transport.token())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Transport, D::Error> {
        let name = String::deserialize(deserializer)?;
        Transport::from_token(&name)
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&name), &"udp, tcp, tls, ws or wss"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> ListenConfig {
        toml::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn a_listen_block_is_read_and_printed() {
        let text = "transport = \"tcp\"\naddress = \"[::1]:5060\"\nadvertise = \"sip.example.test\"\n";
        let read = listen(text);
        assert_eq!((read.transport, read.address.port()), (Transport::Tcp, 5060));
        assert_eq!(toml::to_string(&read).expect("printed"), text);
        read.validate().expect("valid");
    }

    #[test]
    fn misspelt_keys_and_unknown_transports_are_refused() {
        for text in [
            "transport = \"udp\"\naddress = \"127.0.0.1:5060\"\nadvertize = \"x\"",
            "transport = \"sctp\"\naddress = \"127.0.0.1:5060\"",
            "transport = \"udp\"\naddress = \"localhost\"",
        ] {
            assert!(toml::from_str::<ListenConfig>(text).is_err(), "{text}");
        }
        assert!(toml::from_str::<Config>("tcp_connection_max = 1").is_err());
    }

    #[test]
    fn transports_to_come_are_refused_by_name() {
        for name in ["tls", "ws", "wss"] {
            let error = listen(&format!("transport = \"{name}\"\naddress = \"0.0.0.0:5061\"")).validate();
            let text = error.expect_err("refused").to_string();
            assert_eq!(
                text,
                format!("cannot listen on {name} 0.0.0.0:5061: this build speaks udp and tcp only")
            );
        }
    }

    #[test]
    fn advertise_is_a_host_and_perhaps_a_port() {
        for (value, expected) in [
            ("sip.Example.test", Some(("sip.example.test", None))),
            ("sip.example.test:5070", Some(("sip.example.test", Some(5070)))),
            ("203.0.113.7", Some(("203.0.113.7", None))),
            ("[2001:db8::7]:5060", Some(("[2001:db8::7]", Some(5060)))),
            ("2001:db8::7", None),
            ("", None),
            ("a b", None),
            ("alice@example.test", None),
            ("example.test;lr", None),
            ("example.test:0", None),
            ("example.test:99999", None),
        ] {
            let mut config = ListenConfig::new(Transport::Udp, ([127, 0, 0, 1], 5060).into());
            config.advertise = Some(value.to_owned());
            let read = config.advertised().ok().flatten();
            assert_eq!(read, expected.map(|(host, port)| (host.to_owned(), port)), "{value}");
        }
    }

    #[test]
    fn defaults_are_valid_and_zero_is_not() {
        Config::default().validate().expect("valid");
        let error = toml::from_str::<Config>("connect_timeout_seconds = 0").expect("read").validate();
        assert_eq!(error.expect_err("refused").to_string(), "connect_timeout_seconds: expected at least 1");
    }
}
