//! The URL of an HTTP backend that receives webhooks.

use std::fmt;

use url::Url;

/// `http://` or `https://` with a host; without credentials, since requests are signed. Displayed without parameters,
/// which may be a secret all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

impl WebhookUrl {
    /// Parses the URL.
    ///
    /// # Errors
    /// A text to stand after the key. It never repeats credentials, path or parameters.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "a URL such as `https://app.example.org/roomwire`";
        // `localhost:3000` would be a URL of the scheme `localhost`.
        if !text.contains("://") {
            return Err(format!(
                "must begin with `http://` or `https://`: {EXAMPLE}"
            ));
        }
        let Ok(url) = Url::parse(text.trim()) else {
            return Err(format!("contains a text that is not {EXAMPLE}"));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "must not contain credentials: requests are signed with webhook.secrets".to_owned(),
            );
        }
        let host = url.host_str().unwrap_or_default();
        if !matches!(url.scheme(), "http" | "https") || host.is_empty() {
            return Err(format!("`{}://{host}…` is not {EXAMPLE}", url.scheme()));
        }
        if url.fragment().is_some() {
            return Err("must not contain a fragment (`#`)".to_owned());
        }
        Ok(Self(url))
    }

    /// The URL with `path`, which begins with a slash, after its own path.
    pub(super) fn below(&self, path: &str) -> Self {
        let mut url = self.0.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&(base + path));
        Self(url)
    }

    /// Whether a page at `url` belongs to this host: the scheme, the host and the port are the same.
    pub fn has_origin_of(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| url.origin() == self.0.origin())
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether requests use TLS.
    pub fn has_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = self.0.as_str().split('?').next();
        f.write_str(bare.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_backends_have_a_path_and_no_credentials() {
        let cases = [
            ("http://localhost:3000", "http://localhost:3000/", true),
            (
                " https://a.example/hook?key=1 ",
                "https://a.example/hook",
                false,
            ),
            ("http://[::1]:8080/a/b", "http://[::1]:8080/a/b", true),
        ];
        for (text, shown, is_loopback) in cases {
            let url = WebhookUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown, "{text}");
            assert_eq!(url.is_loopback(), is_loopback, "{text}");
            assert_eq!(url.has_tls(), text.contains("https"), "{text}");
        }
        let url = WebhookUrl::parse("https://a:443/app/").unwrap();
        assert_eq!(url.below("/auth").as_str(), "https://a/app/auth");
        for (page, is_same) in [
            ("https://a/page?x", true),
            ("https://A", true),
            ("http://a/", false),
            ("https://a:8443/", false),
            ("https://b.a/", false),
            ("null", false),
        ] {
            assert_eq!(url.has_origin_of(page), is_same, "{page}");
        }
        let url = WebhookUrl::parse("http://a/hook?key=1").unwrap();
        assert_eq!(url.as_str(), "http://a/hook?key=1");
        for text in [
            "",
            "backend",
            "ftp://a/secret",
            "http://user:secret@a",
            "https://a/#secret",
            "secret:3000",
        ] {
            let error = WebhookUrl::parse(text).unwrap_err();
            assert!(
                !error.contains("://user") && !error.contains("secret@"),
                "{error}"
            );
        }
    }
}
