//! Opens connections to a server: those of the crate for commands, and plain streams for subscriptions.
//!
//! Both use the streams opened here, with the same TLS, socket options and timeouts.

use std::io;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::address::Address;
use super::error::ConnectionError;
use super::resp::{Reply, ReplyReader};
use super::role::verify_reply;
use super::settings::RedisSettings;

pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

pub(super) type BoxedStream = Box<dyn ByteStream>;

impl RedisSettings {
    /// Opens a connection for commands to `address` and verifies that Redis responds and, where required, is a master.
    pub(super) async fn connect(
        &self,
        address: &Address,
    ) -> Result<MultiplexedConnection, ConnectionError> {
        let connected = timeout(
            self.connect_timeout,
            self.try_connect(address, self.login()),
        );
        let mut connection = self.in_time(connected.await)?;
        self.verify(&mut connection, address).await?;
        Ok(connection)
    }

    /// Opens a connection for commands with another login, for Sentinels.
    pub(super) async fn connect_as(
        &self,
        address: &Address,
        login: &RedisConnectionInfo,
    ) -> Result<MultiplexedConnection, ConnectionError> {
        let connected = timeout(self.connect_timeout, self.try_connect(address, login));
        self.in_time(connected.await)
    }

    fn in_time<T>(
        &self,
        done: Result<Result<T, ConnectionError>, tokio::time::error::Elapsed>,
    ) -> Result<T, ConnectionError> {
        done.unwrap_or_else(|_elapsed| {
            Err(match self.tls() {
                Some(_) => ConnectionError::SlowTls(self.connect_timeout),
                None => ConnectionError::Slow(self.connect_timeout),
            })
        })
    }

    async fn try_connect(
        &self,
        address: &Address,
        login: &RedisConnectionInfo,
    ) -> Result<MultiplexedConnection, ConnectionError> {
        let stream = stream_to(self, address).await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.response_timeout));
        let (connection, driver) =
            MultiplexedConnection::new_with_config(login, stream, config).await?;
        // Ends when the last clone of the connection is dropped.
        tokio::spawn(driver);
        Ok(connection)
    }
}

pub(super) struct Connection {
    pub(super) replies: ReplyReader<ReadHalf<BoxedStream>>,
    writer: WriteHalf<BoxedStream>,
    write_timeout: Duration,
}

impl Connection {
    pub(super) async fn open(
        settings: &RedisSettings,
        address: &Address,
    ) -> Result<Self, ConnectionError> {
        settings.in_time(timeout(settings.connect_timeout, open(settings, address)).await)
    }

    /// Sends commands in a single write; `replies` yields the responses.
    pub(super) async fn send(&mut self, commands: &[Cmd]) -> Result<(), ConnectionError> {
        let mut bytes = Vec::new();
        for command in commands {
            bytes.extend_from_slice(&command.get_packed_command());
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let writer = &mut self.writer;
        let write = async {
            writer.write_all(&bytes).await?;
            // TLS buffers records.
            writer.flush().await
        };
        match timeout(self.write_timeout, write).await {
            Ok(written) => Ok(written?),
            Err(_elapsed) => Err(ConnectionError::Slow(self.write_timeout)),
        }
    }
}

async fn open(settings: &RedisSettings, address: &Address) -> Result<Connection, ConnectionError> {
    let (reader, writer) = split(stream_to(settings, address).await?);
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
    if settings.needs_master() {
        connection.send(&[redis::cmd("ROLE")]).await?;
        verify_reply(&connection.replies.next().await?, address)?;
    }
    Ok(connection)
}

fn accepted(reply: Reply) -> Result<(), ConnectionError> {
    match reply {
        Reply::Error(text) => Err(ConnectionError::Rejected(text)),
        _ => Ok(()),
    }
}

async fn stream_to(
    settings: &RedisSettings,
    address: &Address,
) -> Result<BoxedStream, ConnectionError> {
    match address {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            apply(settings.tcp(), &stream)?;
            match settings.tls() {
                Some(tls) => Ok(Box::new(tls.open(host, stream).await?)),
                None => Ok(Box::new(stream)),
            }
        }
        Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
    }
}

/// Sets the same socket options as the crate sets on its own connections.
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
