//! Handshakes without sockets: who takes whom.

use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{AlertDescription, ClientConnection, Connection, Error, ServerConnection};
use tempfile::TempDir;

use super::*;

/// What each side has against the other, if anything.
#[derive(Debug)]
struct Outcome {
    connecting: Option<Error>,
    accepting: Option<Error>,
}

impl Outcome {
    fn is_good(&self) -> bool {
        self.connecting.is_none() && self.accepting.is_none()
    }
}

fn handshake(from: &Tls, to: &Tls, host: &str) -> Outcome {
    let name = from.name(host).expect("a name");
    let mut client: Connection =
        ClientConnection::new(Arc::clone(&from.connecting), name).expect("a client").into();
    let mut server: Connection = ServerConnection::new(Arc::clone(&to.accepting)).expect("a server").into();
    let mut outcome = Outcome { connecting: None, accepting: None };
    for _ in 0..4 {
        if let Err(error) = carry(&mut client, &mut server) {
            outcome.accepting.get_or_insert(error);
        }
        if let Err(error) = carry(&mut server, &mut client) {
            outcome.connecting.get_or_insert(error);
        }
    }
    assert!(!outcome.is_good() || !client.is_handshaking() && !server.is_handshaking());
    outcome
}

fn carry(from: &mut Connection, to: &mut Connection) -> Result<(), Error> {
    let mut octets = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut octets).expect("a vector takes all");
    }
    let mut rest = &octets[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).expect("octets");
        to.process_new_packets()?;
    }
    Ok(())
}

fn secret(octets: &[u8]) -> ClusterSecret {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cluster.key");
    fs::write(&path, octets).expect("written");
    ClusterSecret::read(&path).expect("a secret")
}

fn of_secret(octets: &[u8]) -> Tls {
    Tls::new(&Credentials::Secret(secret(octets))).expect("both sides")
}

/// A CA, and files of what it signed.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("written");
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn credentials(&self, host: &str) -> Credentials {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let pair = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&pair, &self.issuer).expect("signed");
        let path = |kind: &str| self.folder.path().join(format!("{host}.{kind}"));
        let (certificate, key) = (path("pem"), path("key"));
        fs::write(&certificate, signed.pem()).expect("written");
        fs::write(&key, pair.serialize_pem()).expect("written");
        Credentials::Certificates { certificate, key, ca: self.folder.path().join("ca.pem") }
    }

    fn tls(&self, host: &str) -> Tls {
        Tls::new(&self.credentials(host)).expect("both sides")
    }
}

#[test]
fn nodes_of_one_secret_take_each_other() {
    let (a, b) = (of_secret(&[1; 32]), of_secret(&[1; 32]));
    assert!(handshake(&a, &b, "b.example.test").is_good());
    assert!(handshake(&b, &a, "192.0.2.1").is_good());
}

#[test]
fn nodes_of_another_secret_are_refused_by_both_sides() {
    let (a, stranger) = (of_secret(&[1; 32]), of_secret(&[2; 32]));
    let refused = Error::from(CertificateError::ApplicationVerificationFailure);
    let outcome = handshake(&a, &stranger, "b.example.test");
    assert_eq!(outcome.connecting, Some(refused.clone()), "whoever connects sees it first");
    // Whoever takes any key when it connects is refused by the side that accepts.
    let mut careless = of_secret(&[2; 32]);
    let pinned = Pinned { key: public(&[1; 32]), provider: provider() };
    let config = Arc::get_mut(&mut careless.connecting).expect("its only owner");
    config.dangerous().set_certificate_verifier(Arc::new(pinned));
    let outcome = handshake(&careless, &a, "b.example.test");
    assert_eq!(outcome.accepting, Some(refused));
    assert!(matches!(outcome.connecting, Some(Error::AlertReceived(_))), "{outcome:?}");
}

// Who shows the key of the cluster has to have it (RFC 8446 §4.4.3).
#[test]
fn a_key_that_is_only_shown_is_refused() {
    let a = of_secret(&[1; 32]);
    let other = PrivatePkcs8KeyDer::from([&ED25519_PKCS8[..], &[9; 32]].concat());
    let other = provider().key_provider.load_private_key(other.into()).expect("a key");
    let shown = CertificateDer::from(public(&[1; 32]).to_vec());
    let forged = Arc::new(CertifiedKey::new(vec![shown], other));
    let mut thief = of_secret(&[1; 32]);
    Arc::get_mut(&mut thief.connecting).expect("its only owner").client_auth_cert_resolver =
        Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&forged)));
    Arc::get_mut(&mut thief.accepting).expect("its only owner").cert_resolver =
        Arc::new(AlwaysResolvesServerRawPublicKeys::new(forged));
    let bad = Some(Error::from(CertificateError::BadSignature));
    assert_eq!(handshake(&thief, &a, "a.example.test").accepting, bad);
    assert_eq!(handshake(&a, &thief, "b.example.test").connecting, bad);
}

