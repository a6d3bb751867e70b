//! Generated messages: what is built is read back, what is not edited does not change, and rsip agrees where it is right.

use proptest::prelude::*;
use sip_message::{Edit, HeaderName, Limits, Method, Request, RequestBuilder};

#[derive(Clone, Debug)]
struct Parts {
    method: &'static str,
    user: String,
    host: String,
    port: Option<u16>,
    tag: String,
    call_id: String,
    cseq: u32,
    branch: String,
    extra: Vec<(String, String)>,
    body: Vec<u8>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let method =
        prop::sample::select(vec!["INVITE", "MESSAGE", "REGISTER", "OPTIONS", "SUBSCRIBE", "PUBLISH"]);
    // rsip cuts a user at a dot and takes a host up to the first colon: the differential subset has neither.
    let name = "[a-z][a-z0-9_-]{0,11}";
    let extra = prop::collection::vec(("X-[A-Z][a-z]{1,8}", "[ -~]{0,20}"), 0..6);
    (
        method,
        name,
        "[a-z]{1,8}\\.test",
        prop::option::of(1u16..),
        "[a-z0-9]{1,8}",
        "[a-zA-Z0-9]{1,16}",
        1u32..0x7fff_ffff,
        "[a-z0-9]{1,12}",
        extra,
        prop::collection::vec(any::<u8>(), 0..64),
    )
        .prop_map(|(method, user, host, port, tag, call_id, cseq, branch, extra, body)| Parts {
            method,
            user,
            host,
            port,
            tag,
            call_id,
            cseq,
            branch,
            extra,
            body,
        })
}

fn uri(p: &Parts) -> String {
    match p.port {
        Some(port) => format!("sip:{}@{}:{port}", p.user, p.host),
        None => format!("sip:{}@{}", p.user, p.host),
    }
}

fn text(p: &Parts, body: &[u8]) -> Vec<u8> {
    let mut text = format!(
        "{} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{}\r\nMax-Forwards: 70\r\nFrom: <{}>;tag={}\r\nTo: <{}>\r\nCall-ID: {}\r\nCSeq: {} {}\r\n",
        p.method,
        uri(p),
        p.host,
        p.branch,
        uri(p),
        p.tag,
        uri(p),
        p.call_id,
        p.cseq,
        p.method
    );
    for (name, value) in &p.extra {
        text += &format!("{name}: {}\r\n", value.trim());
    }
    text += &format!("Content-Length: {}\r\n\r\n", body.len());
    [text.as_bytes(), body].concat()
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(p in parts()) {
        let bytes = RequestBuilder::new(Method::from_token(p.method), &uri(&p))
            .header(HeaderName::Via, format_args!("SIP/2.0/UDP {};branch=z9hG4bK{}", p.host, p.branch))
            .header(HeaderName::From, format_args!("<{}>;tag={}", uri(&p), p.tag))
            .header(HeaderName::To, format_args!("<{}>", uri(&p)))
            .header(HeaderName::CallId, &p.call_id)
            .header(HeaderName::CSeq, format_args!("{} {}", p.cseq, p.method))
            .body("application/octet-stream", &p.body);
        let request = Request::parse(bytes, &Limits::default()).expect("a request");
        prop_assert_eq!(request.method().as_str(), p.method);
        prop_assert_eq!((request.uri().user(), request.uri().host(), request.uri().port()), (Some(&*p.user), &*p.host, p.port));
        prop_assert_eq!((request.from().tag(), request.call_id(), request.cseq().number), (Some(&*p.tag), &*p.call_id, p.cseq));
        prop_assert_eq!(request.body(), &p.body[..]);
    }

    #[test]
    fn what_is_not_edited_does_not_change(p in parts()) {
        let bytes = text(&p, &p.body);
        let request = Request::parse(bytes.clone().into(), &Limits::default()).expect("a request");
        prop_assert_eq!(&Edit::new(&request).finish()[..], &bytes[..]);
        let edited = Edit::new(&request).push(HeaderName::Via, format_args!("SIP/2.0/UDP x;branch=z9hG4bK1")).finish();
        let edited = Request::parse(edited, &Limits::default()).expect("a request");
        let back = Edit::new(&edited).pop(HeaderName::Via).finish();
        prop_assert_eq!(&back[..], &bytes[..]);
    }

    /// The subset on which rsip 0.4 is right: known methods, long names, host names, no dot in the user, text bodies.
    #[test]
    fn rsip_agrees(p in parts()) {
        use rsip::prelude::*;
        let bytes = text(&p, b"hello");
        let ours = Request::parse(bytes.clone().into(), &Limits::default()).expect("a request");
        let theirs = rsip::Request::try_from(&bytes[..]).expect("rsip reads it");
        prop_assert_eq!(ours.method().as_str(), theirs.method.to_string());
        prop_assert_eq!(ours.uri().user(), theirs.uri.user());
        prop_assert_eq!(ours.uri().host(), theirs.uri.host().to_string());
        prop_assert_eq!(ours.uri().port(), theirs.uri.port().map(|p| *p.value()));
        prop_assert_eq!(ours.fields().count(), theirs.headers().iter().count());
        let via = theirs.via_header().expect("Via").typed().expect("typed");
        prop_assert_eq!(ours.via().branch(), via.branch().expect("a branch").value());
        let from = theirs.from_header().expect("From").typed().expect("typed");
        prop_assert_eq!(ours.from().tag(), from.tag().map(|t| t.value()));
        prop_assert_eq!(ours.from().uri_text, from.uri.to_string());
        let cseq = theirs.cseq_header().expect("CSeq").typed().expect("typed");
        prop_assert_eq!(ours.cseq().number, cseq.seq);
        prop_assert_eq!(ours.call_id(), theirs.call_id_header().expect("Call-ID").value());
    }
}
