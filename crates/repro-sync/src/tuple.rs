//! Where a request came from, as repro writes it (§6.6): 32-bit words in the byte order of the sender, in base64.
//!
//! The order is little-endian here, as on every machine that repro is run on today. Builds of repro with network namespaces
//! put four more octets before the address; theirs (20 and 32 octets) are taken for absent, as repro does with other sizes.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The standard alphabet: padded when written; whoever leaves the padding out is understood.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A flow of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// A socket of the sender. Means nothing anywhere else.
    pub flow_key: u32,
    /// A transport of the sender. Means nothing anywhere else.
    pub transport_key: u32,
    /// How the request came.
    pub transport: TransportType,
    /// Whether it can be answered on its connection only.
    pub is_connection_only: bool,
    /// Where it came from.
    pub address: SocketAddr,
}

/// Transports, numbered as repro does (`rutil/TransportType.hxx:14-26`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum TransportType {
    Tls = 1,
    Tcp = 2,
    Udp = 3,
    Sctp = 4,
    Dccp = 5,
    Dtls = 6,
    Ws = 7,
    Wss = 8,
}

impl TransportType {
    const ALL: [Self; 8] =
        [Self::Tls, Self::Tcp, Self::Udp, Self::Sctp, Self::Dccp, Self::Dtls, Self::Ws, Self::Wss];
}

const IS_CONNECTION_ONLY: u8 = 0x10;
const IS_IPV6: u8 = 0x01;

impl Tuple {
    /// 16 octets for IPv4, 28 for IPv6.
    pub fn to_octets(&self) -> Vec<u8> {
        let mut flags = if self.is_connection_only { IS_CONNECTION_ONLY } else { 0 };
        if self.address.is_ipv6() {
            flags |= IS_IPV6;
        }
        let port = u32::from(self.address.port()) << 16;
        let word2 = port | (self.transport as u32) << 8 | u32::from(flags);
        let mut out = Vec::with_capacity(28);
        for word in [self.flow_key, self.transport_key, word2] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        match self.address.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
        out
    }

    /// `None` if the size or the type is wrong.
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        let (flow_key, rest) = octets.split_first_chunk()?;
        let (transport_key, rest) = rest.split_first_chunk()?;
        let (&[flags, transport, port_low, port_high], ip) = rest.split_first_chunk()?;
        let ip: IpAddr = if flags & IS_IPV6 == 0 {
            <[u8; 4]>::try_from(ip).ok()?.into()
        } else {
            <[u8; 16]>::try_from(ip).ok()?.into()
        };
        Some(Self {
            flow_key: u32::from_le_bytes(*flow_key),
            transport_key: u32::from_le_bytes(*transport_key),
            transport: TransportType::ALL.into_iter().find(|known| *known as u8 == transport)?,
            is_connection_only: flags & IS_CONNECTION_ONLY != 0,
            address: (ip, u16::from_le_bytes([port_low, port_high])).into(),
        })
    }

    pub(crate) fn to_base64(self) -> String {
        BASE64.encode(self.to_octets())
    }

    pub(crate) fn from_base64(text: &[u8]) -> Option<Self> {
        Self::from_octets(&BASE64.decode(text.trim_ascii()).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// §6.6, **[observed]**.
    const OBSERVED: &str = "DAAAAAEAAAAAA3HsfwAAAQ==";

    fn observed() -> Tuple {
        Tuple {
            flow_key: 12,
            transport_key: 1,
            transport: TransportType::Udp,
            is_connection_only: false,
            address: ([127, 0, 0, 1], 60529).into(),
        }
    }

    #[test]
    fn as_observed() {
        assert_eq!(Tuple::from_base64(OBSERVED.as_bytes()), Some(observed()));
        assert_eq!(Tuple::from_base64(b" DAAAAAEAAAAAA3HsfwAAAQ \r\n"), Some(observed()));
        assert_eq!(observed().to_base64(), OBSERVED);
        assert_eq!(
            observed().to_octets(),
            [0x0c, 0, 0, 0, 1, 0, 0, 0, 0x00, 0x03, 0x71, 0xec, 0x7f, 0, 0, 1],
            "0c000000 01000000 000371ec 7f000001"
        );
    }

    #[test]
    fn every_transport_and_family_comes_back() {
        for transport in TransportType::ALL {
            for address in ["192.0.2.1:5060", "[2001:db8::1]:65535"] {
                for is_connection_only in [false, true] {
                    let address = address.parse().expect("an address");
                    let tuple = Tuple { transport, address, is_connection_only, ..observed() };
                    assert_eq!(Tuple::from_base64(tuple.to_base64().as_bytes()), Some(tuple));
                }
            }
        }
    }

    #[test]
    fn a_wrong_size_or_type_is_absent() {
        let v4 = observed().to_octets();
        let v6 = Tuple { address: "[::1]:1".parse().expect("an address"), ..observed() }.to_octets();
        for (octets, of_namespaces) in [(&v4, 20), (&v6, 32)] {
            for bytes in (0..40).filter(|&bytes| bytes != octets.len()) {
                let mut other = octets.clone();
                other.resize(bytes, 0);
                assert_eq!(
                    Tuple::from_octets(&other),
                    None,
                    "{bytes} octets, {of_namespaces} with namespaces"
                );
            }
        }
        for transport in (0..=255).filter(|transport| !(1..=8).contains(transport)) {
            let mut other = v4.clone();
            other[9] = transport;
            assert_eq!(Tuple::from_octets(&other), None);
        }
        for text in ["", "DAAA", "DAAAAAEAAAAAA3HsfwAAAQ=", "!", "DAAAAAEAAAAAA3Hs-wAAAQ=="] {
            assert!(Tuple::from_base64(text.as_bytes()).is_none_or(|_| text.ends_with("Q=")), "{text}");
        }
    }
}
