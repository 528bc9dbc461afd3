//! One HTTP/1.1 request and its response, without a runtime.
//!
//! Used by the verbs of the API, by `roomwire drain`, and by `roomwire health`, which containers run every few seconds,
//! so it must be fast and small.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as TlsError};

use super::connection::{NodeEndpoint, NodeStream};
use crate::config::{BindAddress, Secret};

/// Time limit of a short request; a node that is slower is considered dead.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
/// Size limit of a short response in bytes.
const MAX_RESPONSE: u64 = 64 << 10;

/// The response of a node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: String,
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.body.trim_end())
    }
}

/// A request, and the limits of its response.
pub(super) struct Exchange<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) token: Option<&'a Secret>,
    /// JSON.
    pub(super) body: Option<&'a str>,
    /// Limit for the connection attempt, the request and the response together.
    pub(super) time: Duration,
    /// Bytes of the response.
    pub(super) limit: u64,
}

impl<'a> Exchange<'a> {
    /// A request without a body, to which a node responds at once.
    pub(super) fn short(method: &'a str, path: &'a str, token: Option<&'a Secret>) -> Self {
        Self {
            method,
            path,
            token,
            body: None,
            time: TIMEOUT,
            limit: MAX_RESPONSE,
        }
    }

    /// The bytes of the request.
    fn encoded(&self, at: &BindAddress) -> String {
        let (method, path) = (self.method, self.path);
        let token = self
            .token
            .map(|token| format!("Authorization: Bearer {}\r\n", token.expose()));
        let token = token.unwrap_or_default();
        let json = self
            .body
            .map_or("", |_| "Content-Type: application/json\r\n");
        let body = self.body.unwrap_or_default();
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {at}\r\n{token}{json}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
    }
}

/// Sends a request and reads its response.
///
/// # Errors
/// There is no valid HTTP response in time. The text names the address and the reason.
pub(super) fn send(endpoint: &NodeEndpoint, exchange: &Exchange<'_>) -> Result<Response, String> {
    let at = &endpoint.at;
    let text = run(endpoint, exchange).map_err(|error| {
        // The error of an expired timeout depends on the system.
        let late = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind());
        if late {
            format!("{at} did not respond within {} s", exchange.time.as_secs())
        } else if error.kind() == io::ErrorKind::ConnectionRefused {
            let origin = endpoint.origin;
            format!("no node listens on {at} ({origin}): {}", reason(&error))
        } else {
            format!("{at}: {}", reason(&error))
        }
    })?;
    parse(&text).ok_or_else(|| format!("{at} sent no valid HTTP response"))
}

fn run(endpoint: &NodeEndpoint, exchange: &Exchange<'_>) -> io::Result<String> {
    let mut stream = NodeStream::open(endpoint, exchange.time)?;
    stream.write_all(exchange.encoded(&endpoint.at).as_bytes())?;
    stream.flush()?;
    let mut text = Vec::new();
    match stream.take(exchange.limit).read_to_end(&mut text) {
        // Without the closing message of TLS; the length shows whether the response is complete.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !text.is_empty() => {}
        read => {
            read?;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Why a connection failed, with what to do about it.
fn reason(error: &io::Error) -> String {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
            "the node presents another certificate than the one in its configuration: name its authority with --ca"
                .to_owned()
        }
        Some(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            format!("{error}: name the authority of the node with --ca")
        }
        Some(TlsError::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure,
        )) => "the node requires a client certificate: set api.client_cert and api.client_key, or pass --cert and --cert-key"
            .to_owned(),
        Some(TlsError::AlertReceived(_)) => format!("{error}: the node rejects the client certificate"),
        Some(TlsError::InvalidMessage(_)) => format!("{error}: the listener has no TLS"),
        _ => error.to_string(),
    }
}

/// Status and body of a response that ends with its connection; `None` if it is not valid or not complete.
fn parse(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if let Some((_, length)) = length
        && length.trim().parse() != Ok(body.len())
    {
        return None;
    }
    Some(Response {
        status: status.parse().ok()?,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_parsed() {
        let ok = Some(Response {
            status: 200,
            body: "ok\n".to_owned(),
        });
        assert_eq!(parse("HTTP/1.1 200 OK\r\nx: y\r\n\r\nok\n"), ok);
        let with_length = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
        assert_eq!(parse(with_length), ok);
        for text in [
            "",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 200",
            "HTTP/1.1 x OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok\n",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
