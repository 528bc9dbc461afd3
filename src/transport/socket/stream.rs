//! A client's connection while it carries HTTP, and on its way to the worker of its session.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::client::ClientSocket;
use super::deadlines::Deadlines;
use super::plain::PlainSocket;
use super::timed::TimedStream;
use super::tls::TlsSocket;

/// An accepted connection.
pub enum ClientStream {
    Plain(TimedStream),
    /// Boxed: the state of TLS is large, and plain connections should not reserve space for it.
    Tls(Box<TlsStream<TimedStream>>),
}

impl ClientStream {
    /// The deadlines of the connection while it carries HTTP.
    pub fn deadlines(&self) -> &Rc<Deadlines> {
        match self {
            Self::Plain(stream) => stream.deadlines(),
            Self::Tls(stream) => stream.get_ref().0.deadlines(),
        }
    }

    /// Removes the connection from the event loop of this worker.
    ///
    /// # Errors
    /// The event loop does not release the connection.
    pub fn detach(self) -> io::Result<DetachedConnection> {
        match self {
            Self::Plain(stream) => Ok(DetachedConnection {
                stream: stream.into_inner().into_std()?,
                tls: None,
            }),
            Self::Tls(stream) => {
                let (stream, connection) = stream.into_inner();
                Ok(DetachedConnection {
                    stream: stream.into_inner().into_std()?,
                    tls: Some(Box::new(connection)),
                })
            }
        }
    }
}

/// A connection that belongs to no worker at the moment.
#[derive(Debug)]
pub struct DetachedConnection {
    stream: std::net::TcpStream,
    /// Its keys, and bytes that are already decrypted.
    tls: Option<Box<ServerConnection>>,
}

impl DetachedConnection {
    /// Adds the connection to the event loop of this worker. Settings as for [`PlainSocket::new`].
    ///
    /// # Errors
    /// The connection is lost, or the event loop accepts no more.
    pub fn attach(
        self,
        send_buffer: Option<usize>,
        user_timeout: Duration,
    ) -> io::Result<ClientSocket> {
        let socket = PlainSocket::new(self.stream, send_buffer, user_timeout)?;
        Ok(match self.tls {
            Some(connection) => ClientSocket::Tls(TlsSocket::new(socket, connection)),
            None => ClientSocket::Plain(socket),
        })
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
