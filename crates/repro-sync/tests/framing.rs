//! A stream in any pieces is the same stream.

use repro_sync::{ContactInfo, Contents, Event, Framer, PubInfo, REQUEST, RegInfo, ResultCode, Root, Roots};

fn event(number: u32) -> Event {
    if number.is_multiple_of(2) {
        let contact = ContactInfo { contact_uri: format!("<sip:{number}@x>"), ..ContactInfo::default() };
        RegInfo { aor: format!("sip:{number}@x"), contacts: vec![contact] }.into()
    } else {
        PubInfo {
            event_type: "presence".into(),
            document_key: format!("{number}@x"),
            etag: number.to_string(),
            expires_seconds: 600,
            last_update_seconds: Some(0),
            contents: Some(Contents { body: b"<?xml version='1.0'?><presence/>".to_vec(), encryption: None }),
        }
        .into()
    }
}

/// A dump and what comes after it, as a listener sends it, with junk between all messages.
fn stream(junk: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut messages: Vec<Vec<u8>> = (0..3)
        .map(|number| {
            let mut octets = Vec::new();
            event(number).write(&mut octets);
            octets
        })
        .collect();
    messages.insert(2, ResultCode::Completed.respond(REQUEST.trim_ascii_end()));
    let mut octets = junk.to_vec();
    for message in &messages {
        octets.extend_from_slice(message);
        octets.extend_from_slice(junk);
    }
    (octets, messages.into_iter().map(|message| message.trim_ascii_end().to_vec()).collect())
}

fn cut(pieces: &[&[u8]], roots: Roots) -> Vec<Vec<u8>> {
    let mut framer = Framer::new(4096, roots);
    let mut found = Vec::new();
    for piece in pieces {
        framer.push(piece);
        while let Some(frame) = framer.cut().expect("within the limit") {
            assert_ne!(frame.root, Root::Other);
            found.push(frame.octets.to_vec());
        }
    }
    found
}

#[test]
fn every_split_in_two() {
    for junk in [&b""[..], b"\r\n\r\n", b"\r\n\r\n\0makeWsHandshakeResponse\0<reg\0<x>"] {
        let (octets, messages) = stream(junk);
        for at in 0..=octets.len() {
            let (left, right) = octets.split_at(at);
            assert_eq!(cut(&[left, right], Roots::Known), messages, "at {at}");
        }
    }
}

#[test]
fn every_size_of_piece() {
    let (octets, messages) = stream(b"\r\n\r\n\0\0<");
    for size in 1..octets.len() {
        let pieces: Vec<_> = octets.chunks(size).collect();
        assert_eq!(cut(&pieces, Roots::Known), messages, "pieces of {size}");
    }
}

/// §6.7: 85 octets that begin so, every 30 s.
#[test]
fn keep_alives_of_repro_between_messages() {
    let mut keep_alive = b"\r\n\r\n\0makeWsHandshakeResponse\0".to_vec();
    keep_alive.resize(85, b'\0');
    // Where junk looks like the beginning of a message, what comes behind is a message all the same.
    for look_alike in
        ["", "<", "<reginfo>", "<pubinfo><etag>", "<InitialSync>\r\n", "<Response>", "</reginfo>", "<rEgInFo"]
    {
        let mut junk = keep_alive.clone();
        junk[40..40 + look_alike.len()].copy_from_slice(look_alike.as_bytes());
        let mut octets = Vec::new();
        let (_, messages) = stream(b"");
        for message in &messages {
            (0..5).for_each(|_| octets.extend_from_slice(&junk));
            octets.extend_from_slice(message);
        }
        for size in [1, 7, 85, octets.len()] {
            let pieces: Vec<_> = octets.chunks(size).collect();
            assert_eq!(cut(&pieces, Roots::Known), messages, "{look_alike} in pieces of {size}");
        }
    }
}

/// §7, 23: a connection that breaks within a message costs the next one nothing.
#[test]
fn fault_23_a_new_connection_begins_with_a_new_framer() {
    let (octets, messages) = stream(b"");
    for at in 0..octets.len() {
        let _broken = cut(&[&octets[..at]], Roots::Known);
        assert_eq!(cut(&[&octets], Roots::Known), messages);
        // Even if both were one stream, only the message that was cut off would be lost.
        let both = cut(&[&octets[..at], &octets], Roots::Known);
        assert!(both.ends_with(&messages), "cut off at {at}");
    }
}
