//! The URL of a Socket.IO server behind this node.

use std::fmt;

use url::Url;

/// Scheme, host and port. Contains no secrets: clients have their own credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// A name or an address, without brackets.
    host: String,
    port: u16,
    authority: String,
}

impl UpstreamUrl {
    /// Parses `http://host[:port]` or `ws://host[:port]`.
    ///
    /// # Errors
    /// A text to stand after the key. It never repeats credentials, path or parameters.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Ok(url) = Url::parse(text.trim()) else {
            return Err(
                "contains a text that is not a URL such as `http://backend:3000`".to_owned(),
            );
        };
        if !url.username().is_empty() || url.password().is_some() {
            // The text may contain a password, so the message does not repeat it.
            return Err("must not contain credentials: each client has its own".to_owned());
        }
        // The message omits path and parameters, which may contain a token.
        let host = url.host_str().unwrap_or_default();
        let rejected = |why: &str| Err(format!("`{}://{host}…` {why}", url.scheme()));
        match url.scheme() {
            "http" | "ws" => {}
            "https" | "wss" => {
                return rejected(
                    "requires TLS, which is not supported for servers behind this node; use an address inside their network",
                );
            }
            _ => return rejected("is not http: write `http://host:port`"),
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return rejected("must end with host and port; set the path in app.upstream.path");
        }
        let host = match url.host() {
            Some(url::Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return rejected("has no host"),
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

    /// Port of the URL, or the default of its scheme.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as in a `Host` header.
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
    fn urls_of_upstreams_have_host_and_port_only() {
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
            let error = UpstreamUrl::parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
