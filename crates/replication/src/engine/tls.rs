//! TLS to the servers of an engine: made once, the same for all connections.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::CredentialsError;
use crate::tls::{provider, roots_of};

/// Certificates by which servers cannot be known.
#[derive(Debug, thiserror::Error)]
pub enum EngineTlsError {
    /// Those of the file.
    #[error(transparent)]
    Ca(#[from] CredentialsError),
    /// Those that this machine trusts: they cannot be read.
    #[error("the certificates that this machine trusts: {0}")]
    Machine(#[from] rustls_native_certs::Error),
    /// There are none that this machine trusts.
    #[error("this machine trusts no certificates; with ca it takes those of a file")]
    None,
}

/// Whose certificates are taken for those of an engine's servers.
#[derive(Clone, Debug)]
pub struct EngineTls(Arc<ClientConfig>);

impl EngineTls {
    /// Takes certificates that those in a file in PEM signed, or without one those whom this machine trusts. Reads all of them.
    ///
    /// # Errors
    /// The file is not what it should be, or this machine trusts nobody.
    pub fn new(ca: Option<&Path>) -> Result<Self, EngineTlsError> {
        let roots = match ca {
            Some(ca) => roots_of(ca)?,
            None => roots_of_this_machine()?,
        };
        // Not TLS 1.3 alone, as between nodes: such servers are others' too.
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(CredentialsError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Has a server prove that it is `host`.
    pub(super) async fn shake(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await
    }
}

/// Some of a machine's many may be of no use: the others do.
fn roots_of_this_machine() -> Result<RootCertStore, EngineTlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    match found.errors.into_iter().next() {
        _ if taken > 0 => Ok(roots),
        Some(error) => Err(error.into()),
        None => Err(EngineTlsError::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        assert!(matches!(EngineTls::new(Some(&path)), Err(EngineTlsError::Ca(CredentialsError::Pem { .. }))));
        std::fs::write(&path, "no certificate").expect("a file");
        assert!(matches!(
            EngineTls::new(Some(&path)),
            Err(EngineTlsError::Ca(CredentialsError::NoCertificate { .. }))
        ));
    }
}
