//! The two sessions, each against what repro does, and against each other.

use std::time::{Duration, Instant};

use repro_sync::{
    ClientOutput, ClientSession, Closed, ContactInfo, Contents, Event, KEEP_ALIVE, Limits, PubInfo, REQUEST,
    RegInfo, ResultCode, ServerOutput, ServerSession,
};

/// Tests begin somewhere; what they count is the time since.
#[allow(clippy::disallowed_methods)]
fn begin() -> Instant {
    Instant::now()
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn registered(user: &str) -> Event {
    let contact = ContactInfo {
        contact_uri: format!("<sip:{user}@192.0.2.1>"),
        expires_seconds: 60,
        last_update_seconds: Some(3),
        ..ContactInfo::default()
    };
    RegInfo { aor: format!("sip:{user}@example.test"), contacts: vec![contact] }.into()
}

fn published(user: &str, body: &str) -> Event {
    PubInfo {
        event_type: "presence".into(),
        document_key: format!("{user}@example.test"),
        etag: "1".into(),
        expires_seconds: 600,
        last_update_seconds: Some(0),
        contents: Some(Contents { body: body.into(), encryption: None }),
    }
    .into()
}

/// All that waits in a listener, taken off.
fn take(server: &mut ServerSession) -> Vec<u8> {
    let mut taken = Vec::new();
    while !server.pending().is_empty() {
        taken.extend_from_slice(server.pending());
        server.sent(server.pending().len());
    }
    taken
}

fn octets(event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    event.write(&mut out);
    out
}

fn completed() -> Vec<u8> {
    ResultCode::Completed.respond(REQUEST.trim_ascii_end())
}

/// A connection whose request was granted and whose dump, of nothing, is complete.
fn live_server(limits: Limits, now: Instant) -> ServerSession {
    let mut server = ServerSession::accept(limits, now);
    assert_eq!(server.receive(REQUEST), [ServerOutput::SendDump]);
    server.dump_complete().expect("room");
    assert_eq!(take(&mut server), completed());
    server
}

#[test]
fn a_dump_ends_with_the_response_and_live_events_follow() {
    let mut server = ServerSession::accept(Limits::default(), begin());
    assert_eq!(server.receive(&REQUEST[..40]), []);
    assert_eq!(server.receive(&REQUEST[40..]), [ServerOutput::SendDump]);
    assert!(server.wants_dump() && server.deadline().is_none());
    server.dump(&registered("a")).expect("room");
    // A change in between goes out in between.
    server.live(&published("b", "x")).expect("room");
    server.dump(&published("c", "y")).expect("room");
    server.dump_complete().expect("room");
    server.live(&registered("d")).expect("room");
    // Late, so not of the dump.
    server.dump(&registered("e")).expect("nothing to do");
    server.dump_complete().expect("nothing to do");
    let expected = [
        octets(&registered("a")),
        octets(&published("b", "x")),
        octets(&published("c", "y")),
        completed(),
        octets(&registered("d")),
    ];
    assert_eq!(String::from_utf8_lossy(&take(&mut server)), String::from_utf8_lossy(&expected.concat()));
    assert!(!server.wants_dump());
}

#[test]
fn who_was_not_granted_a_request_hears_nothing() {
    let mut server = ServerSession::accept(Limits::default(), begin());
    server.live(&registered("a")).expect("nothing to do");
    server.dump(&registered("a")).expect("nothing to do");
    assert!(server.pending().is_empty());

    let version_5 = String::from_utf8_lossy(REQUEST).replace('4', "5");
    let refused = server.receive(version_5.as_bytes());
    assert_eq!(refused, [ServerOutput::Refused(ResultCode::VersionNotSupported)]);
    assert_eq!(take(&mut server), ResultCode::VersionNotSupported.respond(version_5.trim_end().as_bytes()));
    server.live(&registered("a")).expect("nothing to do");
    assert!(server.pending().is_empty() && !server.is_granted());

    // The connection stays, and may ask better.
    assert_eq!(server.receive(REQUEST), [ServerOutput::SendDump]);
    assert!(server.is_granted());
}

#[test]
fn other_requests_are_answered_in_both_forms() {
    let mut server = ServerSession::accept(Limits::default(), begin());
    for (request, result) in [
        ("<Foo></Foo>", ResultCode::UnknownMethod),
        ("<Foo><Request></Request></Foo>", ResultCode::UnknownMethod),
        ("<reginfo></reginfo>", ResultCode::UnknownMethod),
        ("<InitialSync><Request></InitialSync>", ResultCode::ParseError),
        ("<InitialSync></InitialSync>", ResultCode::VersionNotSupported),
    ] {
        assert_eq!(server.receive(request.as_bytes()), [ServerOutput::Refused(result)], "{request}");
        assert_eq!(take(&mut server), result.respond(request.as_bytes()));
    }
}

#[test]
fn keep_alives_of_repro_are_ignored() {
    let mut server = live_server(Limits::default(), begin());
    let mut junk = b"\r\n\r\n\0makeWsHandshakeResponse\0<Foo>\0</Foo>\0<reginfo>\0".to_vec();
    junk.resize(85, b'<');
    for _ in 0..10_000 {
        assert_eq!(server.receive(&junk), []);
    }
    // Once is worse than often, as nothing ends what it seems to begin.
    for once in ["<InitialSync>", "<reginfo>", "<Foo>", "<reginfo></reginfo><Foo></Foo>"] {
        assert_eq!(server.receive(once.as_bytes()), [], "{once}");
        for _ in 0..1000 {
            assert_eq!(server.receive(b"\r\n\r\n\0makeWsHandshakeResponse\0"), [], "{once}");
        }
    }
    assert_eq!(server.receive(KEEP_ALIVE), []);
    assert!(server.pending().is_empty());
    assert_eq!(server.receive(REQUEST), [ServerOutput::SendDump]);
    assert_eq!(server.receive(REQUEST), [ServerOutput::Ignored], "its dump is under way");
}

#[test]
fn a_reader_that_does_not_read_is_cut_and_gets_the_dump_when_it_is_back() {
    let limits = Limits { queue_bytes_max: 2000, dump_ahead_bytes: 1000, ..Limits::default() };
    let mut server = live_server(limits, begin());
    let event = published("a", &"x".repeat(300));
    let mut accepted = 0;
    let cut = loop {
        match server.live(&event) {
            Ok(()) => accepted += 1,
            Err(closed) => break closed,
        }
    };
    let queued_bytes = (accepted + 1) * octets(&event).len();
    assert_eq!((accepted, cut), (3, Closed::ReaderTooSlow { queued_bytes }));
    // Nothing half is sent, and nothing more is done.
    assert!(server.pending().is_empty() && !server.is_granted());
    assert_eq!((server.live(&event), server.receive(REQUEST)), (Ok(()), vec![]));

    // A dump that is larger than the queue goes out as fast as it is read.
    let mut server = ServerSession::accept(limits, begin());
    assert_eq!(server.receive(REQUEST), [ServerOutput::SendDump]);
    let mut read = 0;
    for _ in 0..100 {
        while !server.wants_dump() {
            let bytes = server.pending().len().min(700);
            server.sent(bytes);
            read += bytes;
        }
        server.dump(&event).expect("room");
    }
    server.dump_complete().expect("room");
    read += take(&mut server).len();
    assert_eq!(read, 100 * octets(&event).len() + completed().len());
}

#[test]
fn responses_are_bounded_too() {
    let limits = Limits { queue_bytes_max: 200, ..Limits::default() };
    let mut server = ServerSession::accept(limits, begin());
    let outputs = server.receive("<Foo></Foo>".repeat(10).as_bytes());
    assert!(matches!(outputs.last(), Some(ServerOutput::Close(Closed::ReaderTooSlow { .. }))), "{outputs:?}");
    assert_eq!(server.receive(b"<Foo></Foo>"), []);
}

#[test]
fn a_stranger_is_cut() {
    let now = begin();
    let mut server = ServerSession::accept(Limits::default(), now);
    assert_eq!(server.receive(&b"\r\n".repeat(10_000)), []);
    assert_eq!((server.deadline(), server.wake(now + seconds(29))), (Some(now + seconds(30)), None));
    assert_eq!(server.wake(now + seconds(30)), Some(ServerOutput::Close(Closed::NoRequest)));
    assert_eq!((server.deadline(), server.wake(now + seconds(31))), (None, None));

    let mut server = ServerSession::accept(Limits::default(), now);
    let too_large = Closed::MessageTooLarge { message_bytes_max: 4096 };
    assert_eq!(server.receive("<Foo>".repeat(1000).as_bytes()), [ServerOutput::Close(too_large)]);
}

#[test]
fn an_aor_without_contacts_is_not_sent() {
    let mut server = live_server(Limits::default(), begin());
    server.live(&RegInfo { aor: "sip:a@b".into(), contacts: vec![] }.into()).expect("nothing to do");
    assert!(server.pending().is_empty());
}

#[test]
fn a_client_asks_listens_and_knows_when_the_dump_is_complete() {
    let now = begin();
    let (mut client, first) = ClientSession::connect(Limits::default(), now);
    assert_eq!(first, ClientOutput::Send(REQUEST));
    let (a, b) = (registered("a"), published("b", "<x/>"));
    let stream = [octets(&a), completed(), octets(&b), completed()].concat();
    let mut outputs = Vec::new();
    for octet in &stream {
        outputs.extend(client.receive(&[*octet], now));
    }
    assert_eq!(outputs, [ClientOutput::Event(a), ClientOutput::DumpComplete, ClientOutput::Event(b)]);
    assert!(client.is_live());
}

#[test]
fn fault_26_a_refusal_is_told() {
    for (result, code) in [(ResultCode::VersionNotSupported, 505), (ResultCode::UnknownMethod, 400)] {
        for request in [REQUEST.trim_ascii_end(), b"<Foo></Foo>"] {
            let (mut client, _) = ClientSession::connect(Limits::default(), begin());
            let outputs =
                client.receive(&[result.respond(request), octets(&registered("a"))].concat(), begin());
            let refused = Closed::Refused { code, text: result.text().into() };
            assert_eq!(outputs, [ClientOutput::Close(refused)], "and what follows is not listened to");
            assert_eq!((client.deadline(), client.is_live()), (None, false));
        }
    }
    let (mut client, _) = ClientSession::connect(Limits::default(), begin());
    let outputs = client.receive(b"<InitialSync></InitialSync>", begin());
    assert!(matches!(outputs[..], [ClientOutput::Close(Closed::Reply(_))]), "{outputs:?}");
}

#[test]
fn a_message_that_is_not_readable_costs_itself_alone() {
    let now = begin();
    let (mut client, _) = ClientSession::connect(Limits::default(), now);
    let event = registered("a");
    let stream = [&b"<reginfo><aor></reginfo><pubinfo></pubinfo>"[..], &octets(&event)].concat();
    let outputs = client.receive(&stream, now);
    assert!(
        matches!(outputs[..2], [ClientOutput::Unreadable(_), ClientOutput::Unreadable(_)]),
        "{outputs:?}"
    );
    assert_eq!(outputs[2..], [ClientOutput::Event(event)]);
}

#[test]
fn a_message_without_end_closes_the_connection() {
    let now = begin();
    let (mut client, _) =
        ClientSession::connect(Limits { message_bytes_max: 1000, ..Limits::default() }, now);
    let outputs = client.receive(format!("<pubinfo>{}", "x".repeat(1000)).as_bytes(), now);
    assert_eq!(outputs, [ClientOutput::Close(Closed::MessageTooLarge { message_bytes_max: 1000 })]);
    assert_eq!((client.receive(b"<reginfo>", now), client.wake(now + seconds(99))), (vec![], None));
}

#[test]
fn keep_alives_every_30_seconds_of_silence() {
    let now = begin();
    let (mut client, _) = ClientSession::connect(Limits::default(), now);
    client.receive(&completed(), now + seconds(5));
    let mut sent = Vec::new();
    for second in 6..=100 {
        if second == 70 {
            client.receive(b"\r\n", now + seconds(second));
        }
        let is_due = client.deadline().is_some_and(|deadline| deadline <= now + seconds(second));
        let output = client.wake(now + seconds(second));
        assert_eq!(is_due, output.is_some());
        if let Some(output) = output {
            assert_eq!(output, ClientOutput::Send(b"\r\n\r\n"));
            sent.push(second);
        }
    }
    assert_eq!(sent, [35, 65, 100]);
}

#[test]
fn a_listener_that_never_completes_its_dump_is_given_up() {
    let now = begin();
    let (mut client, _) = ClientSession::connect(Limits::default(), now);
    assert_eq!(client.wake(now + seconds(30)), Some(ClientOutput::Send(KEEP_ALIVE)));
    client.receive(&octets(&registered("a")), now + seconds(50));
    assert_eq!(client.wake(now + seconds(80)), Some(ClientOutput::Send(KEEP_ALIVE)));
    assert_eq!(client.wake(now + seconds(139)), Some(ClientOutput::Send(KEEP_ALIVE)));
    assert_eq!(client.deadline(), Some(now + seconds(140)));
    assert_eq!(client.wake(now + seconds(140)), Some(ClientOutput::Close(Closed::NoReply)));
    assert_eq!(client.deadline(), None);
}

#[test]
fn both_together() {
    let now = begin();
    let state = [registered("a"), registered("b"), published("a", "<presence/>")];
    let mut server = ServerSession::accept(Limits::default(), now);
    let (mut client, first) = ClientSession::connect(Limits::default(), now);
    let mut to_server = vec![first];
    let mut heard = Vec::new();
    for round in 0..4 {
        for output in to_server.drain(..) {
            let ClientOutput::Send(octets) = output else { panic!("{output:?}") };
            if server.receive(octets) == [ServerOutput::SendDump] {
                for event in &state {
                    assert!(server.wants_dump());
                    server.dump(event).expect("room");
                }
                server.dump_complete().expect("room");
            }
        }
        if round == 2 {
            server.live(&published("a", "<presence>2</presence>")).expect("room");
        }
        heard.extend(client.receive(&take(&mut server), now + seconds(round * 40)));
        to_server.extend(client.wake(now + seconds(round * 40 + 30)));
    }
    let mut expected: Vec<_> = state.into_iter().map(ClientOutput::Event).collect();
    expected.push(ClientOutput::DumpComplete);
    expected.push(ClientOutput::Event(published("a", "<presence>2</presence>")));
    assert_eq!(heard, expected);
}
