//! The URL of a Socket.IO server behind this one.

use std::fmt;

use url::Url;

/// Scheme, host and port. There is nothing secret in it: clients bring their own credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// A name or an address, without brackets.
    host: String,
    port: u16,
    authority: String,
}

impl UpstreamUrl {
    /// Reads `http://host[:port]`; `ws` too.
    ///
    /// # Errors
    /// Says in a sentence what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Ok(url) = Url::parse(text.trim()) else {
            return Err("holds something that is no URL such as `http://backend:3000`".to_owned());
        };
        if !url.username().is_empty() || url.password().is_some() {
            // The text may hold a password: it is not repeated.
            return Err("must not hold credentials: each client brings its own".to_owned());
        }
        // The message leaves out path and parameters, which may hold a token.
        let host = url.host_str().unwrap_or_default();
        let refused = |why: &str| Err(format!("`{}://{host}…` {why}", url.scheme()));
        match url.scheme() {
            "http" | "ws" => {}
            "https" | "wss" => {
                return refused(
                    "asks for TLS, which is not spoken to servers behind this one; name them inside their network",
                );
            }
            _ => return refused("is not http: write `http://host:port`"),
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return refused("must end with host and port; the path goes to app.upstream.path");
        }
        let host = match url.host() {
            Some(url::Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return refused("names no host"),
        };
        let port = url.port().unwrap_or(80);
        let authority = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        Ok(Self {
            host,
            port,
            authority,
        })
    }

    /// A name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its own, or that of the scheme.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they stand in a `Host` header.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_upstreams() {
        let cases = [
            ("http://backend:3000", "backend", 3000, "backend:3000"),
            ("ws://backend", "backend", 80, "backend"),
            (" http://a.example/ ", "a.example", 80, "a.example"),
            ("ws://[::1]:8080", "::1", 8080, "[::1]:8080"),
        ];
        for (text, host, port, authority) in cases {
            let url = UpstreamUrl::parse(text).unwrap();
            assert_eq!(
                (url.host(), url.port(), url.authority()),
                (host, port, authority),
                "{text}"
            );
        }
        for text in ["https://a.example", "wss://[::1]:8443"] {
            assert!(UpstreamUrl::parse(text).unwrap_err().contains("TLS"));
        }
        let schemeless = UpstreamUrl::parse("backend:3000").unwrap_err();
        assert!(
            schemeless.contains("write `http://host:port`"),
            "{schemeless}"
        );
        for text in [
            "backend:3000",
            "",
            "ftp://a",
            "http://a/path",
            "http://a?x=1",
        ] {
            assert!(UpstreamUrl::parse(text).is_err(), "{text}");
        }
        for text in [
            "http://u:secret@a",
            "http://secret@a",
            "http://a?token=secret",
            "https://a?token=secret",
            "http://a/secret",
            "http://a#secret",
            "redis://a/secret",
            "secret",
        ] {
            let refused = UpstreamUrl::parse(text).unwrap_err();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
