//! The compact form of a signed token (RFC 7515): `header.payload.signature`, each in base64url without padding.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::key::VerifyingKey;

/// A token in compact form that is not verified yet. `Debug` prints no part of it.
pub struct CompactToken<'a> {
    header: TokenHeader,
    /// Header and payload as they are signed.
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

/// What the header of a token names. Nothing of it can be trusted before the signature is verified.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHeader {
    pub algorithm: Algorithm,
    /// Id of the key that signed the token.
    pub key: Option<String>,
}

/// Why a text is not a token that can be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidToken {
    /// It is not a signed token in compact form.
    Malformed(&'static str),
    /// `alg` is `none` or unknown.
    Algorithm,
    /// The header has `crit`: extensions that the recipient must understand. None is supported.
    Critical,
}

#[derive(Deserialize)]
struct HeaderFields {
    alg: String,
    kid: Option<String>,
    #[serde(default, deserialize_with = "is_present")]
    crit: bool,
}

fn is_present<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

impl<'a> CompactToken<'a> {
    /// Splits and decodes a token. The payload is decoded only once the signature is verified.
    ///
    /// # Errors
    /// The token cannot be valid.
    pub fn parse(text: &'a str) -> Result<Self, InvalidToken> {
        let malformed = InvalidToken::Malformed;
        let parts = "it does not have three parts";
        let (signed, signature) = text.rsplit_once('.').ok_or_else(|| malformed(parts))?;
        let (header, payload) = signed.split_once('.').ok_or_else(|| malformed(parts))?;
        if payload.contains('.') {
            return Err(malformed(parts));
        }
        let header = decode(header).ok_or_else(|| malformed("its header is not base64url"))?;
        let fields: HeaderFields = serde_json::from_slice(&header)
            .map_err(|_| malformed("its header is not a JSON object with `alg`"))?;
        if fields.crit {
            return Err(InvalidToken::Critical);
        }
        Ok(Self {
            header: TokenHeader {
                algorithm: Algorithm::named(&fields.alg).ok_or(InvalidToken::Algorithm)?,
                key: fields.kid,
            },
            signed,
            payload,
            signature: decode(signature)
                .ok_or_else(|| malformed("its signature is not base64url"))?,
        })
    }

    /// The header.
    pub fn header(&self) -> &TokenHeader {
        &self.header
    }

    /// Whether `key` signed the token. Also `false` if the key is not for the token's algorithm.
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        key.verify(
            self.header.algorithm,
            self.signed.as_bytes(),
            &self.signature,
        )
    }

    /// The claims. Trust them only if the token [is signed by](CompactToken::is_signed_by) a trusted key.
    ///
    /// # Errors
    /// The payload is not a JSON object.
    pub fn claims(&self) -> Result<Map<String, Value>, InvalidToken> {
        let malformed = InvalidToken::Malformed;
        let payload =
            decode(self.payload).ok_or_else(|| malformed("its payload is not base64url"))?;
        serde_json::from_slice(&payload).map_err(|_| malformed("its payload is not a JSON object"))
    }
}

impl fmt::Debug for CompactToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompactToken")
            .field("algorithm", &self.header.algorithm)
            .finish_non_exhaustive()
    }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// Encodes a part of a token.
pub(super) fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.{}", encode(header), encode(payload), encode("sig"))
    }

    fn parse(text: &str) -> Result<(), InvalidToken> {
        CompactToken::parse(text).map(|_| ())
    }

    #[test]
    fn the_header_is_read() {
        let text = token(r#"{"typ":"JWT","alg":"ES256","kid":"k1","jku":"x"}"#, "{}");
        let parsed = CompactToken::parse(&text).unwrap();
        assert_eq!(parsed.header().algorithm, Algorithm::Es256);
        assert_eq!(parsed.header().key.as_deref(), Some("k1"));
        assert!(parsed.claims().unwrap().is_empty());
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        let good = token(r#"{"alg":"HS256"}"#, "{}");
        let (head, _) = good.rsplit_once('.').unwrap();
        let padded = format!("{good}=");
        let longer = format!("{good}.e30");
        for text in [
            "",
            ".",
            "..",
            "a.b.c",
            head,
            &padded,
            &longer,
            &token("[]", "{}"),
            &token("{}", "{}"),
            &token(r#"{"alg":1}"#, "{}"),
            &token(r#"{"alg":"HS256","alg":"none"}"#, "{}"),
            &token(r#"{"alg":"HS256","kid":7}"#, "{}"),
            &token("{\"alg\":\"HS256\"", "{}"),
        ] {
            let rejected = parse(text).unwrap_err();
            assert!(matches!(rejected, InvalidToken::Malformed(_)), "{text}");
        }
    }

    #[test]
    fn unknown_algorithms_and_critical_extensions_are_rejected() {
        for name in ["none", "NONE", "nOnE", "HS257", "RSA-OAEP", ""] {
            let text = token(&format!(r#"{{"alg":"{name}"}}"#), "{}");
            assert_eq!(parse(&text), Err(InvalidToken::Algorithm), "{name}");
        }
        for critical in [r#"["b64"]"#, "[]", "null", r#""exp""#] {
            let text = token(&format!(r#"{{"alg":"HS256","crit":{critical}}}"#), "{}");
            assert_eq!(parse(&text), Err(InvalidToken::Critical), "{critical}");
        }
    }

    #[test]
    fn a_payload_that_is_no_object_is_malformed() {
        for payload in ["", "[]", "7", "{", "{\"a\":1}x"] {
            let text = token(r#"{"alg":"HS256"}"#, payload);
            let claims = CompactToken::parse(&text).unwrap().claims();
            assert!(claims.is_err(), "{payload}");
        }
    }

    #[test]
    fn debug_prints_nothing_of_the_token() {
        let text = token(r#"{"alg":"HS256","kid":"secret-kid"}"#, r#"{"sub":"anna"}"#);
        let shown = format!("{:?}", CompactToken::parse(&text).unwrap());
        assert_eq!(shown, "CompactToken { algorithm: Hs256, .. }");
    }
}
