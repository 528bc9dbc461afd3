//! Why a file or text is not a key.

use super::algorithm::{Algorithm, KeyFamily};

/// Why something cannot be used as a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("it contains no public key or certificate in PEM format")]
    NotPem,
    #[error("it is a private key; name the file of the public key")]
    Private,
    #[error(
        "it is not a private key of PKCS #8 in PEM format; convert it with `openssl pkcs8 -topk8 -nodes`"
    )]
    NotPrivate,
    #[error("it is malformed")]
    Malformed,
    #[error("keys of this kind are not supported; use RSA, P-256, P-384 or Ed25519")]
    Unsupported,
    #[error("RSA keys need 2048 bits or more")]
    Short,
    #[error("{} is not an algorithm of {}", .0.name(), .1.name())]
    Algorithm(Algorithm, KeyFamily),
}
