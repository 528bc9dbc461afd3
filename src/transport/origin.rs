//! Which web pages may connect, and the CORS headers for their browsers
//! (docs/protocol.md#18-cors-cookie-client-files).
//!
//! The same rule applies to polling and websockets. A request without `Origin`, as native clients send, is allowed.

use crate::config::{CorsConfig, OriginRule};

use super::handshake::RequestError;

/// The origin rules of the endpoint.
#[derive(Debug, Clone)]
pub struct Origins {
    rules: Vec<OriginRule>,
    credentials: bool,
}

/// The headers of a request that concern its origin.
#[derive(Debug, Clone, Copy)]
pub struct OriginRequest<'a> {
    /// The `Origin` header; `Err` if it is not text.
    pub origin: Option<Result<&'a str, ()>>,
    /// Host and port that the client requested: `X-Forwarded-Host` of a trusted proxy, else `Host`.
    pub host: Option<&'a str>,
}

/// Response headers that let a page of another origin read the response.
pub type CorsHeaders = Vec<(&'static str, String)>;

impl Origins {
    /// The rules of the configuration.
    pub(super) fn new(config: &CorsConfig) -> Self {
        Self {
            rules: config.origins.clone(),
            credentials: config.credentials,
        }
    }

    /// Checks the origin of a request; returns the CORS headers of its response.
    ///
    /// # Errors
    /// The origin is not allowed; the sentence names it and the key to set.
    pub fn check(&self, request: OriginRequest<'_>) -> Result<CorsHeaders, RequestError> {
        let origin = match request.origin {
            None => return Ok(self.headers_without_origin()),
            Some(Err(())) => return Err(RequestError::BadRequest("INVALID_ORIGIN")),
            Some(Ok(origin)) => origin,
        };
        if self.rules.iter().any(|rule| rule.matches(origin)) {
            return Ok(self.headers_for(origin));
        }
        let same = self.rules.contains(&OriginRule::Same)
            && request.host.is_some_and(|host| is_same(origin, host));
        if same {
            return Ok(self.headers_for(origin));
        }
        Err(RequestError::Forbidden(format!(
            "origin {origin} is not allowed (cors.origins)"
        )))
    }

    fn any(&self) -> bool {
        self.rules.contains(&OriginRule::Any)
    }

    fn headers_without_origin(&self) -> CorsHeaders {
        if self.any() {
            vec![("access-control-allow-origin", "*".into())]
        } else {
            Vec::new()
        }
    }

    fn headers_for(&self, origin: &str) -> CorsHeaders {
        if self.any() {
            return self.headers_without_origin();
        }
        let mut headers = vec![
            ("access-control-allow-origin", origin.into()),
            ("vary", "Origin".into()),
        ];
        if self.credentials {
            headers.push(("access-control-allow-credentials", "true".into()));
        }
        headers
    }
}

/// Compares host and port. The scheme may differ: a proxy may terminate TLS.
fn is_same(origin: &str, host: &str) -> bool {
    let Some((scheme, origin_host)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme {
        "https" | "wss" => ":443",
        _ => ":80",
    };
    let bare = |name: &str| {
        name.strip_suffix(default_port)
            .unwrap_or(name)
            .to_ascii_lowercase()
    };
    bare(origin_host) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(rules: Vec<OriginRule>, credentials: bool) -> Origins {
        Origins::new(&CorsConfig {
            origins: rules,
            credentials,
        })
    }

    fn from_page<'a>(origin: &'a str, host: &'a str) -> OriginRequest<'a> {
        OriginRequest {
            origin: Some(Ok(origin)),
            host: Some(host),
        }
    }

    #[test]
    fn same_compares_host_and_port_but_not_the_scheme() {
        let same = origins(vec![OriginRule::Same], false);
        let cases = [
            ("http://localhost:8080", "localhost:8080", true),
            ("https://chat.example.org", "chat.example.org", true),
            ("https://chat.example.org", "chat.example.org:443", true),
            ("http://Chat.Example.org", "chat.example.org:80", true),
            ("http://localhost:8081", "localhost:8080", false),
            ("https://evil.example", "chat.example.org", false),
            ("null", "localhost:8080", false),
        ];
        for (origin, host, allowed) in cases {
            assert_eq!(
                same.check(from_page(origin, host)).is_ok(),
                allowed,
                "{origin} at {host}"
            );
        }
        assert!(
            same.check(OriginRequest {
                origin: None,
                host: None
            })
            .is_ok()
        );
        let garbage = same.check(OriginRequest {
            origin: Some(Err(())),
            host: None,
        });
        assert_eq!(garbage, Err(RequestError::BadRequest("INVALID_ORIGIN")));
    }

    #[test]
    fn the_error_names_the_origin_and_the_key() {
        let rejection = origins(vec![OriginRule::Same], false)
            .check(from_page("https://a.example", "b.example"));
        let Err(RequestError::Forbidden(why)) = rejection else {
            panic!("{rejection:?}")
        };
        assert!(
            why.contains("https://a.example") && why.contains("cors.origins"),
            "{why}"
        );
    }

    #[test]
    fn headers_echo_the_origin_unless_all_are_allowed() {
        let any = origins(vec![OriginRule::Any], false);
        assert_eq!(
            any.check(from_page("https://a", "b")).unwrap(),
            [("access-control-allow-origin", "*".to_owned())]
        );
        let exact = origins(vec![OriginRule::Exact("https://a.example".into())], true);
        let headers = exact.check(from_page("https://a.example", "b")).unwrap();
        assert_eq!(headers.len(), 3);
        assert_eq!(headers[0].1, "https://a.example");
    }
}
