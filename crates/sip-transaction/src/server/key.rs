//! What requests of one server transaction have in common (RFC 3261 §17.2.3).

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::OnceLock;

use hashbrown::{DefaultHashBuilder, HashMap};
use sip_message::{Method, Request, Via};
use smallvec::SmallVec;

use super::ServerId;

/// What §17.2.3 compares, as 128 bits of SipHash under keys that are chosen at random once per process.
///
/// A transaction is kept for 32 seconds: two words instead of the text, twice, spare the allocator and the cache. That two
/// different requests share a key by accident is as likely as guessing one, and peers, who choose branches, do not know the
/// hash's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64, u64);

/// Transactions by key.
pub(super) type ByKey = HashMap<Key, ServerId, BuildHasherDefault<Prehashed>>;

/// What is compared, put together to be hashed.
type Text = SmallVec<[u8; 128]>;

/// The key of the transaction that `request` belongs to, as if its method were `method`: an ACK belongs to an INVITE.
pub(super) fn key(request: &Request, method: Method<'_>) -> Key {
    static KEYS: OnceLock<[RandomState; 2]> = OnceLock::new();
    let via = request.via();
    let mut text = Text::new();
    if via.is_rfc3261() {
        // Branch, sent-by and method (§17.2.3 first list). Branches are tokens, hosts have no case.
        text.push(b'1');
        put_folded(&mut text, via.branch());
        put_sent_by(&mut text, &via);
    } else {
        // The second list, for RFC 2543: Request-URI, From tag, Call-ID, CSeq number, top Via. The To tag is left out: in
        // an ACK it is the response's, and no other request of the same CSeq number differs by it.
        text.push(b'2');
        put(&mut text, request.uri_text());
        put(&mut text, request.from().tag().unwrap_or(""));
        put(&mut text, request.call_id());
        text.extend_from_slice(&request.cseq().number.to_be_bytes());
        put_sent_by(&mut text, &via);
        put(&mut text, via.params.as_str());
    }
    put(&mut text, method.as_str());
    let [a, b] = KEYS.get_or_init(Default::default);
    let word = |state: &RandomState| {
        let mut hasher = state.build_hasher();
        hasher.write(&text);
        hasher.finish()
    };
    Key(word(a), word(b))
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Hashes a [`Key`], which is a hash already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prehashed(u64);

impl Hasher for Prehashed {
    fn write(&mut self, octets: &[u8]) {
        // Only `write_u64` is called; anything else would still be hashed, badly.
        octets.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
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
    let mut shared = Text::new();
    if via.is_rfc3261() {
        put_folded(&mut shared, via.branch());
    } else {
        put(&mut shared, request.call_id());
    }
    HASHER.get_or_init(DefaultHashBuilder::default).hash_one(shared.as_slice())
}

fn put(text: &mut Text, part: &str) {
    text.extend_from_slice(part.as_bytes());
    // No part contains a NUL that could make two lists of parts look alike: tokens, URIs and words exclude it.
    text.push(0);
}

fn put_folded(text: &mut Text, part: &str) {
    text.extend(part.bytes().map(|b| b.to_ascii_lowercase()));
    text.push(0);
}

fn put_sent_by(text: &mut Text, via: &Via<'_>) {
    put_folded(text, via.host);
    text.extend_from_slice(&via.port.unwrap_or(0).to_be_bytes());
}
