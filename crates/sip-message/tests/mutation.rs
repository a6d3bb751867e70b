//! No mutation of any message makes anything panic. `SIP_MUTATIONS` sets how many are tried (default 20,000).

use std::path::Path;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use sip_message::{
    Aor, AuthParams, Edit, EventType, Framed, HeaderName, Limits, Message, NameAddr, ReplyBuilder, Request,
    StatusCode, StreamFramer, SubscriptionState, Uri, Via,
};

fn corpus() -> Vec<Vec<u8>> {
    let torture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torture");
    let mut files: Vec<_> = ["4475", "5118"]
        .iter()
        .flat_map(|dir| std::fs::read_dir(torture.join(dir)).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).expect("a file")).collect()
}

fn mutate(rng: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    const SPECIAL: &[u8] = b"\r\n\0 \t;:,<>\"\\@=[]%?*/\xff\x80";
    let mut octets = corpus[rng.random_range(0..corpus.len())].clone();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=octets.len());
        match rng.random_range(0..6) {
            0 if at < octets.len() => octets[at] = rng.next_u32() as u8,
            1 => octets.insert(at, SPECIAL[rng.random_range(0..SPECIAL.len())]),
            2 if at < octets.len() => drop(octets.remove(at)),
            3 => octets.truncate(at),
            4 if at < octets.len() => {
                let end = rng.random_range(at..=octets.len().min(at + 40));
                let piece = octets[at..end].to_vec();
                let to = rng.random_range(0..=octets.len());
                octets.splice(to..to, piece);
            }
            _ => {
                let other = &corpus[rng.random_range(0..corpus.len())];
                let from = rng.random_range(0..other.len());
                octets.truncate(at);
                octets.extend_from_slice(&other[from..]);
            }
        }
    }
    octets
}

fn exercise_value(value: &[u8]) {
    let _ = NameAddr::parse(value, "To")
        .map(|n| (n.uri().map(|u| Aor::of(&u)), n.tag().is_some(), n.params.iter().count()));
    let _ = Via::parse(value)
        .map(|v| (v.branch().len(), v.is_rfc3261(), v.received_for(([127, 0, 0, 1], 5060).into())));
    let _ = AuthParams::parse(value, "Authorization").map(|a| a.iter().count());
    let _ = EventType::parse(value).map(|e| e.id().is_some());
    let _ = SubscriptionState::parse(value).map(|s| s.params.iter().count());
    if let Ok(uri) = Uri::parse(value) {
        let _ = (
            uri.user(),
            uri.password(),
            uri.host(),
            uri.ip(),
            uri.port(),
            uri.params().count(),
            uri.headers(),
        );
        assert!(uri.equivalent(&uri), "{}", uri.as_str());
    }
}

fn exercise(message: &Message) {
    let _ = (
        message.via(),
        message.from(),
        message.to(),
        message.call_id(),
        message.cseq(),
        message.body_bytes(),
    );
    let _ =
        (message.contacts().is_ok(), message.number(HeaderName::Expires), message.text(HeaderName::Event));
    for field in message.fields() {
        assert!(message.count(field.name) > 0);
        exercise_value(field.value);
        message.values(field.name).for_each(exercise_value);
    }
}

fn exercise_request(request: &Request) {
    exercise(request);
    let uri = request.uri();
    let _ = (request.method().as_str(), uri.user(), uri.host(), Aor::of(&uri));
    let edited = Edit::new(request)
        .request_uri(request, "sip:x@y")
        .received(Some([127, 0, 0, 1].into()), Some(1))
        .set(HeaderName::MaxForwards, format_args!("69"))
        .pop(HeaderName::Route)
        .pop_last(HeaderName::Contact)
        .push(HeaderName::Via, format_args!("SIP/2.0/UDP z;branch=z9hG4bK1"))
        .remove(HeaderName::Supported)
        .finish();
    assert!(edited.ends_with(request.body()));
    let _ = ReplyBuilder::with_source(request, StatusCode::OK, "t", Some([127, 0, 0, 1].into()), Some(9))
        .finish();
}

#[test]
fn nothing_panics() {
    let corpus = corpus();
    let rounds = std::env::var("SIP_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let mut rng = StdRng::seed_from_u64(4475);
    let limits = Limits::default();
    let mut accepted = 0;
    for _ in 0..rounds {
        let octets = mutate(&mut rng, &corpus);
        match Framed::datagram(Bytes::copy_from_slice(&octets), &limits) {
            Framed::Request(request) => {
                accepted += 1;
                assert_eq!(
                    Edit::new(&request).finish(),
                    request.bytes().slice(..request.bytes().len().min(Edit::new(&request).finish().len()))
                );
                exercise_request(&request);
            }
            Framed::Response(response) => exercise(&response),
            Framed::Malformed(malformed) => {
                if let Some(request) = &malformed.request {
                    exercise_request(request);
                }
            }
            Framed::Ping | Framed::Pong => {}
        }
        let mut framer = StreamFramer::default();
        for chunk in octets.chunks(rng.random_range(1..200)) {
            framer.push(chunk);
            while let Ok(Some(_)) = framer.next(&limits) {}
        }
    }
    assert!(accepted > rounds / 20, "mutations that are all refused test little: {accepted}");
}
