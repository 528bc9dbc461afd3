//! Opens a TCP connection and performs the client's websocket handshake (RFC 6455 section 4.1).
//!
//! Also sends the plain GET of a health check.

use std::io;
use std::time::Duration;

use actix_http::ws::hash_key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use socket2::SockRef;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::UpstreamUrl;
use crate::model::{Random, VIA_HEADER, ViaMark};

/// Maximum size in bytes of a response head.
const MAX_HEAD: usize = 16 * 1024;
/// Maximum number of header fields of a response.
const MAX_FIELDS: usize = 64;
/// Bytes of a response body that are kept as the reason of a rejection.
const MAX_REASON: usize = 200;

/// `TCP_USER_TIMEOUT`: time after which unacknowledged bytes end a connection, so that a vanished host is noticed.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why no websocket could be opened.
#[derive(Debug, Error)]
pub(super) enum DialError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not a websocket server: {0}")]
    NotWebsocket(&'static str),
    /// An unexpected status, with the beginning of the body.
    #[error("HTTP {status}: {reason}")]
    Status { status: u16, reason: String },
    #[error("no response in time")]
    Timeout,
}

impl DialError {
    /// Whether a healthy upstream rejected this client in particular.
    pub(super) fn is_rejection(&self) -> bool {
        // Request timeout and too many requests concern the load of the upstream, not the client.
        let overloaded = [408, 429];
        matches!(self, Self::Status { status, .. } if (400..500).contains(status) && !overloaded.contains(status))
    }

    /// Whether the connection reached this cluster instead of an upstream.
    pub(super) fn is_loop(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == LOOP_DETECTED)
    }
}

/// The status by which a node rejects an upstream connection of its own cluster (RFC 5842 section 7.2).
const LOOP_DETECTED: u16 = 508;

/// An open websocket.
pub(super) struct Dialed {
    pub(super) stream: TcpStream,
    /// Bytes that arrived together with the response head.
    pub(super) first: Vec<u8>,
}

/// The target of a handshake.
pub(super) struct DialTarget<'a> {
    pub(super) url: &'a UpstreamUrl,
    /// Path of the endpoint, without the trailing slash.
    pub(super) path: &'a str,
    /// Identifies the node that opens the connection.
    pub(super) mark: &'a ViaMark,
}

/// Opens a websocket to an Engine.IO endpoint. Has no timeout of its own.
///
/// # Errors
/// The server cannot be reached, or does not open a websocket.
pub(super) async fn websocket(
    target: &DialTarget<'_>,
    random: &dyn Random,
) -> Result<Dialed, DialError> {
    let mut nonce = [0; 16];
    random.fill(&mut nonce);
    let key = STANDARD.encode(nonce);
    let request = format!(
        "GET {}/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{VIA_HEADER}: {}\r\n\r\n",
        target.path,
        target.url.authority(),
        target.mark
    );
    let mut stream = connect(target.url).await?;
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut read = Vec::new();
    let head = read_head(&mut stream, &mut read).await?;
    if head.status != 101 {
        return Err(DialError::Status {
            status: head.status,
            reason: reason(&mut stream, read.split_off(head.length)).await,
        });
    }
    let expected = hash_key(key.as_bytes());
    if head.accept.as_deref() != Some(expected.as_slice()) {
        return Err(DialError::NotWebsocket("wrong Sec-WebSocket-Accept"));
    }
    Ok(Dialed {
        stream,
        first: read.split_off(head.length),
    })
}

/// Sends a GET and returns the status of the response.
///
/// # Errors
/// The server cannot be reached, or does not respond with HTTP.
pub(super) async fn get(url: &UpstreamUrl, path: &str) -> Result<u16, DialError> {
    let mut stream = connect(url).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: */*\r\n\r\n",
        url.authority()
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let head = read_head(&mut stream, &mut Vec::new()).await?;
    Ok(head.status)
}

async fn connect(url: &UpstreamUrl) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((url.host(), url.port())).await?;
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(&stream).set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(stream)
}

struct ResponseHead {
    status: u16,
    accept: Option<Vec<u8>>,
    length: usize,
}

async fn read_head(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<ResponseHead, DialError> {
    loop {
        if let Some(head) = parse(read)? {
            return Ok(head);
        }
        if read.len() > MAX_HEAD {
            return Err(DialError::NotWebsocket("response head too large"));
        }
        if stream.read_buf(read).await? == 0 {
            let message = "connection closed without a response";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message).into());
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Option<ResponseHead>, DialError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response
        .parse(bytes)
        .map_err(|_| DialError::NotWebsocket("response is not HTTP"))?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let accept = response
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("sec-websocket-accept"));
    Ok(Some(ResponseHead {
        status: response.code.unwrap_or_default(),
        accept: accept.map(|field| field.value.to_vec()),
        length,
    }))
}

/// The beginning of the body of a rejection, for the log and the client: what arrived with the head, or right after it.
async fn reason(stream: &mut TcpStream, mut body: Vec<u8>) -> String {
    if body.is_empty() {
        // A failure leaves the body empty; the status alone is enough then.
        let _ = stream.read_buf(&mut body).await;
    }
    body.truncate(MAX_REASON);
    String::from_utf8_lossy(&body)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_heads_are_parsed() {
        let response = b"HTTP/1.1 101 Switching\r\nsec-websocket-ACCEPT: abc\r\n\r\nrest";
        let head = parse(response).unwrap().unwrap();
        assert_eq!((head.status, head.length), (101, response.len() - 4));
        assert_eq!(head.accept.as_deref(), Some(&b"abc"[..]));
        assert!(parse(&response[..20]).unwrap().is_none());
        assert!(parse(b"SSH-2.0-OpenSSH\r\n").is_err());
    }

    #[test]
    fn a_4xx_is_a_rejection_unless_it_concerns_load() {
        for (status, expected) in [
            (400, true),
            (403, true),
            (302, false),
            (408, false),
            (429, false),
            (500, false),
            (503, false),
        ] {
            let error = DialError::Status {
                status,
                reason: String::new(),
            };
            assert_eq!(error.is_rejection(), expected, "{status}");
        }
        assert!(!DialError::Timeout.is_rejection());
    }
}
