//! Credentials from any octets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip_auth::{Credentials, NodeSecret, Protection};
use sip_message::AuthParams;

fuzz_target!(|octets: &[u8]| {
    let Ok(params) = AuthParams::parse(octets, "Authorization") else { return };
    let Ok(credentials) = Credentials::read(&params) else { return };
    if let Protection::Auth { count, nc, .. } = credentials.protection {
        assert!(count > 0 && nc.len() == 8);
    }
    let secret = NodeSecret::from_bytes([1; 32]);
    assert!(!secret.verify_dialog_token(credentials.nonce, credentials.realm, credentials.username, None));
});
