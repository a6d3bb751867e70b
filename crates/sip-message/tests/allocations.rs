//! A forwarded request costs two allocations at most: the text of the edits, and the message that leaves.

use sip_message::{Edit, HeaderName, Hex, Limits, Request};

#[test]
fn parse_edit_and_write_an_invite() {
    let bytes = bytes::Bytes::from_static(include_bytes!("../benches/invite.sip"));
    let limits = Limits::default();
    let parse =
        allocation_counter::measure(|| drop(Request::parse(bytes.clone(), &limits).expect("a request")));
    assert_eq!(parse.count_total, 0, "an index over the bytes allocates nothing");
    let forward = allocation_counter::measure(|| {
        let request = Request::parse(bytes.clone(), &limits).expect("a request");
        let written = Edit::new(&request)
            .request_uri(&request, "sip:bob@192.0.2.4:5060")
            .received(Some([192, 0, 2, 1].into()), Some(5061))
            .set(HeaderName::MaxForwards, format_args!("{}", 69))
            .pop(HeaderName::Route)
            .push(HeaderName::RecordRoute, format_args!("<sip:0123456789abcdef0123@192.0.2.9:5060;lr>"))
            .push(
                HeaderName::Via,
                format_args!("SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK{}{}", Hex(1), Hex(2)),
            )
            .finish();
        assert!(written.len() > 880);
    });
    assert!(forward.count_total <= 2, "{} allocations", forward.count_total);
}
