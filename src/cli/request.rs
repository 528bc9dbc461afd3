//! Requests to the running node that has the same configuration.

use std::io;
use std::time::{Duration, Instant};

use url::Url;

use super::connection::{NodeEndpoint, connect};
use super::exchange::{Exchange, Response, TIMEOUT, send};
use crate::config::{BindAddress, Secret, ServerConfig};

/// Time that a node needs to exit after its drain.
const EXIT_TIME: Duration = Duration::from_secs(10);
/// Time between two checks whether a node has exited.
const WAIT_INTERVAL: Duration = Duration::from_millis(200);
/// Size limit of an answer of the API in bytes.
const MAX_ANSWER: u64 = 64 << 20;

/// The address of the node: its internal listener, or its public listener if it has no internal one.
///
/// # Errors
/// The port is 0, so the system chose the port of the node. Or there is only a public listener, which requires TLS or a
/// PROXY header.
fn address(server: &ServerConfig) -> Result<BindAddress, String> {
    let bind = server.internal_bind.as_ref().unwrap_or(&server.bind);
    let is_plain = server.tls.is_none() && !server.proxy_protocol;
    if server.internal_bind.is_none() && !is_plain {
        return Err(
            "server.bind requires TLS or a PROXY header: set server.internal_bind for this request"
                .to_owned(),
        );
    }
    reachable(address_key(server), bind)
}

/// The setting with the address of [`address`].
fn address_key(server: &ServerConfig) -> &'static str {
    match &server.internal_bind {
        Some(_) => "server.internal_bind",
        None => "server.bind",
    }
}

/// The address at which a listener of this machine is reached; `key` is the setting with its address.
///
/// # Errors
/// The port is 0, so the system chose the port of the node.
pub(super) fn reachable(key: &str, bind: &BindAddress) -> Result<BindAddress, String> {
    if bind.port == 0 {
        return Err(format!(
            "{key} has port 0: set a fixed port for this request"
        ));
    }
    let mut address = bind.clone();
    // A node that listens on all interfaces is reachable over loopback.
    match address.host.as_str() {
        "0.0.0.0" => "127.0.0.1".clone_into(&mut address.host),
        "::" => "::1".clone_into(&mut address.host),
        _ => {}
    }
    Ok(address)
}

/// Starts the drain of the node. Returns the address of the request.
///
/// # Errors
/// The node has no internal listener, cannot be reached, or rejects the request.
pub(super) fn drain(server: &ServerConfig) -> Result<BindAddress, String> {
    if server.internal_bind.is_none() {
        return Err("server.internal_bind is not set: send the process SIGTERM instead".to_owned());
    }
    let at = address(server)?;
    let token = server.drain_token.as_ref();
    let endpoint = NodeEndpoint::plain(at.clone(), address_key(server));
    match send(&endpoint, &Exchange::short("POST", "/drain", token))? {
        response if response.status == 202 => Ok(at),
        response => Err(format!("{at} rejected the request: {response}")),
    }
}

/// Waits until a connection attempt to `at` fails with "connection refused".
///
/// # Errors
/// The node still listens [`EXIT_TIME`] after `timeout`.
pub(super) fn wait_for_exit(at: &BindAddress, timeout: Duration) -> Result<String, String> {
    let start = Instant::now();
    let deadline = start + timeout + EXIT_TIME;
    while Instant::now() < deadline {
        // Other errors do not count: a node that is too busy to respond has not exited.
        if matches!(connect(at, TIMEOUT), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
        {
            return Ok(format!(
                "exited after {:.1} s",
                start.elapsed().as_secs_f32()
            ));
        }
        std::thread::sleep(WAIT_INTERVAL);
    }
    Err(format!("{at} still listens after {:?}", start.elapsed()))
}

/// Sends the node a GET request.
///
/// # Errors
/// As [`address`], or there is no valid HTTP response within two seconds. The text names the address and the reason.
pub(super) fn get(server: &ServerConfig, path: &str) -> Result<Response, String> {
    let endpoint = NodeEndpoint::plain(address(server)?, address_key(server));
    send(&endpoint, &Exchange::short("GET", path, None))
}

/// Sends a POST request with a JSON body.
///
/// # Errors
/// There is no valid HTTP response within `time`. The text names the address and the reason.
pub(super) fn post(
    endpoint: &NodeEndpoint,
    path: &str,
    token: &Secret,
    body: &str,
    time: Duration,
) -> Result<Response, String> {
    let exchange = Exchange {
        method: "POST",
        path,
        token: Some(token),
        body: Some(body),
        time,
        limit: MAX_ANSWER,
    };
    send(endpoint, &exchange)
}

/// The URL that clients open, or that of a node.
///
/// # Errors
/// The text has no scheme, or is not a URL.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    // `host:443` would be a URL of the scheme `host`.
    if !text.contains("://") {
        return Err(format!(
            "it has no scheme: use https://{text} or http://{text}"
        ));
    }
    Url::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn server(internal: Option<(&str, u16)>, public: (&str, u16)) -> ServerConfig {
        let bind = |(host, port): (&str, u16)| BindAddress {
            host: host.to_owned(),
            port,
        };
        ServerConfig {
            internal_bind: internal.map(bind),
            bind: bind(public),
            ..crate::config::Config::default().server
        }
    }

    #[test]
    fn the_internal_listener_is_preferred_and_a_wildcard_address_becomes_loopback() {
        let cases = [
            (None, ("0.0.0.0", 8080), Ok("127.0.0.1:8080")),
            (None, ("::", 8080), Ok("[::1]:8080")),
            (None, ("10.0.0.1", 80), Ok("10.0.0.1:80")),
            (
                Some(("0.0.0.0", 9090)),
                ("10.0.0.1", 80),
                Ok("127.0.0.1:9090"),
            ),
            (None, ("localhost", 0), Err("server.bind")),
            (
                Some(("localhost", 0)),
                ("::", 1),
                Err("server.internal_bind"),
            ),
        ];
        for (internal, public, expected) in cases {
            let found = address(&server(internal, public)).map(|address| address.to_string());
            match expected {
                Ok(expected) => assert_eq!(found.as_deref(), Ok(expected)),
                Err(key) => assert!(found.unwrap_err().starts_with(key), "{key}"),
            }
        }
    }

    #[test]
    fn a_public_listener_without_plain_http_receives_no_request() {
        let mut behind_proxy = server(None, ("localhost", 80));
        behind_proxy.proxy_protocol = true;
        let error = address(&behind_proxy).unwrap_err();
        assert!(error.contains("server.internal_bind"), "{error}");
        behind_proxy.internal_bind = Some(BindAddress::default());
        behind_proxy.internal_bind.as_mut().unwrap().port = 9090;
        assert_eq!(
            address(&behind_proxy).unwrap().to_string(),
            "127.0.0.1:9090"
        );
    }

    #[test]
    fn drain_sends_the_token_of_the_configuration() {
        for token in [None, Some("correct-horse-battery")] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let node = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).unwrap();
                stream.write_all(b"HTTP/1.1 202 Accepted\r\n\r\n").unwrap();
                String::from_utf8_lossy(&head[..length]).into_owned()
            });
            let mut config = server(Some(("127.0.0.1", port)), ("localhost", 1));
            config.drain_token = token.map(Secret::from);
            drain(&config).unwrap();
            let head = node.join().unwrap();
            let line = "\r\nAuthorization: Bearer correct-horse-battery\r\n";
            assert_eq!(head.contains(line), token.is_some(), "{head}");
        }
    }
}
