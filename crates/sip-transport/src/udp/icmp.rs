//! ICMP errors (RFC 3261 §18.4): with IP_RECVERR the system keeps them, each with the head of the datagram that caused
//! it. The branch in that head names the client transaction, so nothing need be remembered of what was sent; and since
//! it is 64 random bits, nobody off the path can end a transaction with a forged error.

use std::io::IoSliceMut;
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use sip_transaction::{Branch, ClientId};

/// Octets of the datagram that are looked at: the system keeps at most 520 or so (RFC 1812 §4.3.2.3) for IPv4, and our
/// Via stands first.
const QUOTED_BYTES: usize = 1_280;

/// `ee_origin` and types of `linux/errqueue.h`, RFC 792 and RFC 4443.
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// Empties a socket's error queue and names the client transactions whose datagrams did not reach their peer.
pub(crate) fn report_errors(socket: &impl AsRawFd, mut unreachable: impl FnMut(ClientId)) {
    let mut octets = [0; QUOTED_BYTES];
    let mut control = nix::cmsg_space!(nix::libc::sock_extended_err, nix::libc::sockaddr_in6);
    loop {
        let mut slices = [IoSliceMut::new(&mut octets)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let Ok(message) = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) else {
            return;
        };
        let bytes = message.bytes;
        let is_final = message.cmsgs().is_ok_and(|mut all| all.any(|m| is_delivery_failure(&m)));
        if is_final && let Some(client) = octets.get(..bytes).and_then(quoted_client) {
            unreachable(client);
        }
    }
}

/// §18.4: host, network, port, protocol unreachable and parameter problem; not source quench, nor TTL exceeded. Nor
/// "fragmentation needed" (RFC 792 type 3 code 4, RFC 4443 type 2): the system fragments the retransmission.
fn is_delivery_failure(message: &ControlMessageOwned) -> bool {
    let error = match message {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => error,
        _ => return false,
    };
    matches!(
        (error.ee_origin, error.ee_type, error.ee_code),
        (ORIGIN_ICMP, 3, 0..=3 | 5..) | (ORIGIN_ICMP, 12, _) | (ORIGIN_ICMP6, 1 | 4, _)
    )
}

/// The client transaction of a request that we sent: the branch of its first Via, whole.
fn quoted_client(head: &[u8]) -> Option<ClientId> {
    // Our messages say `SIP/2.0` at the end of a request's first line; a response of ours has no client transaction.
    let line_end = head.windows(2).position(|pair| pair == b"\r\n")?;
    let (first_line, fields) = head.split_at(line_end);
    if !first_line.ends_with(b" SIP/2.0") {
        return None;
    }
    let via = fields.split(|octet| *octet == b'\n').find_map(|line| {
        let (name, value) = line.split_at(line.iter().position(|octet| *octet == b':')?);
        let is_via = name.eq_ignore_ascii_case(b"Via") || name.eq_ignore_ascii_case(b"v");
        // A line that was cut off may hold a branch that was cut off.
        (is_via && line.ends_with(b"\r")).then_some(value)
    })?;
    let via = std::str::from_utf8(via).ok()?;
    let (_, branch) = via.split_once(";branch=")?;
    let branch = branch.split([';', ',', ' ', '\r']).next()?;
    Branch::parse(branch).map(|branch| branch.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ClientId = ClientId(0x0123_4567_89ab_cdef);

    // RFC 3261 §18.4.
    #[test]
    fn the_quoted_head_names_the_client_transaction() {
        let branch = Branch { id: ID, loop_hash: 7 };
        let via = format!("Via: SIP/2.0/UDP 192.0.2.1:5060;branch={branch}\r\n");
        for (head, expected) in [
            (
                format!("OPTIONS sip:b@h SIP/2.0\r\n{via}Via: SIP/2.0/UDP c;branch=z9hG4bKother\r\nTo: <s"),
                Some(ID),
            ),
            (format!("OPTIONS sip:b@h SIP/2.0\r\nMax-Forwards: 70\r\n{via}"), Some(ID)),
            (format!("OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch={branch};rport\r\n"), Some(ID)),
            // Cut off within the branch.
            (format!("OPTIONS sip:b@h SIP/2.0\r\n{}", &via[..via.len() - 4]), None),
            // A response.
            (format!("SIP/2.0 200 OK\r\n{via}"), None),
            ("OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bKother\r\n".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(quoted_client(head.as_bytes()), expected, "{head}");
        }
    }
}
