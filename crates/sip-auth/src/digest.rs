//! The digest of RFC 7616 §3.4.1, as RFC 3261 §22.4 and RFC 8760 use it.

use provisioning::{Algorithm, Digest};

/// What a response is computed over besides HA1.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// `uri` of the credentials.
    pub uri: &'a str,
    /// `nonce`.
    pub nonce: &'a str,
    /// `nc` and `cnonce` with `qop=auth`; `None` without qop (RFC 2069, RFC 3261 §22.4 item 8).
    pub auth: Option<Auth<'a>>,
}

/// What `qop=auth` adds.
#[derive(Clone, Copy, Debug)]
pub struct Auth<'a> {
    /// `nc`, eight hexadecimal digits as they came.
    pub nc: &'a str,
    /// `cnonce`.
    pub cnonce: &'a str,
}

/// The `response` that proves HA1, given as hexadecimal digits. `qop=auth-int` and the `-sess` algorithms are not offered,
/// and not computed.
pub fn response(algorithm: Algorithm, ha1: &str, request: &Request<'_>) -> Digest {
    let ha2 = algorithm.hash(&[request.method.as_bytes(), b":", request.uri.as_bytes()]).to_hex();
    let (ha1, nonce, ha2) = (ha1.as_bytes(), request.nonce.as_bytes(), ha2.as_bytes());
    match request.auth {
        Some(Auth { nc, cnonce }) => {
            algorithm.hash(&[ha1, b":", nonce, b":", nc.as_bytes(), b":", cnonce.as_bytes(), b":auth:", ha2])
        }
        None => algorithm.hash(&[ha1, b":", nonce, b":", ha2]),
    }
}
