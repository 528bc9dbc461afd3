//! Signed tokens of clients, and the keys that sign them.

use std::time::{SystemTime, UNIX_EPOCH};

use roomwire::token::{Algorithm, SigningKey};
use serde_json::{Value, json};

/// The secret of [`token`], and the setting that makes a node accept it.
pub const SECRET: &str = "a secret of forty-eight characters, more or less";
pub const SETTING: (&str, &str) = ("AUTH__SECRET", SECRET);

/// Private keys of every kind but a secret, in PEM, and their public keys.
pub const RSA: (&str, &str) = (
    include_str!("../../../src/token/test_keys/rsa.pem"),
    include_str!("../../../src/token/test_keys/rsa.pub.pem"),
);
pub const P256: (&str, &str) = (
    include_str!("../../../src/token/test_keys/p256.pem"),
    include_str!("../../../src/token/test_keys/p256.pub.pem"),
);
pub const P384: (&str, &str) = (
    include_str!("../../../src/token/test_keys/p384.pem"),
    include_str!("../../../src/token/test_keys/p384.pub.pem"),
);
pub const ED25519: (&str, &str) = (
    include_str!("../../../src/token/test_keys/ed25519.pem"),
    include_str!("../../../src/token/test_keys/ed25519.pub.pem"),
);

/// Seconds since 1970, `offset` from now.
pub fn seconds(offset: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() as i64 + offset
}

/// The claims of a valid token of `anna`, with `more` on top.
pub fn claims(more: Value) -> Value {
    let mut claims = json!({"sub": "anna", "exp": seconds(600), "iat": seconds(-1)});
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// A token of `anna` with these further claims, signed with [`SECRET`].
pub fn token(more: Value) -> String {
    sign(&claims(more), Algorithm::Hs256, None)
}

/// A token with these claims, signed with [`SECRET`].
pub fn sign(claims: &Value, algorithm: Algorithm, key: Option<&str>) -> String {
    let signer = SigningKey::secret(SECRET.as_bytes());
    signer.sign(algorithm, key, &claims.to_string()).unwrap()
}

/// A token of `anna`, signed with a private key.
pub fn signed_by(private: &str, algorithm: Algorithm, key: Option<&str>) -> String {
    let signer = SigningKey::from_pem(private.as_bytes()).unwrap();
    let claims = claims(json!({})).to_string();
    signer.sign(algorithm, key, &claims).unwrap()
}
