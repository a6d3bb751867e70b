//! A stream cut anywhere, into a framer, a client and a listener: nothing panics, none holds more than its limits, and what
//! was read and is written reads the same.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use repro_sync::{
    ClientOutput, ClientSession, Event, Framer, Limits, Offered, PubInfo, RegInfo, Roots, ServerOutput, ServerSession,
    Stamp,
};

fn exercise(event: &Event) {
    let now = Stamp::from_unix_ms(1_800_000_000_000);
    let mut octets = Vec::new();
    event.write(&mut octets);
    match event {
        Event::RegInfo(info) => {
            assert!(info.contacts.iter().all(|contact| Offered::contact(contact, now).stamp <= now));
            let read = RegInfo::read(&octets).expect("a reginfo");
            assert_eq!(read.contacts.len(), info.contacts.len());
        }
        Event::PubInfo(info) => {
            assert!(Offered::publication(info, now).stamp <= now);
            assert_eq!(PubInfo::read(&octets).expect("a pubinfo").etag, info.etag);
        }
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, octets) = input;
    let limits = Limits { message_bytes_max: 2000, queue_bytes_max: 5000, ..Limits::default() };
    let now = Instant::now();
    let mut framers = [Roots::Any, Roots::Known, Roots::Request].map(|roots| Framer::new(limits.message_bytes_max, roots));
    let (mut client, _) = ClientSession::connect(limits, now);
    let mut server = ServerSession::accept(limits, now);
    for piece in octets.chunks(usize::from(size).max(1)) {
        for framer in &mut framers {
            framer.push(piece);
            while let Ok(Some(frame)) = framer.cut() {
                assert!(frame.octets.len() <= limits.message_bytes_max);
            }
            assert!(framer.pending_bytes() <= limits.message_bytes_max);
        }
        for output in client.receive(piece, now) {
            if let ClientOutput::Event(event) = output {
                exercise(&event);
                let _ = server.live(&event);
            }
        }
        if server.receive(piece).contains(&ServerOutput::SendDump) {
            let _ = server.dump_complete();
        }
        assert!(server.pending().len() <= limits.queue_bytes_max);
    }
});
