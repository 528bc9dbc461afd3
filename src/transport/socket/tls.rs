//! A client's TLS connection, without the stream type of a runtime.
//!
//! rustls converts bytes; this file moves them, at once and without blocking. Encrypted bytes cannot be withdrawn: those
//! that the kernel does not accept yet stay here, at most [`ENCRYPTED_LIMIT`] and their overhead, and nothing more is
//! accepted meanwhile. So the packets of a slow client wait in the queue of its lane.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::task::{Context, Poll, Waker};

use rustls::ServerConnection;
use smallvec::SmallVec;

use super::plain::PlainSocket;
use crate::outbox::Sink;

/// Maximum number of plaintext bytes encrypted before the kernel accepts them: two records.
const ENCRYPTED_LIMIT: usize = 32 * 1024;
/// Number of slices of one write that need no allocation.
const USUAL_SLICES: usize = 8;

/// A TLS connection in non-blocking mode, its handshake done.
#[derive(Debug)]
pub struct TlsSocket {
    socket: PlainSocket,
    // Boxed, so that the socket of a plain client stays small.
    connection: RefCell<Box<ServerConnection>>,
    /// The task that calls `poll_flush`.
    flusher: RefCell<Option<Waker>>,
}

impl TlsSocket {
    /// A connection whose handshake is done, with the bytes it has already decrypted.
    pub fn new(socket: PlainSocket, mut connection: Box<ServerConnection>) -> Self {
        connection.set_buffer_limit(Some(ENCRYPTED_LIMIT));
        Self {
            socket,
            connection: RefCell::new(connection),
            flusher: RefCell::new(None),
        }
    }

    /// See [`super::ClientSocket::poll_read`].
    pub fn poll_read(&self, buffer: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let connection = &mut **self.connection.borrow_mut();
        loop {
            match connection.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The client closed without `close_notify`. The framing detects a truncated message.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(0));
                }
                read => return Poll::Ready(read),
            }
            let mut wire = Wire {
                socket: &self.socket,
                cx,
            };
            match connection.read_tls(&mut wire) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            let processed = connection.process_new_packets();
            // An alert, or the response to a key update; the next write sends what does not fit now.
            let _ = self.write_encrypted(connection);
            if let Err(error) = processed {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }

    /// See [`super::ClientSocket::poll_writable`].
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_writable(cx)
    }

    /// See [`super::ClientSocket::poll_flush`].
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flusher = &mut *self.flusher.borrow_mut();
        if !flusher
            .as_ref()
            .is_some_and(|old| old.will_wake(cx.waker()))
        {
            *flusher = Some(cx.waker().clone());
        }
        let connection = &mut **self.connection.borrow_mut();
        while !self.write_encrypted(connection)? {
            match self.socket.poll_writable(cx) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// See [`super::ClientSocket::write_now`].
    ///
    /// # Errors
    /// As there.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<()> {
        let written = self.try_write(&[IoSlice::new(bytes)])?;
        let all_sent = written == bytes.len() && !self.connection.borrow().wants_write();
        if all_sent {
            Ok(())
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    /// See [`super::ClientSocket::finish`].
    pub fn finish(&self) {
        let connection = &mut **self.connection.borrow_mut();
        connection.send_close_notify();
        // The client may have closed first.
        let _ = self.write_encrypted(connection);
        self.socket.finish();
    }

    /// Writes encrypted bytes to the kernel; returns whether it accepted all of them.
    fn write_encrypted(&self, connection: &mut ServerConnection) -> io::Result<bool> {
        let mut stream: &TcpStream = self.socket.stream();
        while connection.wants_write() {
            match connection.write_tls(&mut stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Wakes the task that flushes: encrypted bytes stay here after a write that accepted all of its input, so its caller
    /// does not call again.
    fn wake_flusher(&self) {
        if let Some(flusher) = &*self.flusher.borrow() {
            flusher.wake_by_ref();
        }
    }
}

impl Sink for TlsSocket {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let connection = &mut **self.connection.borrow_mut();
        if !self.write_encrypted(connection)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut slices: SmallVec<[IoSlice<'_>; USUAL_SLICES]> =
            slices.iter().map(|slice| IoSlice::new(slice)).collect();
        let mut rest = &mut slices[..];
        let mut accepted = 0;
        while !rest.is_empty() {
            let encrypted = connection.writer().write_vectored(rest)?;
            if encrypted == 0 {
                break;
            }
            accepted += encrypted;
            IoSlice::advance_slices(&mut rest, encrypted);
            // The next read or write of the session returns an error again.
            if !matches!(self.write_encrypted(connection), Ok(true)) {
                self.wake_flusher();
                break;
            }
        }
        Ok(accepted)
    }
}

/// Adapts the socket for rustls.
struct Wire<'a, 'b> {
    socket: &'a PlainSocket,
    cx: &'a mut Context<'b>,
}

impl Read for Wire<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.socket.poll_read(buffer, self.cx) {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}
