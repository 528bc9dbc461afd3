//! Where the API of the node of a configuration is, and the key to use there.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_rustls::rustls::ClientConfig;
use url::Url;

use super::arguments::ApiOptions;
use crate::cli::connection::NodeEndpoint;
use crate::cli::request::reachable;
use crate::config::{BindAddress, Config, Secret};
use crate::tls::{ClientTlsFiles, ClientTlsKeys, InvalidTls, client_config, pinned_config};

/// The listener of the API.
#[derive(Debug, PartialEq, Eq)]
struct ApiAddress<'a> {
    at: BindAddress,
    /// The setting or option with the address.
    origin: &'static str,
    tls: Option<CertificateTrust<'a>>,
}

/// How the certificate of a listener is verified, unless the options name its authority.
#[derive(Debug, PartialEq, Eq)]
enum CertificateTrust<'a> {
    /// By the authorities of the system.
    System,
    /// It is this one; with the setting that names the file.
    Certificate(&'static str, &'a Path),
}

/// Where the API is: at the URL of the options, or at the listener of the configuration.
///
/// # Errors
/// The configuration has no API that can be reached at a fixed port, or a file for TLS cannot be used.
pub(super) fn endpoint(config: &Config, options: &ApiOptions) -> Result<NodeEndpoint, String> {
    let address = address(config, options.url.as_ref())?;
    let tls = match &address.tls {
        Some(trust) => Some(tls(config, options, trust).map_err(|error| error.to_string())?),
        None => None,
    };
    let ApiAddress { at, origin, .. } = address;
    Ok(NodeEndpoint { at, origin, tls })
}

/// The address of the API: `url`, or the listener of the configuration.
fn address<'a>(config: &'a Config, url: Option<&Url>) -> Result<ApiAddress<'a>, String> {
    if let Some(url) = url {
        let host = url.host_str().unwrap_or_default();
        let at = BindAddress {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
        };
        let tls = (url.scheme() == "https").then_some(CertificateTrust::System);
        let origin = "--url";
        return Ok(ApiAddress { at, origin, tls });
    }
    let (api, server) = (&config.api, &config.server);
    let (key, bind, tls) = match (&api.bind, &server.internal_bind) {
        (Some(bind), _) => (
            "api.bind",
            bind,
            api.tls.as_ref().map(|tls| ("api.tls_cert", tls)),
        ),
        (None, Some(bind)) => ("server.internal_bind", bind, None),
        (None, None) if api.public && server.proxy_protocol => {
            return Err(
                "server.bind requires a PROXY header: name another listener with --url".to_owned(),
            );
        }
        (None, None) if api.public => {
            let tls = server.tls.as_ref().map(|tls| ("server.tls_cert", tls));
            ("server.bind", &server.bind, tls)
        }
        (None, None) => {
            return Err("the API has no listener: set server.internal_bind or api.bind, or name a node with --url".to_owned());
        }
    };
    Ok(ApiAddress {
        at: reachable(key, bind)?,
        origin: key,
        tls: tls.map(|(key, files)| CertificateTrust::Certificate(key, &files.certificate)),
    })
}

/// The settings of TLS connections to the API.
fn tls(
    config: &Config,
    options: &ApiOptions,
    trust: &CertificateTrust<'_>,
) -> Result<Arc<ClientConfig>, InvalidTls> {
    let of_options = options.cert.clone().zip(options.cert_key.clone());
    let (certificate, key) = match of_options {
        Some(_) => ("--cert", "--cert-key"),
        None => ("api.client_cert", "api.client_key"),
    };
    let of_config = || {
        config
            .api
            .client_cert
            .clone()
            .zip(config.api.client_key.clone())
    };
    let files = ClientTlsFiles {
        ca: options.ca.clone(),
        identity: of_options.or_else(of_config),
    };
    let ca = "--ca";
    let keys = ClientTlsKeys {
        ca,
        certificate,
        key,
    };
    let mut tls = match trust {
        CertificateTrust::Certificate(key, certificate) if files.ca.is_none() => {
            pinned_config((key, certificate), &files, keys)?
        }
        _ => client_config(&files, keys)?,
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
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
    use crate::tls::TlsFiles;

    fn bind(port: u16) -> Option<BindAddress> {
        let host = "0.0.0.0".to_owned();
        Some(BindAddress { host, port })
    }

    #[test]
    fn the_listener_of_the_api_is_found() {
        let mut config = Config::default();
        let at = |config: &Config| address(config, None).map(|found| found.at.to_string());
        assert!(at(&config).unwrap_err().contains("server.internal_bind"));
        config.api.public = true;
        config.server.bind = bind(8080).unwrap();
        assert_eq!(at(&config), Ok("127.0.0.1:8080".to_owned()));
        config.server.proxy_protocol = true;
        let error = at(&config).unwrap_err();
        assert!(error.starts_with("server.bind requires a PROXY"), "{error}");
        config.server.internal_bind = bind(9090);
        assert_eq!(at(&config), Ok("127.0.0.1:9090".to_owned()));
        config.api.bind = bind(9191);
        assert_eq!(at(&config), Ok("127.0.0.1:9191".to_owned()));
        config.api.bind = bind(0);
        assert!(at(&config).unwrap_err().starts_with("api.bind has port 0"));
        let url = Url::parse("http://[::1]:7000/").unwrap();
        let found = address(&config, Some(&url)).unwrap();
        assert_eq!(found.at.to_string(), "[::1]:7000");
    }

    #[test]
    fn the_certificate_of_the_listener_is_found() {
        let files = |name: &str| {
            Some(TlsFiles {
                certificate: name.into(),
                key: "key".into(),
            })
        };
        let mut config = Config::default();
        config.api.public = true;
        config.server.tls = files("public");
        let found = address(&config, None).unwrap().tls;
        let expected = CertificateTrust::Certificate("server.tls_cert", Path::new("public"));
        assert_eq!(found, Some(expected));
        config.server.internal_bind = bind(9090);
        assert_eq!(address(&config, None).unwrap().tls, None);
        config.api.bind = bind(9191);
        assert_eq!(address(&config, None).unwrap().tls, None);
        config.api.tls = files("api");
        let found = address(&config, None).unwrap().tls;
        let expected = CertificateTrust::Certificate("api.tls_cert", Path::new("api"));
        assert_eq!(found, Some(expected));
        let url = Url::parse("https://node.example").unwrap();
        let found = address(&config, Some(&url)).unwrap();
        assert_eq!(found.at.to_string(), "node.example:443");
        assert_eq!(found.tls, Some(CertificateTrust::System));
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
