//! Checks a public URL as clients use it: the polling handshake, the upgrade to a websocket, and an idle connection.
//!
//! The step that fails identifies what to change in the proxy or load balancer in front of the nodes.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};
use url::Url;

use super::{Finding, Severity};
use crate::config::Config;
use crate::model::EngineId;

/// Timeout of a single response.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Size limit of a response in bytes; larger than that of any handshake.
const RESPONSE_LIMIT: u64 = 64 << 10;

const UPGRADE: &str = "forward the upgrade: nginx `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
     proxy_set_header Connection \"upgrade\";`; HAProxy `mode http`; Traefik forwards it by default, a proxy in front of it may not";
const IDLE: &str = "longer idle times than engine.ping_interval and engine.ping_timeout together: nginx `proxy_read_timeout 3600s; \
     proxy_send_timeout 3600s;`; HAProxy `timeout tunnel 1h`; Traefik `respondingTimeouts.idleTimeout`; a cloud balancer's idle timeout";

const CODES: &str = "as the response states; docs/protocol.md lists the codes";

trait ClientConnection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ClientConnection for S {}

/// The address and path of a public URL.
struct PublicEndpoint {
    url: Url,
    has_tls: bool,
    host: String,
    port: u16,
    path: String,
}

impl PublicEndpoint {
    /// `None` if clients cannot open this URL.
    fn of(url: &Url, config: &Config) -> Option<Self> {
        let has_tls = match url.scheme() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return None,
        };
        let (base, endpoint) = (url.path().trim_end_matches('/'), &config.engine.path);
        // The URL may include the path of the endpoint.
        let base = base.strip_suffix(endpoint.as_str()).unwrap_or(base);
        Some(Self {
            url: url.clone(),
            has_tls,
            host: url.host_str()?.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default()?,
            path: format!("{base}{endpoint}/"),
        })
    }

    fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    async fn open(&self) -> io::Result<Box<dyn ClientConnection>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        if !self.has_tls {
            return Ok(Box::new(stream));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        Ok(Box::new(stream))
    }

    /// Opens a session by polling and closes it again; returns the status and the whole response.
    async fn poll(&self) -> io::Result<(u16, String)> {
        let (status, response) = self.request("GET", "", "").await?;
        if let Some(opened) = response.lines().last().and_then(Opened::read) {
            // A failure is ignored: the session times out on its own.
            let _ = self
                .request("POST", &format!("&sid={}", opened.sid), "1")
                .await;
        }
        Ok((status, response))
    }

    async fn request(&self, method: &str, query: &str, body: &str) -> io::Result<(u16, String)> {
        let mut stream = self.open().await?;
        let request = format!(
            "{method} {}?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            self.path,
            self.authority(),
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut response = Vec::new();
        stream
            .take(RESPONSE_LIMIT)
            .read_to_end(&mut response)
            .await?;
        let response = String::from_utf8_lossy(&response).into_owned();
        let status = response
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("the response is not HTTP"))?;
        Ok((status, response))
    }
}

/// `nodes` are the names of the running nodes, as far as known.
pub(super) async fn check(
    url: &Url,
    idle: Duration,
    config: &Config,
    nodes: &BTreeSet<String>,
) -> Vec<Finding> {
    let Some(target) = PublicEndpoint::of(url, config) else {
        let what = format!("`{url}` is not a URL that clients can open");
        return vec![Finding::error(what, "--url https://host/")];
    };
    let reached = timeout(TIMEOUT, target.open()).await;
    if let Err(error) = reached.map_err(io::Error::from).flatten() {
        let what = format!("{}:{} is unreachable: {error}", target.host, target.port);
        return vec![Finding::error(what, remedy(&error))];
    }
    let mut findings = Vec::new();
    if config.engine.transports.polling {
        let polled = timeout(TIMEOUT, target.poll()).await;
        let polled = polled.map_err(io::Error::from).flatten();
        findings.push(evaluate_poll(polled, &target.path));
    }
    // A websocket would fail for the same reason, with a less specific error.
    if findings.iter().any(|one| one.severity == Severity::Error) {
        return findings;
    }
    if config.engine.transports.websocket {
        findings.extend(hold(&target, idle, nodes).await);
    }
    findings
}

fn evaluate_poll(polled: io::Result<(u16, String)>, path: &str) -> Finding {
    match polled {
        Ok((200, response)) if response.contains("0{\"sid\"") => {
            Finding::fine(format!("polling: a session opens at {path}"))
        }
        Ok((status, response)) => {
            let last = response.lines().last().unwrap_or_default();
            let message: String = last.chars().take(200).collect();
            let what = format!("polling: {path} responds with {status}: {message}");
            let change = match status {
                _ if message.contains("speaks TLS") => "--url: https:// instead of http://",
                _ => rule_of(status).unwrap_or(CODES),
            };
            Finding::error(what, change)
        }
        Err(error) => {
            let change = "the proxy, or the server it forwards requests to: it does not respond";
            Finding::error(format!("polling: {error}"), change)
        }
    }
}

/// The setting to change if the response is from a proxy, or from another server behind it.
fn rule_of(status: u16) -> Option<&'static str> {
    Some(match status {
        200..=299 | 404 => {
            "the proxy's rule for engine.path: it must forward to the nodes, with the path unchanged"
        }
        301..=308 => "--url: the target of the redirect",
        502..=504 => {
            "the proxy's upstream: the address of server.bind; check that a node is running there"
        }
        _ => return None,
    })
}

