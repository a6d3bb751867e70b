//! No mutation of any stream makes anything panic, or anything grow. `REPRO_SYNC_MUTATIONS` sets how many are tried (default
//! 20,000).

use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use repro_sync::{
    ClientOutput, ClientSession, Closed, Event, Limits, Offered, REQUEST, Reply, ResultCode, ServerOutput,
    ServerSession, Stamp, addr_spec, decide, requested_version,
};

const REGINFO: &[u8] = b"<reginfo>\r\n   <aor>sip:carol@example.test</aor>\r\n   <contactinfo>\r\n      \
<contacturi>&lt;sip:carol@127.0.0.1:45677&gt;;q=0.5;+sip.instance=&quot;&lt;urn:uuid:0&gt;&quot;;reg-id=1</contacturi>\r\n      \
<expires>120</expires>\r\n      <lastupdate>0</lastupdate>\r\n      <receivedfrom>DAAAAAEAAAAAA22yfwAAAQ==</receivedfrom>\r\n      \
<sippath>sip:p2.example.test;lr</sippath>\r\n      <instance>&lt;urn:uuid:0&gt;</instance>\r\n      <regid>1</regid>\r\n      \
<useragent>pyua/1.0</useragent>\r\n   </contactinfo>\r\n</reginfo>\r\n";

const PUBINFO: &[u8] = b"<pubinfo>\r\n   <eventtype>presence</eventtype>\r\n   <documentkey>alice@example.test</documentkey>\r\n   \
<etag>614f5da98eb89b30</etag>\r\n   <expires>600</expires>\r\n   <lastupdate>18446744073709551615</lastupdate>\r\n   \
<contents>&lt;?xml version=&apos;1.0&apos;?&gt;&lt;presence/&gt;</contents>\r\n   <isencrypted>true</isencrypted>\r\n   \
<sigstatus>bad</sigstatus>\r\n   <identity>a</identity>\r\n   <identitystrength>from</identitystrength>\r\n</pubinfo>\r\n";

fn corpus() -> Vec<Vec<u8>> {
    const KEEP_ALIVE: &[u8] = b"\r\n\r\n\0makeWsHandshakeResponse\0<reginfo>";
    let completed = ResultCode::Completed.respond(REQUEST.trim_ascii_end());
    vec![
        [REGINFO, PUBINFO].concat(),
        [PUBINFO, REGINFO, &completed].concat(),
        [&completed, REGINFO, KEEP_ALIVE, PUBINFO].concat(),
        [REQUEST, REGINFO, KEEP_ALIVE, PUBINFO].concat(),
        ResultCode::UnknownMethod.respond(b""),
    ]
}

fn mutate(rng: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    const SPECIAL: &[u8] = b"<>/&;=\"'!- \r\n\09\xff";
    let mut octets = corpus[rng.random_range(0..corpus.len())].clone();
    for _ in 0..rng.random_range(0..6) {
        let at = rng.random_range(0..=octets.len());
        match rng.random_range(0..6) {
            0 if at < octets.len() => octets[at] = rng.next_u32() as u8,
            1 => octets.insert(at, SPECIAL[rng.random_range(0..SPECIAL.len())]),
            2 if at < octets.len() => drop(octets.remove(at)),
            3 => octets.truncate(at),
            4 if at < octets.len() => {
                let end = rng.random_range(at..=octets.len().min(at + 60));
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

/// Writes what was read: it reads the same again.
fn exercise(event: &Event) {
    let mut octets = Vec::new();
    event.write(&mut octets);
    let now = Stamp::from_unix_ms(1_800_000_000_000);
    match event {
        Event::RegInfo(info) => {
            assert_eq!(repro_sync::RegInfo::read(&octets).as_ref().map(|read| &read.aor), Ok(&info.aor));
            for contact in &info.contacts {
                assert!(addr_spec(&contact.contact_uri).len() <= contact.contact_uri.len());
                let offered = Offered::contact(contact, now);
                assert!(offered.stamp <= now);
                decide(None, &offered, now);
            }
        }
        Event::PubInfo(info) => {
            assert_eq!(repro_sync::PubInfo::read(&octets).map(|read| read.etag), Ok(info.etag.clone()));
            assert!(Offered::publication(info, now).stamp <= now);
        }
    }
}

#[test]
#[allow(clippy::disallowed_methods)]
fn nothing_panics() {
    let corpus = corpus();
    let rounds = std::env::var("REPRO_SYNC_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let mut rng = StdRng::seed_from_u64(4);
    let limits = Limits {
        message_bytes_max: 2000,
        request_bytes_max: 2000,
        queue_bytes_max: 5000,
        ..Limits::default()
    };
    let now = Instant::now();
    let mut events = 0;
    for _ in 0..rounds {
        let octets = mutate(&mut rng, &corpus);
        let _ = (Reply::read(&octets), requested_version(&octets));
        let (mut client, _) = ClientSession::connect(limits, now);
        let mut server = ServerSession::accept(limits, now);
        let size = rng.random_range(1..200);
        for piece in octets.chunks(size) {
            for output in client.receive(piece, now) {
                if let ClientOutput::Event(event) = output {
                    events += 1;
                    exercise(&event);
                    server.live(&event).expect("room");
                }
            }
            for output in server.receive(piece) {
                match output {
                    ServerOutput::SendDump => server.dump_complete().expect("room"),
                    ServerOutput::Refused(_) | ServerOutput::Ignored => {}
                    ServerOutput::Close(closed) => assert!(
                        matches!(closed, Closed::MessageTooLarge { .. } | Closed::ReaderTooSlow { .. }),
                        "{closed}"
                    ),
                }
            }
            server.sent(server.pending().len());
        }
    }
    assert!(events > rounds / 5, "mutations that are all refused test little: {events}");
}
