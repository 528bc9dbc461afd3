//! One attempt at one upstream, made as an upstream connection makes it and told in detail; for `roomwire check --live`.
//!
//! No pool and no listener: connects, joins the main namespace without credentials, and leaves.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::dial::{self, Call, DialError};
use crate::config::{UpstreamConfig, UpstreamUrl};
use crate::model::{Namespace, Random, ViaMark};
use crate::protocol::client::{Client, End, Heard, Purpose};

/// Bytes read at once.
const READ_BUFFER: usize = 4096;
/// How long a goodbye may take to be written.
const GOODBYE_TIME: Duration = Duration::from_secs(1);

/// A Socket.IO server is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// It let us in, under this socket id.
    Joined(Box<str>),
    /// It wants credentials, which clients bring: its words.
    Refused(String),
}

/// Why an upstream connection could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The way leads to a node of our own cluster.
    Loop,
    /// The handshake was answered with this status, and these words.
    Status(u16, String),
    /// The connection was accepted, then closed without an answer, as some servers do where nothing is at the path.
    Unanswered,
    /// Anything else.
    Other(String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loop => f.write_str("it leads back to this cluster"),
            Self::Status(status, reason) => write!(f, "it answers {status}: {}", reason.trim()),
            Self::Unanswered => f.write_str("it closes the connection without an answer"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl From<DialError> for Obstacle {
    fn from(error: DialError) -> Self {
        match error {
            error if error.is_loop() => Self::Loop,
            DialError::Status { status, reason } => Self::Status(status, reason),
            DialError::Io(error) if error.kind() == ErrorKind::UnexpectedEof => Self::Unanswered,
            error => Self::Other(error.to_string()),
        }
    }
}

/// Opens a connection to the upstream at `url` and closes it again, within `connect_timeout`.
///
/// # Errors
/// What an upstream connection would meet.
pub async fn probe(
    url: &UpstreamUrl,
    settings: &UpstreamConfig,
    mark: &ViaMark,
    random: Arc<dyn Random>,
) -> Result<Greeting, Obstacle> {
    let limit = settings.connect_timeout;
    let call = Call {
        url,
        path: &settings.path,
        mark,
    };
    let probed = timeout(limit, try_probe(&call, settings, random));
    probed
        .await
        .unwrap_or_else(|_elapsed| Err(Obstacle::Other(format!("no answer within {limit:?}"))))
}

async fn try_probe(
    call: &Call<'_>,
    settings: &UpstreamConfig,
    random: Arc<dyn Random>,
) -> Result<Greeting, Obstacle> {
    let dialed = dial::websocket(call, &*random).await?;
    let purpose = Purpose {
        namespace: Namespace::main(),
        auth: "{}".into(),
    };
    let join_by = Instant::now() + settings.connect_timeout;
    let mut client = Client::new(purpose, settings.max_message, join_by, random);
    let mut stream = dialed.stream;
    let mut bytes = dialed.first;
    let lost = |error: std::io::Error| Obstacle::Other(error.to_string());
    loop {
        let mut sid = None;
        let taken = client.receive(&mut bytes, Instant::now(), &mut |heard| {
            if let Heard::Joined { sid: joined } = heard {
                sid = Some(joined);
            }
        });
        match (sid, taken) {
            (Some(sid), _) => {
                client.say_goodbye(true);
                // It was there; how it takes our leave does not matter.
                let goodbye = client.take_outgoing();
                let _ = timeout(GOODBYE_TIME, stream.write_all(&goodbye)).await;
                return Ok(Greeting::Joined(sid));
            }
            (None, Err(End::Refused { message, .. })) => return Ok(Greeting::Refused(message)),
            (None, Err(end)) => return Err(Obstacle::Other(end.to_string())),
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
            return Err(Obstacle::Other("it closes the connection".to_owned()));
        }
    }
}
