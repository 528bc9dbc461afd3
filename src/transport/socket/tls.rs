//! A client's TLS connection without a runtime's stream around it.
//!
//! rustls turns bytes into bytes; this file moves them, at once and without blocking. What is encrypted cannot
//! be taken back: bytes the kernel does not take yet stay here, at most [`ENCRYPTED_LIMIT`] and their overhead,
//! and nothing more is taken meanwhile. So the lane's queue stays the place where a slow client's packets wait.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::task::{Context, Poll, Waker};

use rustls::ServerConnection;
use smallvec::SmallVec;

use super::plain::PlainSocket;
use crate::outbox::Sink;

/// Plaintext encrypted before the kernel has taken it: two records.
const ENCRYPTED_LIMIT: usize = 32 * 1024;
/// Slices of one write that need no memory of their own.
const USUAL_SLICES: usize = 8;

/// A TLS connection in non-blocking mode, its handshake done.
#[derive(Debug)]
pub struct TlsSocket {
    socket: PlainSocket,
    // Boxed: a plain client's socket is an alternative to this one and stays small.
    connection: RefCell<Box<ServerConnection>>,
    /// The task that flushes.
    flusher: RefCell<Option<Waker>>,
}

impl TlsSocket {
    /// Takes the connection over, with what it has already decrypted.
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
                // Hung up without the alert that says so. A cut message is one the frames do not end.
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
            // An alert, or an answer to new keys; what does not fit now goes with the next write.
            let _ = self.push(connection);
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
        while !self.push(connection)? {
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
        let is_away = written == bytes.len() && !self.connection.borrow().wants_write();
        if is_away {
            Ok(())
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    /// See [`super::ClientSocket::finish`].
    pub fn finish(&self) {
        let connection = &mut **self.connection.borrow_mut();
        connection.send_close_notify();
        // The client may have gone first.
        let _ = self.push(connection);
        self.socket.finish();
    }

    /// Hands the kernel what is encrypted; returns whether it took all.
    fn push(&self, connection: &mut ServerConnection) -> io::Result<bool> {
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

    /// Something stays here after a write that took all it was offered: nobody else would ask for it.
    fn wake_flusher(&self) {
        if let Some(flusher) = &*self.flusher.borrow() {
            flusher.wake_by_ref();
        }
    }
}

impl Sink for TlsSocket {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let connection = &mut **self.connection.borrow_mut();
        if !self.push(connection)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut slices: SmallVec<[IoSlice<'_>; USUAL_SLICES]> =
            slices.iter().map(|slice| IoSlice::new(slice)).collect();
        let mut rest = &mut slices[..];
        let mut taken = 0;
        while !rest.is_empty() {
            let encrypted = connection.writer().write_vectored(rest)?;
            if encrypted == 0 {
                break;
            }
            taken += encrypted;
            IoSlice::advance_slices(&mut rest, encrypted);
            // An error is met again by the session's own read or write.
            if !matches!(self.push(connection), Ok(true)) {
                self.wake_flusher();
                break;
            }
        }
        Ok(taken)
    }
}

/// The socket as rustls reads it.
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