/// The setting to change if no connection can be opened.
fn remedy(error: &io::Error) -> &'static str {
    use tokio_rustls::rustls::{CertificateError, Error as TlsError};
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls {
        Some(TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "the certificate: one for this host; or --url: the host of the certificate",
        Some(TlsError::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) => "the certificate: a new one, where TLS is terminated; or the clock of this machine",
        Some(TlsError::InvalidCertificate(_)) => {
            "the certificate: one of an authority that clients trust, with its full chain (fullchain.pem); for a private authority, set SSL_CERT_FILE for this check"
        }
        Some(TlsError::InvalidMessage(_)) => {
            "--url: http:// instead of https://, since this port does not speak TLS; or server.tls_cert and server.tls_key"
        }
        Some(_) => "the TLS settings of the server there: it rejects the handshake",
        None => "--url: a host that resolves here, and a port where the proxy or a node listens",
    }
}

type Socket = WebSocketStream<Box<dyn ClientConnection>>;

async fn hold(target: &PublicEndpoint, idle: Duration, nodes: &BTreeSet<String>) -> Vec<Finding> {
    match upgrade(target).await {
        Ok(socket) => {
            let (finding, opened) = idle_client(socket, idle).await;
            let foreign = opened.and_then(|packet| {
                evaluate_owner(&packet, target.path.trim_end_matches('/'), nodes)
            });
            [Some(finding), foreign].into_iter().flatten().collect()
        }
        Err((what, change)) => vec![Finding::error(format!("websocket: {what}"), change)],
    }
}

/// Opens a websocket; the error is the problem and the setting to change.
async fn upgrade(target: &PublicEndpoint) -> Result<Socket, (String, &'static str)> {
    let scheme = if target.has_tls { "wss" } else { "ws" };
    let (authority, path) = (target.authority(), &target.path);
    let address = format!("{scheme}://{authority}{path}?EIO=4&transport=websocket");
    let opened = timeout(TIMEOUT, async {
        let stream = target.open().await?;
        tokio_tungstenite::client_async(address, stream).await
    });
    match opened.await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(tungstenite::Error::Http(response))) => {
            let status = response.status();
            let what = format!("the response to the upgrade is {status}");
            // A page instead of a websocket: the upgrade was not forwarded, or another server responded.
            Err((what, rule_of(status.as_u16()).unwrap_or(UPGRADE)))
        }
        Ok(Err(error)) => Err((error.to_string(), UPGRADE)),
        Err(_) => Err((
            format!("no response to the upgrade within {TIMEOUT:?}"),
            UPGRADE,
        )),
    }
}

/// Checks that the session belongs to a node of this cluster: its id begins with the name of the node.
fn evaluate_owner(packet: &str, path: &str, nodes: &BTreeSet<String>) -> Option<Finding> {
    let opened = Opened::read(packet)?;
    let is_ours = EngineId::parse(&opened.sid).is_some_and(|id| nodes.contains(id.node().as_str()));
    if nodes.is_empty() || is_ours {
        return None;
    }
    let what =
        format!("{path}: the response is from another server, not from a node of this cluster");
    let change = format!(
        "the proxy's rule for {path}: to the nodes, as nginx `location {path} {{ proxy_pass http://roomwire; }}`"
    );
    Some(Finding::error(what, change))
}

/// Keeps a websocket open like an idle client, which only responds to pings; also returns the open packet.
async fn idle_client(mut socket: Socket, idle: Duration) -> (Finding, Option<String>) {
    let start = Instant::now();
    let end = tokio::time::Instant::now() + idle;
    let mut opened = None;
    loop {
        let text = match timeout_at(end, socket.next()).await {
            Err(_) => break,
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => {
                let after = start.elapsed().as_secs_f64();
                let what = format!(
                    "websocket: disconnected after {after:.1} s without data from the client"
                );
                return (Finding::error(what, IDLE), opened);
            }
            Ok(Some(Ok(_))) => continue,
        };
        if text.starts_with("0{") {
            opened = Some(text.as_str().to_owned());
        }
        // If sending fails, the next read reports it.
        if text.as_str() == "2" {
            let _ = socket.send(Message::text("3")).await;
        }
    }
    let finding = if opened.is_some() {
        Finding::fine(format!("websocket: upgraded, and idle for {idle:?}"))
    } else {
        let what = "websocket: upgraded, but no data was received: responses are buffered";
        Finding::error(
            what,
            "no buffering of responses: nginx `proxy_buffering off;`",
        )
    };
    (finding, opened)
}

/// The part of an open packet that is required here.
#[derive(Deserialize)]
struct Opened {
    sid: String,
}

impl Opened {
    fn read(packet: &str) -> Option<Self> {
        serde_json::from_str(packet.strip_prefix('0')?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_another_server_is_an_error() {
        let evaluated = |sid: &str, nodes: &[&str]| {
            let nodes = nodes.iter().map(ToString::to_string).collect();
            let packet = format!(r#"0{{"sid":"{sid}","upgrades":[]}}"#);
            evaluate_owner(&packet, "/ws/socket.io", &nodes)
        };
        let sid = "aaaaAbcdefghijklmnop";
        assert_eq!(evaluated(sid, &[]), None);
        assert_eq!(evaluated(sid, &["bbbb", "aaaa"]), None);
        for sid in [sid, "of another kind"] {
            let finding = evaluated(sid, &["bbbb"]).unwrap().to_string();
            assert!(finding.contains("location /ws/socket.io {"), "{finding}");
        }
    }
}
