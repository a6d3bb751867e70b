//! What holds for any values. Seeded: a failure comes again.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use repro_sync::{
    ContactInfo, Contents, Decision, Encryption, Event, Framer, Held, IdentityStrength, Kept, Offered,
    Origin, PubInfo, RegInfo, Root, Roots, SignatureStatus, Stamp, TransportType, Tuple, decide,
};

/// A text as it can travel: without white space at its beginning, and with all that must be escaped.
fn text(rng: &mut StdRng, least: usize) -> String {
    const PIECES: [&str; 16] = [
        "<",
        ">",
        "&",
        "'",
        "\"",
        "&amp;",
        "</",
        "<reginfo>",
        "a",
        ";",
        "sip:",
        "@",
        " ",
        "\r\n",
        "\u{e4}",
        "\0",
    ];
    let count = rng.random_range(least..12);
    let text: String = (0..count).map(|_| PIECES[rng.random_range(0..PIECES.len())]).collect();
    let text = text.trim_start_matches([' ', '\r', '\n']);
    if text.len() < least { "x".into() } else { text.into() }
}

fn number(rng: &mut StdRng) -> u64 {
    let bits = rng.random_range(0..64);
    rng.random::<u64>() >> bits
}

fn tuple(rng: &mut StdRng) -> Tuple {
    const ALL: [TransportType; 8] = [
        TransportType::Tls,
        TransportType::Tcp,
        TransportType::Udp,
        TransportType::Sctp,
        TransportType::Dccp,
        TransportType::Dtls,
        TransportType::Ws,
        TransportType::Wss,
    ];
    let port = rng.random_range(1..=u16::MAX);
    let address = if rng.random() {
        (rng.random::<[u8; 4]>(), port).into()
    } else {
        (rng.random::<[u8; 16]>(), port).into()
    };
    Tuple {
        flow_key: rng.random(),
        transport_key: rng.random(),
        transport: ALL[rng.random_range(0..8)],
        is_connection_only: rng.random(),
        address,
    }
}

fn contact(rng: &mut StdRng) -> ContactInfo {
    ContactInfo {
        contact_uri: text(rng, 1),
        expires_seconds: number(rng),
        last_update_seconds: rng.random::<bool>().then(|| number(rng)),
        received_from: rng.random::<bool>().then(|| tuple(rng)),
        public_address: rng.random::<bool>().then(|| tuple(rng)),
        path: (0..rng.random_range(0..3)).map(|_| text(rng, 1)).collect(),
        instance: text(rng, 0),
        reg_id: if rng.random() { 0 } else { rng.random() },
        user_agent: text(rng, 0),
    }
}

fn event(rng: &mut StdRng) -> Event {
    if rng.random() {
        let contacts = (0..rng.random_range(0..4)).map(|_| contact(rng)).collect();
        return RegInfo { aor: text(rng, 1), contacts }.into();
    }
    let identity = text(rng, 0);
    let encryption = rng.random::<bool>().then(|| Encryption {
        signature: if rng.random() { SignatureStatus::Bad } else { SignatureStatus::SelfSigned },
        signer: text(rng, 0),
        // The strength is written with an identity only.
        strength: if identity.is_empty() { IdentityStrength::From } else { IdentityStrength::Identity },
        identity,
    });
    let contents = rng.random::<bool>().then(|| Contents { body: text(rng, 1).into_bytes(), encryption });
    PubInfo {
        event_type: "dialog.winfo'".into(),
        document_key: text(rng, 1),
        etag: text(rng, 1),
        expires_seconds: number(rng).max(1),
        last_update_seconds: rng.random::<bool>().then(|| number(rng)),
        contents,
    }
    .into()
}

#[test]
fn what_is_written_is_read() {
    let mut rng = StdRng::seed_from_u64(64);
    for _ in 0..2000 {
        let events: Vec<_> = (0..rng.random_range(1..5)).map(|_| event(&mut rng)).collect();
        let mut octets = Vec::new();
        events.iter().for_each(|event| event.write(&mut octets));
        let mut framer = Framer::new(1 << 20, Roots::Known);
        let mut read = Vec::new();
        let mut rest = &octets[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rng.random_range(1..=rest.len().min(300)));
            rest = behind;
            framer.push(piece);
            while let Some(frame) = framer.cut().expect("within the limit") {
                read.push(match frame.root {
                    Root::RegInfo => Event::from(RegInfo::read(frame.octets).expect("a reginfo")),
                    Root::PubInfo => Event::from(PubInfo::read(frame.octets).expect("a pubinfo")),
                    other => panic!("{other:?}"),
                });
            }
        }
        assert_eq!(read, events, "{}", String::from_utf8_lossy(&octets));
        assert_eq!(framer.pending_bytes(), 0);
    }
}

