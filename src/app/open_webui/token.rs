//! The token of a browser: a JWT signed with HS256.
//!
//! Whether a token is still valid is decided by a backend; this file rejects tokens that cannot be.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

use crate::config::Secret;

/// Maximum size in bytes; tokens of stock backends have about 400.
const MAX_SIZE: usize = 8 * 1024;

/// A well-formed token. `Debug` does not print it.
#[derive(Clone)]
pub(super) struct Token {
    text: Arc<str>,
    pub(super) claims: Arc<Claims>,
}

/// The claims used here.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Claims {
    /// Id of the user.
    pub(super) user: String,
    /// Id of the token, by which it is revoked.
    pub(super) id: Option<String>,
    /// Time of issue in seconds since 1970.
    pub(super) issued: Option<i64>,
    /// Time of expiry in seconds since 1970.
    pub(super) expires: Option<i64>,
}

/// Why a token cannot be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("token longer than {MAX_SIZE} bytes")]
    TooLong,
    #[error("not a JWT signed with HS256")]
    NotJwt,
    #[error("token expired")]
    Expired,
    #[error("signature does not match WEBUI_SECRET_KEY")]
    Signature,
}

#[derive(Deserialize)]
struct JwtHeader {
    alg: String,
}

#[derive(Deserialize)]
struct JwtBody {
    id: String,
    jti: Option<String>,
    iat: Option<Value>,
    exp: Option<Value>,
}

impl Token {
    /// Parses a token at `now`, in seconds since 1970. With a `key` the signature is verified too.
    ///
    /// # Errors
    /// The token is malformed, expired, or not signed with `key`.
    pub(super) fn parse(text: &str, key: Option<&Secret>, now: i64) -> Result<Self, TokenError> {
        if text.len() > MAX_SIZE {
            return Err(TokenError::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::NotJwt)?;
        let (header, body) = signed.split_once('.').ok_or(TokenError::NotJwt)?;
        let header: JwtHeader = decode_part(header)?;
        if header.alg != "HS256" {
            return Err(TokenError::NotJwt);
        }
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| TokenError::NotJwt)?;
        if let Some(key) = key {
            let mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes());
            let mut mac = mac.map_err(|_| TokenError::Signature)?;
            mac.update(signed.as_bytes());
            mac.verify_slice(&signature)
                .map_err(|_| TokenError::Signature)?;
        }
        let body: JwtBody = decode_part(body)?;
        let token = Self {
            text: text.into(),
            claims: Arc::new(Claims {
                user: body.id,
                id: body.jti,
                issued: body.iat.as_ref().and_then(seconds),
                expires: body.exp.as_ref().and_then(seconds),
            }),
        };
        if token.is_expired(now) {
            return Err(TokenError::Expired);
        }
        Ok(token)
    }

    /// Whether the token has expired at `now`, seconds since 1970.
    pub(super) fn is_expired(&self, now: i64) -> bool {
        self.claims.expires.is_some_and(|end| end <= now)
    }

    /// The secret text, for a request to a backend.
    pub(super) fn expose(&self) -> &Arc<str> {
        &self.text
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token of user {:?}", self.claims.user)
    }
}

fn decode_part<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, TokenError> {
    let json = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenError::NotJwt)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::NotJwt)
}

/// The time of a claim; JWTs allow fractions of seconds.
fn seconds(time: &Value) -> Option<i64> {
    time.as_i64()
        .or_else(|| time.as_f64().map(|time| time as i64))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A token as backends issue it.
    pub(in super::super) fn signed(key: &str, body: &str) -> String {
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(body));
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        let signature = mac.finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn malformed_expired_and_forged_tokens_are_rejected() {
        let key = Secret::from("right");
        let good = signed("right", r#"{"id":"u","jti":"j","iat":10.5,"exp":100}"#);
        let token = Token::parse(&good, Some(&key), 99).unwrap();
        let expected = Claims {
            user: "u".into(),
            id: Some("j".into()),
            issued: Some(10),
            expires: Some(100),
        };
        assert_eq!(*token.claims, expected);
        assert!(!format!("{token:?}").contains(&good));
        let forged = signed("wrong", r#"{"id":"u"}"#);
        let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), "e30");
        let cases = [
            (good.as_str(), 100, TokenError::Expired),
            (&forged, 0, TokenError::Signature),
            (&unsigned, 0, TokenError::NotJwt),
            ("sk-0123456789", 0, TokenError::NotJwt),
            ("a.b", 0, TokenError::NotJwt),
            ("", 0, TokenError::NotJwt),
        ];
        for (text, now, expected) in cases {
            let error = Token::parse(text, Some(&key), now).unwrap_err();
            assert_eq!(error, expected, "{text}");
        }
        assert!(Token::parse(&forged, None, 0).is_ok());
        let long = "a".repeat(MAX_SIZE + 1);
        assert_eq!(
            Token::parse(&long, None, 0).unwrap_err(),
            TokenError::TooLong
        );
    }
}
