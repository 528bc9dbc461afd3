//! A public URL as clients meet it: the polling handshake, the upgrade to a websocket, and a quiet connection.
//!
//! Judges what lies between, a proxy or balancer, by where it fails.

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

/// The longest a single answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any handshake's answer.
const LONGEST_ANSWER: u64 = 64 << 10;

const UPGRADE: &str = "pass the upgrade on: nginx `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
     proxy_set_header Connection \"upgrade\";`; HAProxy `mode http`; Traefik needs nothing, a proxy before it may";
const IDLE: &str = "longer idle times than engine.ping_interval and engine.ping_timeout together: nginx `proxy_read_timeout 3600s; \
     proxy_send_timeout 3600s;`; HAProxy `timeout tunnel 1h`; Traefik `respondingTimeouts.idleTimeout`; a cloud balancer's idle timeout";

const CODES: &str = "what the answer says; docs/protocol.md lists the codes";

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Where to connect and what to ask for there.
struct Target {
    url: Url,
    has_tls: bool,
    host: String,
    port: u16,
    path: String,
}

impl Target {
    /// `None` if no client could be given this URL.
    fn of(url: &Url, config: &Config) -> Option<Self> {
        let has_tls = match url.scheme() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return None,
        };
        let (base, endpoint) = (url.path().trim_end_matches('/'), &config.engine.path);
        // The endpoint itself is meant too.
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

    async fn open(&self) -> io::Result<Box<dyn Stream>> {
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

    /// Status and the rest of the answer to a polling handshake; the session it opens is ended again.
    async fn poll(&self) -> io::Result<(u16, String)> {
        let (status, answer) = self.ask("GET", "", "").await?;
        if let Some(opened) = answer.lines().last().and_then(Opened::read) {
            // Only for tidiness: unheard, the session ends by its own timer.
            let _ = self.ask("POST", &format!("&sid={}", opened.sid), "1").await;
        }
        Ok((status, answer))
    }

    async fn ask(&self, method: &str, query: &str, body: &str) -> io::Result<(u16, String)> {
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
        let mut answer = Vec::new();
        stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("the answer is no HTTP"))?;
        Ok((status, answer))
    }
}

/// `nodes` are the names of those that are under way, as far as they are known.
pub(super) async fn check(
    url: &Url,
    idle: Duration,
    config: &Config,
    nodes: &BTreeSet<String>,
) -> Vec<Finding> {
    let Some(target) = Target::of(url, config) else {
        let what = format!("`{url}` is no URL that clients could open");
        return vec![Finding::error(what, "--url https://host/")];
    };
    let reached = timeout(PATIENCE, target.open()).await;
    if let Err(error) = reached.map_err(io::Error::from).flatten() {
        let what = format!("{}:{} is out of reach: {error}", target.host, target.port);
        return vec![Finding::error(what, remedy(&error))];
    }
    let mut findings = Vec::new();
    if config.engine.transports.polling {
        let polled = timeout(PATIENCE, target.poll()).await;
        let polled = polled.map_err(io::Error::from).flatten();
        findings.push(judge_poll(polled, &target.path));
    }
    // What no request reaches, no websocket does, and its failure would say less.
    if findings.iter().any(|one| one.severity == Severity::Error) {
        return findings;
    }
    if config.engine.transports.websocket {
        findings.extend(hold(&target, idle, nodes).await);
    }
    findings
}

fn judge_poll(polled: io::Result<(u16, String)>, path: &str) -> Finding {
    match polled {
        Ok((200, answer)) if answer.contains("0{\"sid\"") => {
            Finding::fine(format!("polling: a session opens at {path}"))
        }
        Ok((status, answer)) => {
            let last = answer.lines().last().unwrap_or_default();
            let said: String = last.chars().take(200).collect();
            let what = format!("polling: {path} answers {status}: {said}");
            let change = match status {
                _ if said.contains("speaks TLS") => "--url: https:// instead of http://",
                _ => rule_of(status).unwrap_or(CODES),
            };
            Finding::error(what, change)
        }
        Err(error) => {
            let change = "the proxy, or what it passes requests on to: it does not answer";
            Finding::error(format!("polling: {error}"), change)
        }
    }
}

/// What to change where an answer comes from a proxy, or from another server behind it.
fn rule_of(status: u16) -> Option<&'static str> {
    Some(match status {
        200..=299 | 404 => {
            "the proxy's rule for engine.path: it must lead to the nodes, with the path as it is"
        }
        301..=308 => "--url: the one that is redirected to",
        502..=504 => "the proxy's upstream: the address of server.bind, and that a node runs there",
        _ => return None,
    })
}

