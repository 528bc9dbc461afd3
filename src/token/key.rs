//! Keys that verify signatures.

use std::fmt;

use ring::hmac;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};

use super::algorithm::{Algorithm, KeyFamily};
use super::invalid_key::InvalidKey;
use super::pem;

/// A key that verifies tokens. `Debug` prints its kind and id only.
#[derive(Clone)]
pub struct VerifyingKey {
    id: Option<Box<str>>,
    material: Material,
    /// Empty: all algorithms of the family.
    algorithms: Vec<Algorithm>,
}

#[derive(Clone)]
enum Material {
    Secret(Box<[u8]>),
    /// A PKCS #1 key in DER, a point of a curve, or 32 bytes, depending on the family.
    Public(KeyFamily, Box<[u8]>),
    /// Modulus and exponent, big endian without leading zeros.
    Rsa {
        n: Box<[u8]>,
        e: Box<[u8]>,
    },
}

/// Length in bytes of a modulus of 2048 bits.
const MIN_RSA_LENGTH: usize = 256;

impl VerifyingKey {
    /// A shared secret.
    pub fn secret(secret: &[u8]) -> Self {
        Self::of(Material::Secret(secret.into()))
    }

    /// The first public key or certificate in a PEM file.
    ///
    /// # Errors
    /// The file contains no usable key.
    pub fn from_pem(file: &[u8]) -> Result<Self, InvalidKey> {
        let (family, key) = pem::public_key(file)?;
        Self::public(family, &key)
    }

    /// An RSA key by its modulus and exponent, big endian.
    ///
    /// # Errors
    /// The key is too short.
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<Self, InvalidKey> {
        let trimmed = |bytes: &[u8]| -> Box<[u8]> {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes[zeros..].into()
        };
        let (n, e) = (trimmed(n), trimmed(e));
        if n.len() < MIN_RSA_LENGTH {
            return Err(InvalidKey::Short);
        }
        match e.is_empty() {
            true => Err(InvalidKey::Malformed),
            false => Ok(Self::of(Material::Rsa { n, e })),
        }
    }

    /// A public key in the form in which certificates contain it.
    ///
    /// # Errors
    /// The family has no keys of this length.
    pub fn public(family: KeyFamily, key: &[u8]) -> Result<Self, InvalidKey> {
        // An uncompressed point begins with 4.
        let fits = match family {
            KeyFamily::Hmac => false,
            KeyFamily::Rsa if key.len() < MIN_RSA_LENGTH => return Err(InvalidKey::Short),
            KeyFamily::Rsa => true,
            KeyFamily::P256 => key.len() == 65 && key[0] == 4,
            KeyFamily::P384 => key.len() == 97 && key[0] == 4,
            KeyFamily::Ed25519 => key.len() == 32,
        };
        match fits {
            true => Ok(Self::of(Material::Public(family, key.into()))),
            false => Err(InvalidKey::Malformed),
        }
    }

    fn of(material: Material) -> Self {
        Self {
            id: None,
            material,
            algorithms: Vec::new(),
        }
    }

    /// The key with this id (`kid`): it verifies tokens that name the id, or none.
    pub fn with_id(self, id: Option<String>) -> Self {
        Self {
            id: id.map(String::into_boxed_str),
            ..self
        }
    }

    /// The key for these algorithms only; for all of its family if `algorithms` is empty.
    ///
    /// # Errors
    /// One of them is of another family.
    pub fn limited_to(self, algorithms: Vec<Algorithm>) -> Result<Self, InvalidKey> {
        let family = self.family();
        let foreign = algorithms.iter().find(|it| it.family() != family);
        match foreign {
            Some(foreign) => Err(InvalidKey::Algorithm(*foreign, family)),
            None => Ok(Self { algorithms, ..self }),
        }
    }

    /// Its id.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its kind.
    pub fn family(&self) -> KeyFamily {
        match &self.material {
            Material::Secret(_) => KeyFamily::Hmac,
            Material::Public(family, _) => *family,
            Material::Rsa { .. } => KeyFamily::Rsa,
        }
    }

    /// Whether it verifies signatures of this algorithm.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        let limited = &self.algorithms;
        algorithm.family() == self.family() && (limited.is_empty() || limited.contains(&algorithm))
    }

    /// Whether `signature` is the key's signature of `signed`.
    pub(super) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        if !self.allows(algorithm) {
            return false;
        }
        match &self.material {
            Material::Secret(secret) => {
                let Some(digest) = digest(algorithm) else {
                    return false;
                };
                hmac::verify(&hmac::Key::new(digest, secret), signed, signature).is_ok()
            }
            Material::Rsa { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                rsa(algorithm).is_some_and(|rsa| key.verify(rsa, signed, signature).is_ok())
            }
            Material::Public(_, key) => {
                let verify = |method: &'static dyn signature::VerificationAlgorithm| {
                    let key = UnparsedPublicKey::new(method, key);
                    key.verify(signed, signature).is_ok()
                };
                match algorithm {
                    Algorithm::Es256 => verify(&signature::ECDSA_P256_SHA256_FIXED),
                    Algorithm::Es384 => verify(&signature::ECDSA_P384_SHA384_FIXED),
                    Algorithm::EdDsa => verify(&signature::ED25519),
                    _ => rsa(algorithm).is_some_and(|rsa| verify(rsa)),
                }
            }
        }
    }
}

/// The digest of an HMAC algorithm.
pub(super) fn digest(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::Hs256 => Some(hmac::HMAC_SHA256),
        Algorithm::Hs384 => Some(hmac::HMAC_SHA384),
        Algorithm::Hs512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("id", &self.id)
            .field("family", &self.family())
            .finish_non_exhaustive()
    }
}
