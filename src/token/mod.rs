//! Signed tokens as values: JWTs in compact form, the keys that verify them, sets of keys (JWKS), and signing.
//!
//! Pure: no clock, file, socket or configuration. Which keys are trusted, and what the claims of a token mean, is
//! decided in `auth`. The cryptography is that of `ring`, which the TLS of a node uses too (docs/adr/0018-tokens.md).

mod algorithm;
mod compact;
mod invalid_key;
mod key;
mod key_set;
mod pem;
mod signing;
#[cfg(test)]
mod tests;

pub use algorithm::{Algorithm, KeyFamily};
pub use compact::{CompactToken, InvalidToken, TokenHeader};
pub use invalid_key::InvalidKey;
pub use key::VerifyingKey;
pub use key_set::{InvalidKeySet, read_key_set};
pub use signing::SigningKey;