/// What to change where no connection comes about.
fn remedy(error: &io::Error) -> &'static str {
    use tokio_rustls::rustls::{CertificateError, Error as TlsError};
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls {
        Some(TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "the certificate: one for this host; or --url: the host that it is for",
        Some(TlsError::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) => "the certificate: a new one, where TLS ends; or the clock of this machine",
        Some(TlsError::InvalidCertificate(_)) => {
            "the certificate: of an authority that clients trust, with its whole chain (fullchain.pem); for an authority of your own, SSL_CERT_FILE names its file to this check"
        }
        Some(TlsError::InvalidMessage(_)) => {
            "--url: http:// instead of https://, since this port speaks no TLS; or server.tls_cert and server.tls_key"
        }
        Some(_) => "the TLS settings of whoever answers there: it refuses the handshake",
        None => "--url: a host that is known here, and a port where the proxy or a node listens",
    }
}

type Socket = WebSocketStream<Box<dyn Stream>>;

async fn hold(target: &Target, idle: Duration, nodes: &BTreeSet<String>) -> Vec<Finding> {
    match upgrade(target).await {
        Ok(socket) => {
            let (finding, opened) = listen(socket, idle).await;
            let stranger = opened
                .and_then(|packet| judge_owner(&packet, target.path.trim_end_matches('/'), nodes));
            [Some(finding), stranger].into_iter().flatten().collect()
        }
        Err((what, change)) => vec![Finding::error(format!("websocket: {what}"), change)],
    }
}

/// A websocket, or what stands in its way and what to change.
async fn upgrade(target: &Target) -> Result<Socket, (String, &'static str)> {
    let scheme = if target.has_tls { "wss" } else { "ws" };
    let (authority, path) = (target.authority(), &target.path);
    let address = format!("{scheme}://{authority}{path}?EIO=4&transport=websocket");
    let opened = timeout(PATIENCE, async {
        let stream = target.open().await?;
        tokio_tungstenite::client_async(address, stream).await
    });
    match opened.await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(tungstenite::Error::Http(answer))) => {
            let status = answer.status();
            let what = format!("the upgrade is answered with {status}");
            // A page instead of a websocket: the upgrade was lost on the way, or it is another server's.
            Err((what, rule_of(status.as_u16()).unwrap_or(UPGRADE)))
        }
        Ok(Err(error)) => Err((error.to_string(), UPGRADE)),
        Err(_) => Err((
            format!("no answer to the upgrade within {PATIENCE:?}"),
            UPGRADE,
        )),
    }
}

/// The head of a session's id names its node.
fn judge_owner(packet: &str, path: &str, nodes: &BTreeSet<String>) -> Option<Finding> {
    let opened = Opened::read(packet)?;
    let is_ours = EngineId::parse(&opened.sid).is_some_and(|id| nodes.contains(id.node().as_str()));
    if nodes.is_empty() || is_ours {
        return None;
    }
    let what = format!("{path}: another server answers there, none of this cluster's nodes");
    let change = format!(
        "the proxy's rule for {path}: to the nodes, as nginx `location {path} {{ proxy_pass http://roomwire; }}`"
    );
    Some(Finding::error(what, change))
}

/// Holds a websocket, answering pings only, as a quiet client does; and the packet that opened the session.
async fn listen(mut socket: Socket, idle: Duration) -> (Finding, Option<String>) {
    let begun = Instant::now();
    let end = tokio::time::Instant::now() + idle;
    let mut opened = None;
    loop {
        let text = match timeout_at(end, socket.next()).await {
            Err(_) => break,
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => {
                let after = begun.elapsed().as_secs_f64();
                let what = format!("websocket: cut after {after:.1} s of a quiet client");
                return (Finding::error(what, IDLE), opened);
            }
            Ok(Some(Ok(_))) => continue,
        };
        if text.starts_with("0{") {
            opened = Some(text.as_str().to_owned());
        }
        // What cannot be sent is seen by the next read.
        if text.as_str() == "2" {
            let _ = socket.send(Message::text("3")).await;
        }
    }
    let finding = if opened.is_some() {
        Finding::fine(format!("websocket: upgraded, and held for {idle:?}"))
    } else {
        let what = "websocket: upgraded, but nothing came: the answers are held back";
        Finding::error(
            what,
            "no buffering of answers: nginx `proxy_buffering off;`",
        )
    };
    (finding, opened)
}

/// What matters here of an open packet.
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
    fn whose_session_it_is() {
        let judged = |sid: &str, nodes: &[&str]| {
            let nodes = nodes.iter().map(ToString::to_string).collect();
            let packet = format!(r#"0{{"sid":"{sid}","upgrades":[]}}"#);
            judge_owner(&packet, "/ws/socket.io", &nodes)
        };
        let sid = "aaaaAbcdefghijklmnop";
        assert_eq!(judged(sid, &[]), None);
        assert_eq!(judged(sid, &["bbbb", "aaaa"]), None);
        for sid in [sid, "of another kind"] {
            let stranger = judged(sid, &["bbbb"]).unwrap().to_string();
            assert!(stranger.contains("location /ws/socket.io {"), "{stranger}");
        }
    }
}
