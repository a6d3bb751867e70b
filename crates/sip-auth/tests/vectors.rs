//! `fixtures/digest.json`: what RFC 2617 §3.5 and RFC 7616 §3.9 print, and more made with two other implementations.

use serde_json::Value;
use sip_auth::{Algorithm, Credentials, Error, digest};
use sip_message::AuthParams;

#[test]
fn responses_of_the_vectors() {
    let file: Value = serde_json::from_str(include_str!("fixtures/digest.json")).expect("JSON");
    let vectors = file["vectors"].as_array().expect("vectors");
    let (mut computed, mut refused) = (0, 0);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str();
        let need = |name: &str| text(name).unwrap_or_else(|| panic!("{name}: {vector}"));
        let header = credentials(vector);
        let params = AuthParams::parse(header.as_bytes(), "Authorization").expect("parameters");
        match (Algorithm::from_token(need("algorithm")), text("qop")) {
            (Some(algorithm), None | Some("auth")) => {
                let auth = text("qop").map(|_| digest::Auth { nc: need("nc"), cnonce: need("cnonce") });
                let request =
                    digest::Request { method: need("method"), uri: need("uri"), nonce: need("nonce"), auth };
                let ha1 =
                    provisioning::Ha1::new(algorithm, need("username"), need("realm"), need("password"));
                assert_eq!(ha1.as_hex(), need("ha1"), "{vector}");
                let response = digest::response(algorithm, ha1.as_hex(), &request);
                assert_eq!(response.to_string(), need("response"), "{vector}");
                let read = Credentials::read(&params).expect("credentials");
                assert_eq!(read.response.map(|r| r.to_string()).as_deref(), text("response"), "{vector}");
                assert_eq!((read.algorithm, read.username), (Some(algorithm), need("username")));
                computed += 1;
            }
            // Never offered: qop=auth-int is an error of the client, an algorithm that we do not have gets a challenge.
            (_, Some("auth-int")) => {
                assert!(matches!(Credentials::read(&params), Err(Error::BadCredentials { .. })), "{vector}");
                refused += 1;
            }
            (None, _) => {
                assert_eq!(Credentials::read(&params).expect("credentials").algorithm, None, "{vector}");
                refused += 1;
            }
            (Some(_), Some(qop)) => panic!("qop {qop}: {vector}"),
        }
    }
    assert!(computed >= 8 && refused >= 4, "{computed} computed, {refused} refused");
}

fn credentials(vector: &Value) -> String {
    let mut out = "Digest ".to_owned();
    for name in ["username", "realm", "nonce", "uri", "cnonce", "response"] {
        if let Some(value) = vector[name].as_str() {
            out += &format!("{name}=\"{value}\", ");
        }
    }
    for name in ["algorithm", "qop", "nc"] {
        if let Some(value) = vector[name].as_str() {
            out += &format!("{name}={value}, ");
        }
    }
    out
}
