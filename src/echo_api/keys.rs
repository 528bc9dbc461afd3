//! The keys of apps.

use actix_web::http::header::{self, HeaderMap};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::form_urlencoded;

use crate::config::EchoClientEntry;

/// The keys of all apps, as digests.
pub(super) struct AppKeys(Vec<(String, [u8; 32])>);

impl AppKeys {
    pub(super) fn new(clients: &[EchoClientEntry]) -> Self {
        let keys = clients.iter().filter_map(|client| {
            let key = client.key.as_ref()?;
            Some((client.app_id.clone(), digest(key.expose().as_bytes())))
        });
        Self(keys.collect())
    }

    /// Whether a request has the key of the app: `Authorization: Bearer`, or else the parameter `auth_key`. Keys are
    /// compared in constant time.
    pub(super) fn admit(&self, app: &str, headers: &HeaderMap, query: &str) -> bool {
        let header = headers.get(header::AUTHORIZATION).map(|value| {
            let value = value.as_bytes();
            match value.split_at_checked(7) {
                Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => key.to_vec(),
                _ => value.to_vec(),
            }
        });
        let parameter = || {
            let mut parameters = form_urlencoded::parse(query.as_bytes());
            let (_, key) = parameters.find(|(name, _)| name == "auth_key")?;
            Some(key.into_owned().into_bytes())
        };
        let presented = header.or_else(parameter).unwrap_or_default();
        let presented = digest(&presented);
        let mut is_admitted = false;
        for (known, key) in &self.0 {
            is_admitted |= bool::from(key.ct_eq(&presented)) && known == app;
        }
        is_admitted
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;
    use crate::config::Secret;

    #[test]
    fn each_app_has_its_key() {
        let client = |app: &str, key: &str| EchoClientEntry {
            app_id: app.to_owned(),
            key: Some(Secret::from(key)),
        };
        let keys = AppKeys::new(&[
            client("a", "0123456789abcdef"),
            client("b", "another key here"),
        ]);
        let admits = |app: &str, authorization: Option<&str>, query: &str| {
            let mut headers = HeaderMap::new();
            if let Some(value) = authorization {
                headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            keys.admit(app, &headers, query)
        };
        assert!(admits("a", Some("Bearer 0123456789abcdef"), ""));
        assert!(admits("a", Some("bearer 0123456789abcdef"), ""));
        assert!(admits("a", Some("0123456789abcdef"), ""));
        assert!(admits(
            "a",
            None,
            "auth_version=1.0&auth_key=0123456789abcdef"
        ));
        assert!(admits("b", None, "auth_key=another+key+here"));
        for (app, authorization, query) in [
            ("b", Some("Bearer 0123456789abcdef"), ""),
            ("c", Some("Bearer 0123456789abcdef"), ""),
            ("a", Some("Bearer 0123456789abcdeF"), ""),
            ("a", Some("Bearer "), ""),
            ("a", None, ""),
            ("a", None, "auth_key="),
            // The header decides.
            ("a", Some("Bearer x"), "auth_key=0123456789abcdef"),
        ] {
            assert!(
                !admits(app, authorization, query),
                "{app} {authorization:?} {query}"
            );
        }
        assert!(!AppKeys::new(&[]).admit("", &HeaderMap::new(), ""));
    }
}
