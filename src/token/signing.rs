//! Signing of tokens, for `roomwire token issue` and tests.

use std::fmt;

use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair, Signature};

use super::algorithm::{Algorithm, KeyFamily};
use super::compact::encode;
use super::invalid_key::InvalidKey;
use super::key::digest;
use super::pem;

/// A key that signs tokens. `Debug` prints its kind only.
pub enum SigningKey {
    Secret(Vec<u8>),
    Rsa(Box<RsaKeyPair>),
    Ecdsa(KeyFamily, Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl SigningKey {
    /// A shared secret.
    pub fn secret(secret: &[u8]) -> Self {
        Self::Secret(secret.to_vec())
    }

    /// The private key in a PEM file, which must have the form of PKCS #8.
    ///
    /// # Errors
    /// The file contains no usable key.
    pub fn from_pem(file: &[u8]) -> Result<Self, InvalidKey> {
        Self::from_pkcs8(&pem::private_key(file)?)
    }

    /// A private key of PKCS #8 in DER.
    ///
    /// # Errors
    /// It is of another form or kind.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, InvalidKey> {
        let random = SystemRandom::new();
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(Self::Ed25519(Box::new(pair)));
        }
        if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
            return Ok(Self::Rsa(Box::new(pair)));
        }
        for (family, method) in [
            (KeyFamily::P256, &signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            (KeyFamily::P384, &signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        ] {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(method, der, &random) {
                return Ok(Self::Ecdsa(family, Box::new(pair)));
            }
        }
        Err(InvalidKey::Unsupported)
    }

    /// Its kind.
    pub fn family(&self) -> KeyFamily {
        match self {
            Self::Secret(_) => KeyFamily::Hmac,
            Self::Rsa(_) => KeyFamily::Rsa,
            Self::Ecdsa(family, _) => *family,
            Self::Ed25519(_) => KeyFamily::Ed25519,
        }
    }

    /// A token with these claims, a JSON object. `key` is the id (`kid`) that the header names.
    ///
    /// # Errors
    /// The key is not for this algorithm.
    pub fn sign(
        &self,
        algorithm: Algorithm,
        key: Option<&str>,
        claims: &str,
    ) -> Result<String, InvalidKey> {
        let mut header = serde_json::json!({"alg": algorithm.name(), "typ": "JWT"});
        if let Some(key) = key {
            header["kid"] = key.into();
        }
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims));
        let signature = self
            .signature(algorithm, signed.as_bytes())
            .ok_or_else(|| InvalidKey::Algorithm(algorithm, self.family()))?;
        Ok(format!("{signed}.{}", encode(signature)))
    }

    fn signature(&self, algorithm: Algorithm, signed: &[u8]) -> Option<Vec<u8>> {
        if algorithm.family() != self.family() {
            return None;
        }
        let random = SystemRandom::new();
        match self {
            Self::Secret(secret) => {
                let key = hmac::Key::new(digest(algorithm)?, secret);
                Some(hmac::sign(&key, signed).as_ref().to_vec())
            }
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding = padding(algorithm)?;
                pair.sign(padding, &random, signed, &mut signature).ok()?;
                Some(signature)
            }
            Self::Ecdsa(_, pair) => owned(pair.sign(&random, signed).ok()?),
            Self::Ed25519(pair) => owned(pair.sign(signed)),
        }
    }
}

fn owned(signature: Signature) -> Option<Vec<u8>> {
    Some(signature.as_ref().to_vec())
}

fn padding(algorithm: Algorithm) -> Option<&'static dyn signature::RsaEncoding> {
    Some(match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_SHA512,
        _ => return None,
    })
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.family()).finish()
    }
}