/// An entry of one node.
#[derive(Clone, Debug)]
struct Entry {
    stamp: Stamp,
    expires: Option<Stamp>,
    contents: Vec<u8>,
    origin: Origin,
    peer_expires: Option<Stamp>,
}

impl Entry {
    fn held(&self) -> Held<'_> {
        let Self { stamp, expires, ref contents, origin, peer_expires } = *self;
        Held { stamp, expires, contents: expires.map(|_| &contents[..]), origin, peer_expires }
    }

    fn offered(&self) -> Offered<'_> {
        let held = self.held();
        Offered { stamp: held.stamp, expires: held.expires, contents: held.contents }
    }

    fn said(&self) -> (Option<Stamp>, Option<&[u8]>) {
        (self.expires, self.held().contents)
    }
}

/// Does what the owner of the state does; returns when the peer is to be told.
fn merge(entry: &mut Option<Entry>, offered: &Offered<'_>, now: Stamp) -> Option<Stamp> {
    let decision = decide(entry.as_ref().map(Entry::held).as_ref(), offered, now);
    match (decision, entry) {
        (Decision::Keep(kept), Some(entry)) => {
            let announce_at = kept.announce_at()?;
            entry.stamp = announce_at;
            entry.origin = Origin::Here;
            return Some(announce_at);
        }
        (Decision::Keep(kept), None) => assert_eq!(kept, Kept::NoContents),
        (Decision::Restamp, Some(entry)) => entry.stamp = offered.stamp,
        (_, entry) => {
            *entry = Some(Entry {
                stamp: offered.stamp,
                expires: offered.expires,
                contents: offered.contents.unwrap_or_default().to_vec(),
                origin: Origin::Peer,
                peer_expires: offered.expires,
            });
        }
    }
    None
}

/// Two nodes with one clock change one entry, lose each other, and hear each other's dump: they agree, on the newest, whoever
/// dumps first, and what agrees stays as it is.
#[test]
fn two_nodes_converge() {
    let mut rng = StdRng::seed_from_u64(25);
    for round in 0..20_000 {
        let start = Stamp::from_unix_ms(1_800_000_000_000);
        let mut random = || {
            let expires = rng.random_bool(0.7).then(|| start.plus(rng.random_range(20..2000)));
            rng.random_bool(0.9).then(|| Entry {
                stamp: start.plus(rng.random_range(0..4)),
                expires,
                contents: vec![rng.random_range(0..3)],
                origin: Origin::Here,
                peer_expires: None,
            })
        };
        let mut nodes = [random(), random()];
        let newest = nodes.iter().flatten().map(|entry| entry.stamp).max();
        let mut now = start.plus(4);
        for step in 0..8 {
            let from = (step + round) % 2;
            if let Some(entry) = nodes[from].clone() {
                let announced = merge(&mut nodes[1 - from], &entry.offered(), now);
                now = announced.unwrap_or(now).max(now);
            }
        }
        let said: Vec<_> = nodes.iter().map(|node| node.as_ref().map(Entry::said)).collect();
        // Ends that are a second apart are one end, cut to whole seconds twice.
        let is_same = match (&said[0], &said[1]) {
            (Some((Some(a), x)), Some((Some(b), y))) => a.distance_seconds(*b) <= 1 && x == y,
            (a, b) => a == b,
        };
        assert!(is_same, "round {round}: {nodes:?}");
        assert!(nodes.iter().flatten().all(|entry| Some(entry.stamp) >= newest), "round {round}: {nodes:?}");
    }
}

/// Whatever is held, a later word of the peer is taken: nothing freezes.
#[test]
fn nothing_freezes() {
    let mut rng = StdRng::seed_from_u64(22);
    for _ in 0..20_000 {
        let now = Stamp::OLDEST.plus(number(&mut rng));
        let old = ContactInfo {
            contact_uri: "a".into(),
            expires_seconds: number(&mut rng),
            last_update_seconds: Some(number(&mut rng)),
            ..ContactInfo::default()
        };
        let mut entry = None;
        merge(&mut entry, &Offered::contact(&old, now), now);
        // A second later, or after the clock was set anywhere.
        let later = if rng.random() { now.plus(1) } else { Stamp::OLDEST.plus(number(&mut rng)) };
        let removal = ContactInfo { expires_seconds: 0, last_update_seconds: Some(0), ..old };
        merge(&mut entry, &Offered::contact(&removal, later), later);
        assert_eq!(entry.expect("an entry").expires, None);
    }
}
