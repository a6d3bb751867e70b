//! What a proxy does to an 880-octet INVITE: parse, the edit of RFC 3261 §16.6, serialise.

use criterion::{Criterion, criterion_group, criterion_main};
use sip_message::{Edit, HeaderName, Hex, Limits, ReplyBuilder, Request, StatusCode};

fn forward(criterion: &mut Criterion) {
    let bytes = bytes::Bytes::from_static(include_bytes!("invite.sip"));
    let limits = Limits::default();
    let id = std::hint::black_box(0x9e37_79b9_7f4a_7c15_u64);
    criterion
        .bench_function("parse", |b| b.iter(|| Request::parse(bytes.clone(), &limits).expect("a request")));
    criterion.bench_function("parse, edit, serialise", |b| {
        b.iter(|| {
            let request = Request::parse(bytes.clone(), &limits).expect("a request");
            Edit::new(&request)
                .request_uri(&request, "sip:bob@192.0.2.4:5060")
                .received(Some([192, 0, 2, 1].into()), Some(5061))
                .set(HeaderName::MaxForwards, format_args!("{}", 69))
                .pop(HeaderName::Route)
                .push(HeaderName::RecordRoute, format_args!("<sip:0123456789abcdef0123@192.0.2.9:5060;lr>"))
                .push(
                    HeaderName::Via,
                    format_args!("SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK{}{}", Hex(id), Hex(!id)),
                )
                .finish()
        })
    });
    let request = Request::parse(bytes, &limits).expect("a request");
    criterion.bench_function("a response", |b| {
        b.iter(|| {
            ReplyBuilder::with_source(
                &request,
                StatusCode::OK,
                "0123456789abcdef",
                Some([192, 0, 2, 1].into()),
                Some(5061),
            )
            .finish()
        })
    });
}

criterion_group!(benches, forward);
criterion_main!(benches);
