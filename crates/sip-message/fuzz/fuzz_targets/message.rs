//! A datagram through every accessor, an edit and a response.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip_message::{Edit, Framed, HeaderName, Limits, ReplyBuilder, StatusCode};

fuzz_target!(|octets: &[u8]| {
    let request = match Framed::datagram(bytes::Bytes::copy_from_slice(octets), &Limits::default()) {
        Framed::Request(request) => request,
        Framed::Malformed(malformed) => match malformed.request {
            Some(request) => *request,
            None => return,
        },
        _ => return,
    };
    for field in request.fields() {
        request.values(field.name).for_each(drop);
    }
    let _ = (request.contacts().is_ok(), request.uri().ip(), request.via().branch());
    let edited = Edit::new(&request)
        .pop(HeaderName::Route)
        .received(Some([127, 0, 0, 1].into()), Some(5060))
        .push(HeaderName::Via, format_args!("SIP/2.0/UDP us;branch=z9hG4bK1"))
        .finish();
    assert!(edited.ends_with(request.body()));
    let _ = ReplyBuilder::new(&request, StatusCode::OK, "t").finish();
});
