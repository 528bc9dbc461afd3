//! The connection of a websocket on the worker of its session.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use super::plain::PlainSocket;
use super::tls::TlsSocket;
use crate::outbox::Sink;

/// The connection of a websocket of this worker.
#[derive(Debug)]
pub enum ClientSocket {
    Plain(PlainSocket),
    Tls(TlsSocket),
}

impl ClientSocket {
    /// Reads available bytes; 0 at the end. `Pending` if there are none, and the task is woken when that changes.
    pub fn poll_read(&self, buffer: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_read(buffer, cx),
            Self::Tls(socket) => socket.poll_read(buffer, cx),
        }
    }

    /// `Pending` while the socket is full, and the task is woken when that changes. Called after a write found the socket
    /// full; the caller tries again once after `Ready`.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_writable(cx),
            Self::Tls(socket) => socket.poll_writable(cx),
        }
    }

    /// Writes accepted bytes that the kernel has not accepted yet. `Pending` while some remain; the task is woken when the
    /// kernel accepts more, and also when a later write leaves bytes here.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(socket) => socket.poll_flush(cx),
        }
    }

    /// Writes a few bytes of the handshake.
    ///
    /// # Errors
    /// The connection is lost; `WouldBlock` also if it did not accept all bytes, which a new socket does.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_now(bytes),
            Self::Tls(socket) => socket.write_now(bytes),
        }
    }

    /// Closes the write direction: the client reads to the end.
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
