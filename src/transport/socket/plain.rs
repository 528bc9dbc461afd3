//! A client's plain TCP connection.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use crate::outbox::Sink;

/// A plain TCP connection in non-blocking mode.
///
/// Reads and writes go to the socket at once and tell the reactor only when it was empty or full, which
/// saves a system call per message against `tokio::net::TcpStream`.
#[derive(Debug)]
pub struct PlainSocket {
    io: AsyncFd<TcpStream>,
}

impl PlainSocket {
    /// Takes the connection over. `send_buffer` bounds what the kernel holds for a client that does not read;
    /// `user_timeout` is how long sent data may stay unacknowledged.
    ///
    /// # Errors
    /// The connection is gone, or the reactor takes no more.
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

    /// Reads what is there. `Pending` if nothing is, and the task is woken when that changes.
    pub fn poll_read(&self, buffer: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = match self.io.poll_read_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Poll::Pending,
            };
            match self.io.get_ref().read(buffer) {
                Ok(read) => {
                    // Less than asked for: the socket is empty, the next byte wakes us.
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

    /// `Pending` while the socket is full, and the task is woken when that changes. The caller has just met
    /// a full socket and tries again once after `Ready`.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io
            .poll_write_ready(cx)
            .map_ok(|mut ready| ready.clear_ready())
    }

    /// Writes a few bytes of the handshake.
    ///
    /// # Errors
    /// The connection is gone; `WouldBlock` also if it did not take all, which a fresh socket does.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<()> {
        match self.io.get_ref().write(bytes)? {
            written if written == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Tells the client that nothing more will come.
    pub fn finish(&self) {
        // The client may have gone first.
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
