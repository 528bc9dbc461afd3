//! A client's plain TCP connection.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use crate::outbox::Sink;

/// A plain TCP connection in non-blocking mode.
///
/// Reads and writes use the socket at once; the event loop is involved only when the socket is empty or full. This saves
/// a system call per message compared to `tokio::net::TcpStream`.
#[derive(Debug)]
pub struct PlainSocket {
    io: AsyncFd<TcpStream>,
}

impl PlainSocket {
    /// Adds a connection to the event loop. `send_buffer` limits the bytes that the kernel holds for a client that does
    /// not read; `user_timeout` is the time that sent data may stay unacknowledged.
    ///
    /// # Errors
    /// The connection is lost, or the event loop accepts no more.
    pub fn new(
        stream: TcpStream,
        send_buffer: Option<usize>,
        user_timeout: Duration,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let options = socket2::SockRef::from(&stream);
        if let Some(bytes) = send_buffer {
            options.set_send_buffer_size(bytes)?;
        }
        #[cfg(target_os = "linux")]
        options.set_tcp_user_timeout(Some(user_timeout))?;
        #[cfg(not(target_os = "linux"))]
        let _ = user_timeout;
        #[expect(
            deprecated,
            reason = "a TcpStream never changes its descriptor, so the safe constructor is sound for it"
        )]
        let io = AsyncFd::new(stream)?;
        Ok(Self { io })
    }

    /// The connection itself, for writes that never block.
    pub(super) fn stream(&self) -> &TcpStream {
        self.io.get_ref()
    }

    /// Reads available bytes. `Pending` if there are none, and the task is woken when that changes.
    pub fn poll_read(&self, buffer: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = match self.io.poll_read_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Poll::Pending,
            };
            match self.io.get_ref().read(buffer) {
                Ok(read) => {
                    // The socket is empty now; the next byte wakes the task.
                    if read > 0 && read < buffer.len() {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// See [`super::ClientSocket::poll_writable`].
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io
            .poll_write_ready(cx)
            .map_ok(|mut ready| ready.clear_ready())
    }

    /// See [`super::ClientSocket::write_now`].
    ///
    /// # Errors
    /// As there.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<()> {
        match self.io.get_ref().write(bytes)? {
            written if written == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// See [`super::ClientSocket::finish`].
    pub fn finish(&self) {
        // The client may have closed first.
        let _ = self.io.get_ref().shutdown(std::net::Shutdown::Write);
    }
}

impl Sink for PlainSocket {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut stream = self.io.get_ref();
        match slices {
            [single] => stream.write(single),
            several => stream.write_vectored(several),
        }
    }
}
