//! TLS 1.3 with proof from both sides (RFC 8446 §4.4): how nodes know each other.
//!
//! With a shared secret, both sides present the Ed25519 key that is derived from it, as a raw public key (RFC 7250), and take
//! no other: there is no certificate, no name and no date in it. With certificates, both sides present one of the CA that is
//! given, and take any of that CA; who connects wants the host of the address that it connects to in it. So that CA
//! should sign for nodes of the cluster alone.
//!
//! Nothing is resumed: each connection proves both sides again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme, version,
};

use crate::ClusterSecret;

/// What both sides want to speak (RFC 7301), so that no other service's connection is taken for ours.
const ALPN: &[u8] = b"rollcall-replication";
/// What the key of a cluster is derived under.
const LABEL: &str = "rollcall link key 1";
/// A PKCS #8 `OneAsymmetricKey` of an Ed25519 seed, up to that seed (RFC 8410 §7).
const ED25519_PKCS8: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// What a node proves itself with, and knows others by.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A secret that all nodes share.
    Secret(ClusterSecret),
    /// Files in PEM.
    Certificates {
        /// Our certificate, and those between it and the CA.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
        /// The certificates by which those of others have to be signed.
        ca: PathBuf,
    },
}

/// Credentials that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file is not there, or has not what it should.
    #[error("{path}: {source}")]
    Pem {
        /// Which of the three.
        of: CredentialFile,
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file has no certificate that can be used.
    #[error("{path}: expected a certificate in PEM")]
    NoCertificate {
        /// Which of the three.
        of: CredentialFile,
        /// The file.
        path: PathBuf,
    },
    /// They do not fit together, or are of a kind that is not known.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    /// The CA's certificates are none to verify by.
    #[error("{0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// Which file a fault is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialFile {
    /// Our certificate.
    Certificate,
    /// Its key.
    Key,
    /// Those who sign for others.
    Ca,
}

/// Both sides of TLS as a node has them.
#[derive(Clone)]
pub struct Tls {
    pub(crate) connecting: Arc<ClientConfig>,
    pub(crate) accepting: Arc<ServerConfig>,
    is_by_name: bool,
}

impl Tls {
    /// Makes both sides.
    ///
    /// # Errors
    /// A file is not there, or is not what it should be.
    pub fn new(credentials: &Credentials) -> Result<Self, CredentialsError> {
        match credentials {
            Credentials::Secret(secret) => Self::of_secret(secret),
            Credentials::Certificates { certificate, key, ca } => Self::of_files(certificate, key, ca),
        }
    }

    fn of_secret(secret: &ClusterSecret) -> Result<Self, CredentialsError> {
        let provider = provider();
        let key = PrivatePkcs8KeyDer::from([&ED25519_PKCS8[..], &secret.derive(LABEL)].concat());
        let key = provider.key_provider.load_private_key(key.into())?;
        let public = key.public_key().ok_or(rustls::Error::General("a key without a public one".into()))?;
        let pinned = Arc::new(Pinned { key: public.into_owned(), provider: Arc::clone(&provider) });
        let own = vec![CertificateDer::from(pinned.key.to_vec())];
        let own = Arc::new(CertifiedKey::new(own, key));
        let connecting = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&pinned) as _)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&own))));
        let accepting = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(pinned)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own)));
        Ok(Self::of(connecting, accepting, false))
    }

    fn of_files(certificate: &Path, key: &Path, ca: &Path) -> Result<Self, CredentialsError> {
        let provider = provider();
        let own = certificates(CredentialFile::Certificate, certificate)?;
        let named = |source| CredentialsError::Pem { of: CredentialFile::Key, path: key.into(), source };
        let key = PrivateKeyDer::from_pem_file(key).map_err(named)?;
        let roots = Arc::new(roots_of(ca)?);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build()?;
        let connecting = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(own.clone(), key.clone_key())?;
        let accepting = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(own, key)?;
        Ok(Self::of(connecting, accepting, true))
    }

    fn of(mut connecting: ClientConfig, mut accepting: ServerConfig, is_by_name: bool) -> Self {
        connecting.resumption = Resumption::disabled();
        connecting.alpn_protocols = vec![ALPN.to_vec()];
        // A raw key is of no name.
        connecting.enable_sni = is_by_name;
        accepting.send_tls13_tickets = 0;
        accepting.alpn_protocols = vec![ALPN.to_vec()];
        Self { connecting: Arc::new(connecting), accepting: Arc::new(accepting), is_by_name }
    }

    /// Whom to expect at `host`, a name or an address; `None` if it can be in no certificate.
    pub(crate) fn name(&self, host: &str) -> Option<ServerName<'static>> {
        let host = if self.is_by_name { host } else { "node.invalid" };
        ServerName::try_from(host.to_owned()).ok()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("is_by_name", &self.is_by_name).finish_non_exhaustive()
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Those who sign for others, from a file.
pub(crate) fn roots_of(ca: &Path) -> Result<RootCertStore, CredentialsError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(CredentialFile::Ca, ca)? {
        roots.add(root)?;
    }
    Ok(roots)
}

fn certificates(of: CredentialFile, path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let named = |source| CredentialsError::Pem { of, path: path.into(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(named)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(named)?;
    if found.is_empty() {
        return Err(CredentialsError::NoCertificate { of, path: path.into() });
    }
    Ok(found)
}

/// Takes one key, whose owner has proved that it has the private one.
#[derive(Debug)]
struct Pinned {
    key: SubjectPublicKeyInfoDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn check(&self, shown: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        if shown.as_ref() == self.key.as_ref() && more.is_empty() {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }
}

fn only_tls13() -> rustls::Error {
    rustls::Error::General("TLS 1.3 was agreed upon".into())
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(shown, more).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(shown, more).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
