//! Sets of public keys (JWKS, RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::algorithm::{Algorithm, KeyFamily};
use super::key::VerifyingKey;

/// Maximum number of keys of a set: a token without a `kid` is tried with each key of its kind.
const MAX_KEYS: usize = 32;

/// Why a set cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    #[error("it is not a JSON object with a list `keys`")]
    Malformed,
    #[error("it has no public key that can verify tokens")]
    Empty,
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
}

#[derive(Deserialize)]
struct KeySetFields {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct KeyFields {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Reads the public keys of a set. Keys of other kinds or for other purposes are skipped, as the standard requires;
/// so are secrets, because a set is public.
///
/// # Errors
/// The text is not a set, or no key is left.
pub fn read_key_set(text: &[u8]) -> Result<Vec<VerifyingKey>, InvalidKeySet> {
    let set: KeySetFields = serde_json::from_slice(text).map_err(|_| InvalidKeySet::Malformed)?;
    if set.keys.len() > MAX_KEYS {
        return Err(InvalidKeySet::TooMany);
    }
    let keys: Vec<_> = set.keys.into_iter().filter_map(read_key).collect();
    match keys.is_empty() {
        true => Err(InvalidKeySet::Empty),
        false => Ok(keys),
    }
}

fn read_key(value: Value) -> Option<VerifyingKey> {
    let fields: KeyFields = serde_json::from_value(value).ok()?;
    let signs = fields.purpose.as_deref().is_none_or(|it| it == "sig");
    let mut operations = fields.key_ops.iter().flatten();
    if !signs || (fields.key_ops.is_some() && !operations.any(|it| it == "verify")) {
        return None;
    }
    let key = match (fields.kty.as_str(), fields.crv.as_deref()) {
        ("RSA", _) => VerifyingKey::rsa(&decode(&fields.n)?, &decode(&fields.e)?),
        ("EC", Some("P-256")) => point(KeyFamily::P256, 32, &fields),
        ("EC", Some("P-384")) => point(KeyFamily::P384, 48, &fields),
        ("OKP", Some("Ed25519")) => VerifyingKey::public(KeyFamily::Ed25519, &decode(&fields.x)?),
        _ => return None,
    };
    let algorithms = match fields.alg.as_deref() {
        Some(name) => vec![Algorithm::named(name)?],
        None => Vec::new(),
    };
    let key = key.ok()?.limited_to(algorithms).ok()?;
    Some(key.with_id(fields.kid))
}

/// A point of a curve, not compressed.
fn point(
    family: KeyFamily,
    length: usize,
    fields: &KeyFields,
) -> Result<VerifyingKey, super::InvalidKey> {
    let mut point = vec![4];
    for coordinate in [&fields.x, &fields.y] {
        let coordinate = decode(coordinate).filter(|it| it.len() == length);
        point.extend(coordinate.ok_or(super::InvalidKey::Malformed)?);
    }
    VerifyingKey::public(family, &point)
}

fn decode(field: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(field.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of RFC 7515, appendix A.3.1.
    const P256: &str = r#"{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    /// Of RFC 8037, appendix A.2.
    const ED25519: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn set(keys: &[&str]) -> Result<Vec<VerifyingKey>, InvalidKeySet> {
        read_key_set(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    #[test]
    fn usable_keys_are_read_and_others_skipped() {
        let with = |key: &str, field: &str| key.replacen('{', &format!("{{{field},"), 1);
        let keys = set(&[
            P256,
            ED25519,
            &with(P256, r#""use":"enc""#),
            &with(P256, r#""key_ops":["sign"]"#),
            &with(P256, r#""alg":"ES512""#),
            &with(P256, r#""alg":"RS256""#),
            &P256.replace("P-256", "P-521"),
            &P256.replace("f83O", "f8"),
            r#"{"kty":"oct","k":"c2VjcmV0"}"#,
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
            r#"{"kty":"new"}"#,
            "7",
        ])
        .unwrap();
        let found: Vec<_> = keys.iter().map(|key| (key.family(), key.id())).collect();
        assert_eq!(
            found,
            [(KeyFamily::P256, Some("a")), (KeyFamily::Ed25519, None)]
        );
        let limited = set(&[&with(
            P256,
            r#""alg":"ES256","use":"sig","key_ops":["verify"]"#,
        )]);
        assert!(limited.unwrap()[0].allows(Algorithm::Es256));
    }

    #[test]
    fn a_set_without_a_usable_key_is_rejected() {
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
            let rejected = read_key_set(text.as_bytes()).map(|_| ());
            assert_eq!(rejected, Err(InvalidKeySet::Malformed), "{text}");
        }
        assert_eq!(set(&[]).map(|_| ()), Err(InvalidKeySet::Empty));
        let secret = r#"{"kty":"oct","k":"c2VjcmV0"}"#;
        assert_eq!(set(&[secret]).map(|_| ()), Err(InvalidKeySet::Empty));
        assert_eq!(set(&[P256; 33]).map(|_| ()), Err(InvalidKeySet::TooMany));
    }
}
