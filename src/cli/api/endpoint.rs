//! Where the API of the node of a configuration is, and the key to use there.

use std::time::SystemTime;

use url::Url;

use crate::cli::request::reachable;
use crate::config::{BindAddress, Config, Secret};

/// The address of the API: `url`, or the listener of the configuration.
///
/// # Errors
/// The configuration has no API that can be reached without TLS at a fixed port.
pub(super) fn address(config: &Config, url: Option<&Url>) -> Result<BindAddress, String> {
    if let Some(url) = url {
        return Ok(BindAddress {
            host: url
                .host_str()
                .unwrap_or_default()
                .trim_matches(['[', ']'])
                .to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
        });
    }
    let (key, bind, has_tls) = match (&config.api.bind, &config.server.internal_bind) {
        (Some(bind), _) => ("api.bind", bind, config.api.tls.is_some()),
        (None, Some(bind)) => ("server.internal_bind", bind, false),
        (None, None) if config.api.public => {
            let server = &config.server;
            let is_plain = server.tls.is_none() && !server.proxy_protocol;
            ("server.bind", &server.bind, !is_plain)
        }
        (None, None) => {
            return Err("the API has no listener: set server.internal_bind or api.bind, or name a node with --url".to_owned());
        }
    };
    if has_tls {
        return Err(format!(
            "{key} requires TLS or a PROXY header: name a plain listener with --url"
        ));
    }
    reachable(key, bind)
}

/// The first key of the configuration that has the verb and has not expired.
///
/// # Errors
/// There is none.
pub(super) fn key(config: &Config, verb: &str) -> Result<Secret, String> {
    let now = SystemTime::now();
    let mut keys = config.api.credentials.iter();
    let found = keys.find(|key| {
        let is_valid = key.expires.is_none_or(|expires| expires > now);
        let has_verb = key.scopes.is_empty() || key.scopes.iter().any(|scope| scope == verb);
        is_valid && has_verb
    });
    found.map(|key| key.secret.clone()).ok_or_else(|| {
        format!("the configuration has no valid key for `{verb}`: set api.key (ROOMWIRE_API__KEY) or pass --key")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ApiKey;

    fn bind(port: u16) -> Option<BindAddress> {
        let host = "0.0.0.0".to_owned();
        Some(BindAddress { host, port })
    }

    #[test]
    fn the_listener_of_the_api_is_found() {
        let mut config = Config::default();
        let at = |config: &Config| address(config, None).map(|at| at.to_string());
        assert!(at(&config).unwrap_err().contains("server.internal_bind"));
        config.api.public = true;
        config.server.bind = bind(8080).unwrap();
        assert_eq!(at(&config), Ok("127.0.0.1:8080".to_owned()));
        config.server.proxy_protocol = true;
        assert!(
            at(&config)
                .unwrap_err()
                .starts_with("server.bind requires TLS")
        );
        config.server.internal_bind = bind(9090);
        assert_eq!(at(&config), Ok("127.0.0.1:9090".to_owned()));
        config.api.bind = bind(9191);
        assert_eq!(at(&config), Ok("127.0.0.1:9191".to_owned()));
        config.api.bind = bind(0);
        assert!(at(&config).unwrap_err().starts_with("api.bind has port 0"));
        let url = Url::parse("http://[::1]:7000/").unwrap();
        let found = address(&config, Some(&url)).unwrap();
        assert_eq!(found.to_string(), "[::1]:7000");
    }

    #[test]
    fn a_key_with_the_verb_is_chosen() {
        let entry = |secret: &str, scopes: &[&str], expires| ApiKey {
            name: secret.to_owned(),
            secret: Secret::from(secret),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            rooms: Vec::new(),
            expires,
            requests_per_second: None,
        };
        let mut config = Config::default();
        config.api.credentials = vec![
            entry("old", &[], Some(SystemTime::UNIX_EPOCH)),
            entry("emits", &["emit"], None),
            entry("reads", &["rooms", "info"], None),
        ];
        let chosen = |verb| key(&config, verb).map(|key| key.expose().to_owned());
        assert_eq!(chosen("emit"), Ok("emits".to_owned()));
        assert_eq!(chosen("info"), Ok("reads".to_owned()));
        assert!(chosen("revoke").unwrap_err().contains("ROOMWIRE_API__KEY"));
    }
}
