//! What is kept of the HTTP request that opened a session, for gates and apps.

use core::net::IpAddr;
use std::borrow::Cow;
use std::fmt;

use url::form_urlencoded;

/// The request that opened a session. Later requests of the session, over either transport and through any node, do
/// not change it.
///
/// `Debug` prints no query, cookie or value of a header: each may contain a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The query string as received, without `?`.
    pub query: String,
    /// Request headers that a gate or the app reads, by lower-case name. Repeated headers are repeated here.
    pub headers: Vec<(&'static str, String)>,
    /// The values of all `Cookie` headers, joined by `; `. Empty if there are none.
    pub cookies: String,
    /// The client's address as reported by trusted proxies; `None` if the connection was lost meanwhile.
    pub address: Option<IpAddr>,
    /// Whether the client connects over TLS, to this node or to a trusted proxy.
    pub secure: bool,
    /// Revision of the Engine.IO protocol.
    pub revision: u8,
}

impl Handshake {
    /// The first value of a query parameter, decoded.
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// The first value of a header by its lower-case name; `None` as well if no gate or app has declared the header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a cookie, as received.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let pairs = self.cookies.split(';').filter_map(|it| it.split_once('='));
        let mut pairs = pairs.map(|(key, value)| (key.trim(), value.trim()));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Handshake")
            .field("headers", &headers)
            .field("address", &self.address)
            .field("secure", &self.secure)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_header_and_cookie_are_found_by_name() {
        let handshake = Handshake {
            query: "EIO=4&token=a%20b&token=c&empty=".into(),
            headers: vec![("authorization", "Bearer x".into())],
            cookies: "io=1; session=a=b;last=2".into(),
            address: None,
            secure: false,
            revision: 4,
        };
        let query = |name| handshake.query_value(name);
        assert_eq!(query("token").as_deref(), Some("a b"));
        assert_eq!(query("empty").as_deref(), Some(""));
        assert_eq!(query("absent"), None);
        assert_eq!(handshake.header("authorization"), Some("Bearer x"));
        assert_eq!(handshake.header("x-other"), None);
        assert_eq!(handshake.cookie("session"), Some("a=b"));
        assert_eq!(handshake.cookie("last"), Some("2"));
        assert_eq!(handshake.cookie("sess"), None);
        let shown = format!("{handshake:?}");
        assert!(shown.contains("authorization"), "{shown}");
        for secret in ["Bearer", "a%20b", "session"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