fn public(octets: &[u8]) -> SubjectPublicKeyInfoDer<'static> {
    let key = PrivatePkcs8KeyDer::from([&ED25519_PKCS8[..], &secret(octets).derive(LABEL)].concat());
    let key = provider().key_provider.load_private_key(key.into()).expect("a key");
    key.public_key().expect("a public key").into_owned()
}

#[test]
fn nodes_with_certificates_of_one_ca_take_each_other() {
    let ours = Authority::new();
    let (a, b) = (ours.tls("a.example.test"), ours.tls("192.0.2.2"));
    assert!(handshake(&a, &b, "192.0.2.2").is_good());
    assert!(handshake(&b, &a, "a.example.test").is_good());
    let outcome = handshake(&b, &a, "b.example.test");
    assert!(matches!(outcome.connecting, Some(Error::InvalidCertificate(_))), "another host: {outcome:?}");
}

#[test]
fn certificates_of_another_ca_are_refused_by_both_sides() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (a, stranger) = (ours.tls("a.example.test"), theirs.tls("b.example.test"));
    let outcome = handshake(&a, &stranger, "b.example.test");
    assert!(matches!(outcome.connecting, Some(Error::InvalidCertificate(_))), "{outcome:?}");
    // Its own certificates, but our CA to know others by.
    let Credentials::Certificates { certificate, key, .. } = theirs.credentials("b.example.test") else {
        unreachable!("files")
    };
    let ca = ours.folder.path().join("ca.pem");
    let careless = Tls::new(&Credentials::Certificates { certificate, key, ca }).expect("both sides");
    let outcome = handshake(&careless, &a, "a.example.test");
    assert!(matches!(outcome.accepting, Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented)));
    assert!(matches!(outcome.connecting, Some(Error::AlertReceived(_))), "{outcome:?}");
}

#[test]
fn a_secret_and_certificates_do_not_fit() {
    let (secret, files) = (of_secret(&[1; 32]), Authority::new().tls("a.example.test"));
    assert!(!handshake(&secret, &files, "a.example.test").is_good());
    assert!(!handshake(&files, &secret, "a.example.test").is_good());
}

#[test]
fn another_protocol_is_refused() {
    let (a, mut b) = (of_secret(&[1; 32]), of_secret(&[1; 32]));
    Arc::get_mut(&mut b.connecting).expect("its only owner").alpn_protocols = vec![b"h2".to_vec()];
    let outcome = handshake(&b, &a, "a.example.test");
    assert_eq!(outcome.connecting, Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)));
}

#[test]
fn files_without_what_is_expected_are_named() {
    let ours = Authority::new();
    let Credentials::Certificates { certificate, key, ca } = ours.credentials("a.example.test") else {
        unreachable!("files")
    };
    let file = |certificate: &Path, key: &Path, ca: &Path| {
        let (certificate, key, ca) = (certificate.into(), key.into(), ca.into());
        match Tls::new(&Credentials::Certificates { certificate, key, ca }).expect_err("refused") {
            CredentialsError::Pem { of, .. } | CredentialsError::NoCertificate { of, .. } => Some(of),
            CredentialsError::Tls(_) | CredentialsError::Verifier(_) => None,
        }
    };
    let missing = Path::new("/nowhere/node.pem");
    assert_eq!(file(missing, &key, &ca), Some(CredentialFile::Certificate));
    assert_eq!(file(&certificate, missing, &ca), Some(CredentialFile::Key));
    assert_eq!(file(&certificate, &key, missing), Some(CredentialFile::Ca));
    assert_eq!(file(&certificate, &certificate, &ca), Some(CredentialFile::Key));
    assert_eq!(file(&key, &key, &ca), Some(CredentialFile::Certificate));
    let Credentials::Certificates { key: another, .. } = ours.credentials("b.example.test") else {
        unreachable!("files")
    };
    assert_eq!(file(&certificate, &another, &ca), None, "they do not belong together");
}
