//! The text of what user agents send, and what they read in what comes.

use std::fmt::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;
use memchr::{memchr, memmem};
use sip_message::{HeaderName, Message, Request};

use crate::node::DOMAIN;

/// A request of a user agent.
pub(crate) struct Draft<'a> {
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) operation: usize,
    pub(crate) address: SocketAddr,
    pub(crate) from: &'a str,
    pub(crate) from_tag: &'a str,
    pub(crate) to: &'a str,
    pub(crate) to_tag: Option<&'a str>,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    /// Further lines, each with its end.
    pub(crate) lines: &'a str,
    pub(crate) body: &'a str,
}

impl Draft<'_> {
    pub(crate) fn write(&self) -> Bytes {
        let Draft { method, uri, operation, address, from, from_tag, to, call_id, cseq, lines, body, .. } =
            self;
        let mut text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch={};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{from}@{DOMAIN}>;tag={from_tag}\r\nTo: <sip:{to}@{DOMAIN}>",
            branch_of(*operation)
        );
        if let Some(tag) = self.to_tag {
            let _ = write!(text, ";tag={tag}");
        }
        let _ = write!(
            text,
            "\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{lines}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        text.into()
    }
}

/// The branch of the request that is an operation.
pub(crate) fn branch_of(operation: usize) -> String {
    format!("z9hG4bKo{operation}")
}

/// The operation that a branch names.
pub(crate) fn operation_of(branch: &str) -> Option<usize> {
    branch.strip_prefix("z9hG4bKo")?.parse().ok()
}

/// The name of a user.
pub(crate) fn user(aor: usize) -> String {
    format!("user{aor}")
}

/// A response to a NOTIFY.
pub(crate) fn answer(request: &Request, code: u16) -> Bytes {
    let copy =
        |name: HeaderName| format!("{}: {}\r\n", name.as_str(), request.text(name).unwrap_or_default());
    format!(
        "SIP/2.0 {code} X\r\n{}{}{}{}{}Content-Length: 0\r\n\r\n",
        copy(HeaderName::Via),
        copy(HeaderName::From),
        copy(HeaderName::To),
        copy(HeaderName::CallId),
        copy(HeaderName::CSeq)
    )
    .into()
}

/// What one publication shows, in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tuple {
    pub(crate) client: usize,
    pub(crate) ordinal: u32,
    pub(crate) version: u32,
}

/// A document of one tuple, whose contact says which version of which publication it is.
pub(crate) fn document(aor: usize, tuple: Tuple) -> String {
    let Tuple { client, ordinal, version } = tuple;
    let basic = if version % 2 == 0 { "open" } else { "closed" };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         entity=\"sip:{}@{DOMAIN}\"><tuple id=\"d{client}p{ordinal}\"><status><basic>{basic}</basic></status>\
         <contact>sip:d{client}p{ordinal}v{version}@device.{DOMAIN}</contact></tuple></presence>",
        user(aor)
    )
}

/// The tuples of a document, in its order; none in one that says closed of itself.
pub(crate) fn tuples(body: &[u8]) -> Vec<Tuple> {
    const BEFORE: &[u8] = b"sip:d"; // contacts alone are such URIs
    let contacts = memmem::find_iter(body, BEFORE).map(|at| &body[at + BEFORE.len()..]);
    let ends = contacts.filter_map(|rest| Some(&rest[..memchr(b'@', rest)?]));
    ends.filter_map(|text| read_tuple(str::from_utf8(text).ok()?)).collect()
}

fn read_tuple(text: &str) -> Option<Tuple> {
    let (client, rest) = text.split_once('p')?;
    let (ordinal, version) = rest.split_once('v')?;
    Some(Tuple {
        client: client.parse().ok()?,
        ordinal: ordinal.parse().ok()?,
        version: version.parse().ok()?,
    })
}

/// Contacts of a response to REGISTER: URI, version and seconds left of each.
pub(crate) fn bindings(response: &Message) -> Vec<(String, u32, u64)> {
    let values =
        response.values(HeaderName::Contact).map(|value| String::from_utf8_lossy(value).into_owned());
    let param =
        |value: &str, name: &str| value.split(name).nth(1).and_then(|v| v.split(';').next()?.parse().ok());
    let mut bindings: Vec<(String, u32, u64)> = values
        .map(|value| {
            let uri = value.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            let version = param(&value, ";v=").unwrap_or(0);
            (uri, version as u32, param(&value, ";expires=").unwrap_or(0))
        })
        .collect();
    bindings.sort();
    bindings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_which_it_is() {
        let tuple = Tuple { client: 7, ordinal: 2, version: 13 };
        assert_eq!(tuples(document(3, tuple).as_bytes()), [tuple]);
        assert_eq!(operation_of(&branch_of(12)), Some(12));
    }
}
