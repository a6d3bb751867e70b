//! What requests of one server transaction have in common (RFC 3261 §17.2.3).

use std::hash::BuildHasher;
use std::sync::OnceLock;

use hashbrown::DefaultHashBuilder;
use sip_message::{Method, Request, Via};
use smallvec::SmallVec;

/// A key as it is looked up: no allocation until a transaction is made.
pub(super) type Key = SmallVec<[u8; 128]>;

/// The key of the transaction that `request` belongs to, as if its method were `method`: an ACK belongs to an INVITE.
pub(super) fn key(request: &Request, method: Method<'_>) -> Key {
    let via = request.via();
    let mut key = Key::new();
    if via.is_rfc3261() {
        // Branch, sent-by and method (§17.2.3 first list). Branches are tokens, hosts have no case.
        key.push(b'1');
        put_folded(&mut key, via.branch());
        put_sent_by(&mut key, &via);
    } else {
        // The second list, for RFC 2543: Request-URI, From tag, Call-ID, CSeq number, top Via. The To tag is left out: in
        // an ACK it is the response's, and no other request of the same CSeq number differs by it.
        key.push(b'2');
        put(&mut key, request.uri_text());
        put(&mut key, request.from().tag().unwrap_or(""));
        put(&mut key, request.call_id());
        key.extend_from_slice(&request.cseq().number.to_be_bytes());
        put_sent_by(&mut key, &via);
        put(&mut key, via.params.as_str());
    }
    put(&mut key, method.as_str());
    key
}

/// The method under which a request's transaction is kept.
pub(super) fn method_of<'a>(request: &'a Request) -> Method<'a> {
    match request.method() {
        Method::Ack => Method::Invite,
        method => method,
    }
}

/// Chooses the stripe of a request: equal for a request, its retransmissions, its CANCEL and its ACK (§17.2.3).
pub fn stripe_of(request: &Request) -> u64 {
    // Seeded at random once per process: peers choose branches.
    static HASHER: OnceLock<DefaultHashBuilder> = OnceLock::new();
    let via = request.via();
    let mut shared = Key::new();
    if via.is_rfc3261() {
        put_folded(&mut shared, via.branch());
    } else {
        put(&mut shared, request.call_id());
    }
    HASHER.get_or_init(DefaultHashBuilder::default).hash_one(shared.as_slice())
}

fn put(key: &mut Key, text: &str) {
    key.extend_from_slice(text.as_bytes());
    // No part contains a NUL that could make two lists of parts look alike: tokens, URIs and words exclude it.
    key.push(0);
}

fn put_folded(key: &mut Key, text: &str) {
    key.extend(text.bytes().map(|b| b.to_ascii_lowercase()));
    key.push(0);
}

fn put_sent_by(key: &mut Key, via: &Via<'_>) {
    put_folded(key, via.host);
    key.extend_from_slice(&via.port.unwrap_or(0).to_be_bytes());
}
