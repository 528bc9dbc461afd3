//! A client's connection after its websocket handshake: read by its session's actor, written by whoever
//! flushes its lane, plain or in TLS.
//!
//! [`ClientStream`] is the connection while it speaks HTTP, [`Detached`] on its way to the worker of its
//! session, [`ClientSocket`] from then on.

mod deadlines;
mod plain;
mod stream;
mod timed;
mod tls;

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

pub use deadlines::{Deadlines, Serving};
pub use plain::PlainSocket;
pub use stream::{ClientStream, Detached};
pub use timed::TimedStream;
pub use tls::TlsSocket;

use crate::outbox::Sink;

/// The connection of a websocket of this worker.
#[derive(Debug)]
pub enum ClientSocket {
    Plain(PlainSocket),
    Tls(TlsSocket),
}

impl ClientSocket {
    /// Reads what is there; 0 at the end. `Pending` if nothing is, and the task is woken when that changes.
    pub fn poll_read(&self, buffer: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_read(buffer, cx),
            Self::Tls(socket) => socket.poll_read(buffer, cx),
        }
    }

    /// `Pending` while the socket is full, and the task is woken when that changes. The caller has just met
    /// a full socket and tries again once after `Ready`.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_writable(cx),
            Self::Tls(socket) => socket.poll_writable(cx),
        }
    }

    /// Hands the kernel what was taken and is still here. `Pending` while it does not take all; the task is
    /// woken when it goes on, and also when a later write leaves something here.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(socket) => socket.poll_flush(cx),
        }
    }

    /// Writes a few bytes of the handshake.
    ///
    /// # Errors
    /// The connection is gone; `WouldBlock` also if it did not take all, which a fresh socket does.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_now(bytes),
            Self::Tls(socket) => socket.write_now(bytes),
        }
    }

    /// Tells the client that nothing more will come.
    pub fn finish(&self) {
        match self {
            Self::Plain(socket) => socket.finish(),
            Self::Tls(socket) => socket.finish(),
        }
    }
}

impl Sink for ClientSocket {
    #[inline]
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(slices),
            Self::Tls(socket) => socket.try_write(slices),
        }
    }
}
