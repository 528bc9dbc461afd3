//! Keys in PEM files.

use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ED25519,
};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};

use super::algorithm::KeyFamily;
use super::invalid_key::InvalidKey;

/// The first public key or certificate of a file, in the form of [`VerifyingKey::public`](super::VerifyingKey::public).
pub(super) fn public_key(file: &[u8]) -> Result<(KeyFamily, Vec<u8>), InvalidKey> {
    for section in sections(file) {
        match section.label.as_str() {
            "PUBLIC KEY" => {
                let (_, info) = SubjectPublicKeyInfo::from_der(&section.contents)
                    .map_err(|_| InvalidKey::Malformed)?;
                return of_info(&info);
            }
            "CERTIFICATE" => {
                let (_, certificate) = X509Certificate::from_der(&section.contents)
                    .map_err(|_| InvalidKey::Malformed)?;
                return of_info(certificate.public_key());
            }
            "RSA PUBLIC KEY" => return Ok((KeyFamily::Rsa, section.contents)),
            label if label.ends_with("PRIVATE KEY") => return Err(InvalidKey::Private),
            _ => {}
        }
    }
    Err(InvalidKey::NotPem)
}

/// The first private key of a file, in the form of PKCS #8.
pub(super) fn private_key(file: &[u8]) -> Result<Vec<u8>, InvalidKey> {
    let mut keys = sections(file).filter(|section| section.label == "PRIVATE KEY");
    keys.next()
        .map(|section| section.contents)
        .ok_or(InvalidKey::NotPrivate)
}

fn sections(file: &[u8]) -> impl Iterator<Item = Pem> {
    Pem::iter_from_buffer(file).map_while(Result::ok)
}

fn of_info(info: &SubjectPublicKeyInfo<'_>) -> Result<(KeyFamily, Vec<u8>), InvalidKey> {
    let kind = &info.algorithm.algorithm;
    let family = if *kind == OID_PKCS1_RSAENCRYPTION {
        KeyFamily::Rsa
    } else if *kind == OID_SIG_ED25519 {
        KeyFamily::Ed25519
    } else if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let parameters = info.algorithm.parameters.as_ref();
        let curve = parameters.and_then(|parameters| parameters.as_oid().ok());
        match curve {
            Some(curve) if curve == OID_EC_P256 => KeyFamily::P256,
            Some(curve) if curve == OID_NIST_EC_P384 => KeyFamily::P384,
            _ => return Err(InvalidKey::Unsupported),
        }
    } else {
        return Err(InvalidKey::Unsupported);
    };
    Ok((family, info.subject_public_key.data.to_vec()))
}
