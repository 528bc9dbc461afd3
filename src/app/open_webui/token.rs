//! A browser's token: what it says of itself, and whether the backends made it.
//!
//! A JWT, HS256. Whether it still holds, only a backend knows; this file drops what cannot hold.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

use crate::config::Secret;

/// Bytes of a token; the backends' own have about 400.
const LONGEST: usize = 8 * 1024;

/// A token that may hold. `Debug` does not show it.
#[derive(Clone)]
pub(super) struct Token {
    text: Arc<str>,
    pub(super) claims: Arc<Claims>,
}

/// What a token says of itself.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Claims {
    /// Id of the user.
    pub(super) user: String,
    /// Its own id, by which it is revoked.
    pub(super) id: Option<String>,
    /// When it was made, seconds since 1970.
    pub(super) issued: Option<i64>,
    /// When it ends, seconds since 1970.
    pub(super) expires: Option<i64>,
}

/// Why a token cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadToken {
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    #[error("it is no JWT signed by HS256")]
    NoJwt,
    #[error("its time is over")]
    Expired,
    #[error("its signature is not by WEBUI_SECRET_KEY")]
    Signature,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Body {
    id: String,
    jti: Option<String>,
    iat: Option<Value>,
    exp: Option<Value>,
}

impl Token {
    /// Reads a token at `now`, seconds since 1970; with `key`, its signature is checked.
    pub(super) fn read(text: &str, key: Option<&Secret>, now: i64) -> Result<Self, BadToken> {
        if text.len() > LONGEST {
            return Err(BadToken::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(BadToken::NoJwt)?;
        let (header, body) = signed.split_once('.').ok_or(BadToken::NoJwt)?;
        let header: Header = part(header)?;
        if header.alg != "HS256" {
            return Err(BadToken::NoJwt);
        }
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| BadToken::NoJwt)?;
        if let Some(key) = key {
            let mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes());
            let mut mac = mac.map_err(|_| BadToken::Signature)?;
            mac.update(signed.as_bytes());
            mac.verify_slice(&signature)
                .map_err(|_| BadToken::Signature)?;
        }
        let body: Body = part(body)?;
        let token = Self {
            text: text.into(),
            claims: Arc::new(Claims {
                user: body.id,
                id: body.jti,
                issued: body.iat.as_ref().and_then(seconds),
                expires: body.exp.as_ref().and_then(seconds),
            }),
        };
        if token.is_over(now) {
            return Err(BadToken::Expired);
        }
        Ok(token)
    }

    /// Whether its time is over at `now`, seconds since 1970.
    pub(super) fn is_over(&self, now: i64) -> bool {
        self.claims.expires.is_some_and(|end| end <= now)
    }

    /// The token, for the one who passes it on.
    pub(super) fn expose(&self) -> &Arc<str> {
        &self.text
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token of user {:?}", self.claims.user)
    }
}

fn part<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, BadToken> {
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadToken::NoJwt)?;
    serde_json::from_slice(&json).map_err(|_| BadToken::NoJwt)
}

/// A time of a claim: JWTs may write seconds with a fraction.
fn seconds(time: &Value) -> Option<i64> {
    time.as_i64()
        .or_else(|| time.as_f64().map(|time| time as i64))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A token as the backends make it.
    pub(in super::super) fn signed(key: &str, body: &str) -> String {
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(body));
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        let signature = mac.finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn what_cannot_hold_is_dropped() {
        let key = Secret::from("right");
        let good = signed("right", r#"{"id":"u","jti":"j","iat":10.5,"exp":100}"#);
        let token = Token::read(&good, Some(&key), 99).unwrap();
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
            (good.as_str(), 100, BadToken::Expired),
            (&forged, 0, BadToken::Signature),
            (&unsigned, 0, BadToken::NoJwt),
            ("sk-0123456789", 0, BadToken::NoJwt),
            ("a.b", 0, BadToken::NoJwt),
            ("", 0, BadToken::NoJwt),
        ];
        for (text, now, expected) in cases {
            let refused = Token::read(text, Some(&key), now).unwrap_err();
            assert_eq!(refused, expected, "{text}");
        }
        assert!(Token::read(&forged, None, 0).is_ok());
        let long = "a".repeat(LONGEST + 1);
        assert_eq!(Token::read(&long, None, 0).unwrap_err(), BadToken::TooLong);
    }
}
