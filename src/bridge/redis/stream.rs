//! Opens the subscription connection: a bare stream on which Redis has accepted our credentials.

use std::io;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{Cmd, ConnectionAddr};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::resp::{ReadError, Reply, ReplyReader};
use super::settings::RedisSettings;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) type BoxedStream = Box<dyn Stream>;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer within {0:?}")]
    Slow(Duration),
    #[error("refused by the server: {0}")]
    Refused(String),
    #[error("TLS is not supported yet")]
    Tls,
}

pub(super) struct Connection {
    pub(super) replies: ReplyReader<ReadHalf<BoxedStream>>,
    writer: WriteHalf<BoxedStream>,
    write_timeout: Duration,
}

impl Connection {
    pub(super) async fn open(settings: &RedisSettings) -> Result<Self, ConnectionError> {
        let limit = settings.connect_timeout;
        match timeout(limit, open(settings)).await {
            Ok(connection) => connection,
            Err(_elapsed) => Err(ConnectionError::Slow(limit)),
        }
    }

    /// Sends commands in one go; their answers come through `replies`.
    pub(super) async fn send(&mut self, commands: &[Cmd]) -> Result<(), ConnectionError> {
        let mut bytes = Vec::new();
        for command in commands {
            bytes.extend_from_slice(&command.get_packed_command());
        }
        let written = timeout(self.write_timeout, self.writer.write_all(&bytes)).await;
        match written {
            Ok(written) => Ok(written?),
            Err(_elapsed) => Err(ConnectionError::Slow(self.write_timeout)),
        }
    }
}

async fn open(settings: &RedisSettings) -> Result<Connection, ConnectionError> {
    let (reader, writer) = split(stream_to(settings).await?);
    let mut connection = Connection {
        replies: ReplyReader::new(reader, settings.message_limit),
        writer,
        write_timeout: settings.response_timeout,
    };
    if let Some((username, password)) = settings.credentials() {
        let mut command = redis::cmd("AUTH");
        if let Some(username) = username {
            command.arg(username);
        }
        command.arg(password);
        connection.send(&[command]).await?;
        accepted(connection.replies.next().await?)?;
    }
    Ok(connection)
}

fn accepted(reply: Reply) -> Result<(), ConnectionError> {
    match reply {
        Reply::Error(text) => Err(ConnectionError::Refused(text)),
        _ => Ok(()),
    }
}

async fn stream_to(settings: &RedisSettings) -> Result<BoxedStream, ConnectionError> {
    let server = settings.server();
    match server.addr() {
        ConnectionAddr::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            apply(server.tcp_settings(), &stream)?;
            Ok(Box::new(stream))
        }
        ConnectionAddr::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        _ => Err(ConnectionError::Tls),
    }
}

/// The same options the crate sets on its own connections.
fn apply(settings: &TcpSettings, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(settings.nodelay())?;
    let socket = SockRef::from(stream);
    if let Some(keepalive) = settings.keepalive() {
        socket.set_tcp_keepalive(keepalive)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(settings.user_timeout())?;
    Ok(())
}
