//! A single attempt to connect to an upstream, with a detailed result, for `roomwire check --live`.
//!
//! Connects to the main namespace without credentials and closes the connection, as an upstream connection would.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::dial::{self, DialError, DialTarget};
use crate::clock::now;
use crate::config::{UpstreamConfig, UpstreamUrl};
use crate::model::{Namespace, Random, ViaMark};
use crate::protocol::client::{Client, ConnectRequest, EndReason, ServerEvent};

/// Size in bytes of one read.
const READ_BUFFER: usize = 4096;
/// Time in which the close is written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The response of a Socket.IO server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// It accepted the CONNECT, with this socket id.
    Connected(Box<str>),
    /// It rejected the CONNECT with this message, as a server does that requires the credentials of clients.
    Rejected(String),
}

/// Why an upstream connection could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeError {
    /// The URL leads to a node of this cluster.
    Loop,
    /// The response to the handshake has this status, and a body that begins like this.
    Status(u16, String),
    /// The connection was accepted and closed without a response, as some servers do at an unknown path.
    NoResponse,
    /// Anything else.
    Other(String),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loop => f.write_str("leads back to this cluster"),
            Self::Status(status, reason) => write!(f, "HTTP {status}: {}", reason.trim()),
            Self::NoResponse => f.write_str("connection closed without a response"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl From<DialError> for ProbeError {
    fn from(error: DialError) -> Self {
        match error {
            error if error.is_loop() => Self::Loop,
            DialError::Status { status, reason } => Self::Status(status, reason),
            DialError::Io(error) if error.kind() == ErrorKind::UnexpectedEof => Self::NoResponse,
            error => Self::Other(error.to_string()),
        }
    }
}

/// Opens a connection to the upstream at `url` and closes it again, within `connect_timeout`.
///
/// # Errors
/// Why an upstream connection could not be opened.
pub async fn probe(
    url: &UpstreamUrl,
    settings: &UpstreamConfig,
    mark: &ViaMark,
    random: Arc<dyn Random>,
) -> Result<ProbeResult, ProbeError> {
    let limit = settings.connect_timeout;
    let target = DialTarget {
        url,
        path: &settings.path,
        mark,
    };
    let probed = timeout(limit, try_probe(&target, settings, random));
    probed
        .await
        .unwrap_or_else(|_elapsed| Err(ProbeError::Other(format!("no response within {limit:?}"))))
}

async fn try_probe(
    target: &DialTarget<'_>,
    settings: &UpstreamConfig,
    random: Arc<dyn Random>,
) -> Result<ProbeResult, ProbeError> {
    let dialed = dial::websocket(target, &*random).await?;
    let connect = ConnectRequest {
        namespace: Namespace::main(),
        auth: "{}".into(),
    };
    let connect_by = now() + settings.connect_timeout;
    let mut client = Client::new(connect, settings.max_message, connect_by, random);
    let mut stream = dialed.stream;
    let mut bytes = dialed.first;
    let lost = |error: std::io::Error| ProbeError::Other(error.to_string());
    loop {
        let mut sid = None;
        let received = client.receive(&mut bytes, now(), &mut |event| {
            if let ServerEvent::Connected { sid: connected } = event {
                sid = Some(connected);
            }
        });
        match (sid, received) {
            (Some(sid), _) => {
                client.close(true);
                // The probe has succeeded, whether or not the close can be written.
                let close = client.take_outgoing();
                let _ = timeout(CLOSE_TIMEOUT, stream.write_all(&close)).await;
                return Ok(ProbeResult::Connected(sid));
            }
            (None, Err(EndReason::Rejected { message, .. })) => {
                return Ok(ProbeResult::Rejected(message));
            }
            (None, Err(end)) => return Err(ProbeError::Other(end.to_string())),
            (None, Ok(())) => {}
        }
        stream
            .write_all(&client.take_outgoing())
            .await
            .map_err(lost)?;
        stream.flush().await.map_err(lost)?;
        bytes.clear();
        bytes.reserve(READ_BUFFER);
        if stream.read_buf(&mut bytes).await.map_err(lost)? == 0 {
            return Err(ProbeError::Other("connection closed".to_owned()));
        }
    }
}
