//! Connections to a node, plain or over TLS, without a runtime.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::config::BindAddress;

/// Where a node is reached.
#[derive(Debug, Clone)]
pub(super) struct NodeEndpoint {
    pub(super) at: BindAddress,
    /// The setting or option with the address.
    pub(super) origin: &'static str,
    /// The settings of TLS; `None` for plain HTTP.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl NodeEndpoint {
    /// A listener without TLS.
    pub(super) fn plain(at: BindAddress, origin: &'static str) -> Self {
        Self {
            at,
            origin,
            tls: None,
        }
    }
}

/// A connection whose reads and writes all end at one deadline.
pub(super) enum NodeStream {
    Plain(DeadlineStream),
    Tls(Box<StreamOwned<ClientConnection, DeadlineStream>>),
}

impl NodeStream {
    /// Connects within `time`, which is the limit for everything that is read and written as well. The TLS handshake
    /// begins with the first write.
    pub(super) fn open(endpoint: &NodeEndpoint, time: Duration) -> io::Result<Self> {
        let deadline = Instant::now() + time;
        let stream = connect(&endpoint.at, time)?;
        let stream = DeadlineStream { stream, deadline };
        let Some(tls) = &endpoint.tls else {
            return Ok(Self::Plain(stream));
        };
        let name = ServerName::try_from(endpoint.at.host.clone()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, stream))))
    }
}

impl Read for NodeStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for NodeStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A TCP connection with a deadline.
pub(super) struct DeadlineStream {
    stream: TcpStream,
    deadline: Instant,
}

impl DeadlineStream {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        (!left.is_zero())
            .then_some(left)
            .ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

impl Read for DeadlineStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for DeadlineStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Connects to the first address of the host that accepts. `time` is the limit for all addresses together.
pub(super) fn connect(at: &BindAddress, time: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + time;
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (at.host.as_str(), at.port).to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now());
        match TcpStream::connect_timeout(&address, left.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
