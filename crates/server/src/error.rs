//! Every way in which the stack refuses a request.

use crate::layers::AdmissionError;
use crate::local::LocalError;

/// The error of the stack: `rescue` alone makes it a response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not let in.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// Not authenticated, or not who it says.
    #[error(transparent)]
    Auth(#[from] sip_auth::Error),
    /// REGISTER.
    #[error(transparent)]
    Registrar(#[from] registrar::Error),
    /// PUBLISH and SUBSCRIBE.
    #[error(transparent)]
    Presence(#[from] presence::Error),
    /// Forwarding.
    #[error(transparent)]
    Proxy(#[from] proxy::Error),
    /// For the server itself.
    #[error(transparent)]
    Local(#[from] LocalError),
}
