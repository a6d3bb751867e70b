//! Header field values and URIs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip_message::{Aor, AuthParams, EventType, NameAddr, SubscriptionState, Uri, Via};

fuzz_target!(|octets: &[u8]| {
    if let Ok(uri) = Uri::parse(octets) {
        assert!(uri.equivalent(&uri));
        if let Some(aor) = Aor::of(&uri) {
            assert_eq!(Aor::parse(aor.as_str()), Some(aor), "an AOR names itself");
        }
    }
    let _ = NameAddr::parse(octets, "To").map(|n| n.params.iter().count());
    let _ = Via::parse(octets).map(|v| v.received_for(([127, 0, 0, 1], 1).into()));
    let _ = AuthParams::parse(octets, "Authorization").map(|a| a.iter().count());
    let _ = EventType::parse(octets).map(|e| e.id().is_some());
    let _ = SubscriptionState::parse(octets).map(|s| s.params.iter().count());
});
