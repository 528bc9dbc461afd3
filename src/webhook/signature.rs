//! Signatures of requests as Standard Webhooks defines them.
//!
//! `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`, once for each secret, separated by spaces. A secret that
//! begins with `whsec_` is the base64 of the key; any other is the key itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::Secret;
use crate::model::base64::decode_lenient;

/// Prefix of a secret that is written in base64.
const ENCODED: &str = "whsec_";

/// Signs requests with all secrets of a node.
#[derive(Clone, Default)]
pub struct Signer(Box<[Hmac<Sha256>]>);

impl Signer {
    /// A signer with these secrets; without any, requests are not signed.
    pub fn new(secrets: &[Secret]) -> Self {
        let keys = secrets.iter().filter_map(|secret| {
            let text = secret.expose();
            let key = match text.strip_prefix(ENCODED) {
                Some(encoded) => decode_lenient(encoded.as_bytes()).ok()?,
                None => text.as_bytes().to_vec(),
            };
            Hmac::new_from_slice(&key).ok()
        });
        Self(keys.collect())
    }

    /// The value of `webhook-signature`; `None` without secrets. `timestamp` is in seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let mut signatures = String::with_capacity(48 * self.0.len());
        for key in &self.0 {
            let mut mac = key.clone();
            mac.update(id.as_bytes());
            mac.update(format!(".{timestamp}.").as_bytes());
            mac.update(body);
            if !signatures.is_empty() {
                signatures.push(' ');
            }
            signatures.push_str("v1,");
            STANDARD.encode_string(mac.finalize().into_bytes(), &mut signatures);
        }
        Some(signatures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn sign(secrets: &[&str], body: &str) -> Option<String> {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::from(*text)).collect();
        Signer::new(&secrets).sign(ID, 1_614_265_330, body.as_bytes())
    }

    #[test]
    fn the_example_of_standard_webhooks_has_its_signature() {
        assert_eq!(
            sign(&[SECRET], r#"{"test": 2432232314}"#).as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
    }

    #[test]
    fn each_secret_adds_a_signature_and_none_adds_none() {
        let old = sign(&["an older secret, as text"], "{}").unwrap();
        let new = sign(&[SECRET], "{}").unwrap();
        let both = sign(&[SECRET, "an older secret, as text"], "{}").unwrap();
        assert_eq!(both, format!("{new} {old}"));
        assert_eq!(sign(&[], "{}"), None);
    }
}
