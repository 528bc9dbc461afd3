//! The websocket handshake of a client: HTTP out, the bare stream back (RFC 6455 section 4.1).
//!
//! Also the plain GET of a health check, which is the same but for the upgrade.

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

/// Bytes of the largest head of an answer.
const MAX_HEAD: usize = 16 * 1024;
/// Header fields of an answer.
const MAX_FIELDS: usize = 64;
/// Bytes of an answer's body that are kept as the reason of a refusal.
const MAX_REASON: usize = 200;

/// Unacknowledged bytes end a connection after this time: a host that vanished is noticed while we write.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no websocket.
#[derive(Debug, Error)]
pub(super) enum DialError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no websocket server: {0}")]
    NoWebsocket(&'static str),
    /// The upstream answered something else than asked for.
    #[error("answered {status}: {reason}")]
    Status { status: u16, reason: String },
    #[error("no answer in time")]
    Slow,
}

impl DialError {
    /// The upstream works and means this client: other clients are served.
    pub(super) fn refuses_the_client(&self) -> bool {
        // Of these two, neither is about who asks.
        let busy = [408, 429];
        matches!(self, Self::Status { status, .. } if (400..500).contains(status) && !busy.contains(status))
    }

    /// The upstream connection came back to where it was opened.
    pub(super) fn is_loop(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == LOOP_DETECTED)
    }
}

/// The status by which a node turns away an upstream connection of its own cluster (RFC 5842 section 7.2).
const LOOP_DETECTED: u16 = 508;

/// A websocket, and what the upstream sent behind its handshake.
pub(super) struct Dialed {
    pub(super) stream: TcpStream,
    pub(super) first: Vec<u8>,
}

/// What a dial asks for.
pub(super) struct Call<'a> {
    pub(super) url: &'a UpstreamUrl,
    /// Path of the endpoint, without the slash at its end.
    pub(super) path: &'a str,
    /// Whose upstream connection it is.
    pub(super) mark: &'a ViaMark,
}

/// Opens a websocket to an Engine.IO endpoint.
pub(super) async fn websocket(call: &Call<'_>, random: &dyn Random) -> Result<Dialed, DialError> {
    let mut nonce = [0; 16];
    random.fill(&mut nonce);
    let key = STANDARD.encode(nonce);
    let request = format!(
        "GET {}/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{VIA_HEADER}: {}\r\n\r\n",
        call.path,
        call.url.authority(),
        call.mark
    );
    let mut stream = connect(call.url).await?;
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
        return Err(DialError::NoWebsocket("wrong Sec-WebSocket-Accept"));
    }
    Ok(Dialed {
        stream,
        first: read.split_off(head.length),
    })
}

/// The status of a GET.
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

struct Head {
    status: u16,
    accept: Option<Vec<u8>>,
    length: usize,
}

async fn read_head(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<Head, DialError> {
    loop {
        if let Some(head) = parse(read)? {
            return Ok(head);
        }
        if read.len() > MAX_HEAD {
            return Err(DialError::NoWebsocket("endless answer"));
        }
        if stream.read_buf(read).await? == 0 {
            let message = "it closes the connection without an answer";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message).into());
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Option<Head>, DialError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response
        .parse(bytes)
        .map_err(|_| DialError::NoWebsocket("its answer is not HTTP"))?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let accept = response
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("sec-websocket-accept"));
    Ok(Some(Head {
        status: response.code.unwrap_or_default(),
        accept: accept.map(|field| field.value.to_vec()),
        length,
    }))
}

/// The beginning of a refusal's body, for the log and for the client: what came with the head, or right after it.
async fn reason(stream: &mut TcpStream, mut body: Vec<u8>) -> String {
    if body.is_empty() {
        // Without a body the status says enough.
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
    fn answers_are_taken_apart() {
        let answer = b"HTTP/1.1 101 Switching\r\nsec-websocket-ACCEPT: abc\r\n\r\nrest";
        let head = parse(answer).unwrap().unwrap();
        assert_eq!((head.status, head.length), (101, answer.len() - 4));
        assert_eq!(head.accept.as_deref(), Some(&b"abc"[..]));
        assert!(parse(&answer[..20]).unwrap().is_none());
        assert!(parse(b"SSH-2.0-OpenSSH\r\n").is_err());
    }

    #[test]
    fn only_a_4xx_is_about_the_client_and_not_each() {
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
            assert_eq!(error.refuses_the_client(), expected, "{status}");
        }
        assert!(!DialError::Slow.refuses_the_client());
    }
}
