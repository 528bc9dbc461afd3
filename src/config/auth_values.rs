//! Parsers of the values of `[auth]`.
//!
//! An error is a text that stands after the key in a message; no message repeats a secret.

use std::time::SystemTime;

use url::Url;

use super::net::Secret;
use super::schema::nearest_hint;
use crate::token::Algorithm;

/// Where a client can put its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A field of the payload of CONNECT.
    Auth(String),
    /// The header `Authorization`.
    Header,
    /// A parameter of the request that opens the session.
    Query(String),
    /// A cookie of that request.
    Cookie(String),
}

impl TokenSource {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (kind, name) = match text.split_once(':') {
            Some((kind, name)) => (kind, Some(name)),
            None => (text, None),
        };
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b";,=\"".contains(&byte))
        };
        if name.is_some_and(|name| !is_name(name)) {
            return Err(format!("`{text}` has no valid name after the colon"));
        }
        let named = || name.unwrap_or("token").to_owned();
        match (kind, name) {
            ("auth", _) => Ok(Self::Auth(named())),
            ("query", _) => Ok(Self::Query(named())),
            ("cookie", _) => Ok(Self::Cookie(named())),
            ("header", None) => Ok(Self::Header),
            ("header", Some(name)) if name.eq_ignore_ascii_case("authorization") => {
                Ok(Self::Header)
            }
            ("header", _) => Err("only the header `Authorization` can contain a token".to_owned()),
            _ => {
                let meant = nearest_hint(kind, ["auth", "header", "query", "cookie"].into_iter());
                Err(format!(
                    "`{text}` is none of auth, header, query, cookie, auth:NAME, query:NAME, cookie:NAME{meant}"
                ))
            }
        }
    }
}

/// A secret that cannot be guessed.
pub(super) fn secret(text: &str) -> Result<Secret, String> {
    const MIN_LENGTH: usize = 16;
    match text.len() < MIN_LENGTH {
        true => Err(format!(
            "must have at least {MIN_LENGTH} characters; `openssl rand -base64 48` prints a good one"
        )),
        false => Ok(Secret::from(text)),
    }
}

/// An algorithm by its name.
pub(super) fn algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::named(text.trim()).ok_or_else(|| {
        let names: Vec<_> = Algorithm::NAMES.iter().map(|(name, _)| *name).collect();
        let meant = nearest_hint(text, names.iter().copied());
        format!("`{text}` is none of {}{meant}", names.join(", "))
    })
}

/// A point in time; a date alone is its first second in UTC.
pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    let text = text.trim();
    let midnight = format!("{text}T00:00:00Z");
    humantime::parse_rfc3339_weak(text)
        .or_else(|_| humantime::parse_rfc3339(&midnight))
        .map_err(|_| format!("`{text}` is not a time such as `2027-01-31T00:00:00Z`"))
}

/// The name or value of a claim, or the id of a key.
pub(super) fn claim_value(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.is_empty() {
        true => Err("must not be empty".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// The URL of a set of keys.
pub(super) fn jwks_url(text: &str) -> Result<Url, String> {
    let text = text.trim();
    if text.contains(['{', '}', '*', '$']) {
        return Err("is a pattern; one fixed URL is required".to_owned());
    }
    let url = Url::parse(text).map_err(|error| {
        format!("is not a URL such as `https://login.example/jwks.json`: {error}")
    })?;
    if !["https", "http"].contains(&url.scheme()) || url.host_str().is_none() {
        return Err("must begin with `https://`".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user or password: key sets are public".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_have_a_kind_and_a_name() {
        let parsed = |text| TokenSource::parse(text).unwrap();
        assert_eq!(parsed("auth"), TokenSource::Auth("token".to_owned()));
        assert_eq!(parsed("auth:jwt"), TokenSource::Auth("jwt".to_owned()));
        assert_eq!(parsed("header"), TokenSource::Header);
        assert_eq!(parsed("header:Authorization"), TokenSource::Header);
        assert_eq!(parsed("query:jid"), TokenSource::Query("jid".to_owned()));
        assert_eq!(parsed("cookie"), TokenSource::Cookie("token".to_owned()));
        for text in [
            "",
            "body",
            "auth:",
            "cookie:a b",
            "query:a=b",
            "header:x-token",
        ] {
            assert!(TokenSource::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_those_of_rfc_3339_or_dates() {
        let date = time("2027-01-31").unwrap();
        assert_eq!(time("2027-01-31T00:00:00Z"), Ok(date));
        assert_eq!(time("2027-01-31 00:00:00"), Ok(date));
        assert!(time("tomorrow").is_err());
    }

    #[test]
    fn the_url_of_a_key_set_is_fixed_and_without_password() {
        assert!(jwks_url("https://login.example/.well-known/jwks.json?v=1").is_ok());
        assert!(jwks_url("http://127.0.0.1:9000/jwks").is_ok());
        for text in [
            "login.example/jwks",
            "ftp://login.example/jwks",
            "https://{tenant}.example/jwks",
            "https://login.example/$1/jwks",
            "https://user:pa55@login.example/jwks",
        ] {
            let rejected = jwks_url(text).unwrap_err();
            assert!(!rejected.contains("pa55"), "{rejected}");
        }
    }
}
