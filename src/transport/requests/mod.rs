//! A filter between the connection of a client and actix-http, which passes bytes on request by request.
//!
//! It corrects six problems of the dispatcher of actix-http:
//! - `Connection: upgrade` on a request that does not upgrade is ignored. nginx sends it where one location serves both
//!   websockets and polling. The dispatcher would close the connection after the response, so that the next request of
//!   the proxy on it fails.
//! - Nothing is parsed as a request after a request with `Connection: close`.
//! - A malformed chunk gets a 400 response, even while the handler waits for something other than the body.
//! - A pipelined request is passed on once the response before it is written. The dispatcher would buffer responses for as
//!   long as requests arrive, whether or not the client reads them.
//! - A head larger than 32 KiB gets a 431 response.
//! - A TLS connection that ends without `close_notify` ends like a plain one: everything before the end is read.

mod framing;
mod head;

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use framing::Framing;

/// Bytes of one read.
const READ_SIZE: usize = 8 * 1024;
/// Reads before the task yields to other connections of the worker.
const READS_PER_TURN: usize = 16;

const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

const HEAD_TOO_LARGE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// The stream of a client that speaks HTTP/1.
#[derive(Debug)]
pub struct Requests<S> {
    stream: S,
    framing: Framing,
    /// Bytes read but not passed on yet; the first `ready` of them may be.
    buffer: BytesMut,
    ready: usize,
    /// Number of the request whose response was started last.
    responses: u64,
    /// The unwritten part of a response generated here.
    response: &'static [u8],
    /// That response has been chosen.
    rejected: bool,
    /// Whether anything was written since the last request was allowed.
    wrote: bool,
    ended: bool,
}

impl<S> Requests<S> {
    /// The requests on a connection that has carried nothing yet.
    pub fn new(stream: S) -> Self {
        let mut framing = Framing::new();
        framing.allow(1);
        Self {
            stream,
            framing,
            buffer: BytesMut::new(),
            ready: 0,
            responses: 0,
            response: &[],
            rejected: false,
            wrote: false,
            ended: false,
        }
    }

    /// The connection.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The connection, and the bytes read but not passed on.
    pub fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.buffer.freeze())
    }

    /// Allows the next request; returns whether it has arrived already.
    fn allow_next(&mut self) -> bool {
        let held = self.framing.is_held() && !self.buffer.is_empty();
        self.framing.allow(match self.ended {
            // The buffer holds everything that remains.
            true => u64::MAX,
            false => self.framing.heads() + 1,
        });
        if held {
            self.ready = self.framing.advance(&mut self.buffer);
            self.skip_rest();
        }
        held
    }

    /// Nothing after the last request of a connection is kept.
    fn skip_rest(&mut self) {
        if self.framing.is_over() {
            self.buffer.truncate(self.ready);
        }
    }

    /// The response to a stream that no longer carries requests, unless it belongs to one that has a response already.
    fn rejection(&self) -> &'static [u8] {
        if self.framing.is_too_large() {
            HEAD_TOO_LARGE
        } else if self.responses < self.framing.heads() {
            BAD_REQUEST
        } else {
            &[]
        }
    }

    fn pass_on(&mut self, out: &mut ReadBuf<'_>) {
        let length = self.ready.min(out.remaining());
        out.put_slice(&self.buffer[..length]);
        self.buffer.advance(length);
        self.ready -= length;
        if self.buffer.is_empty() {
            // An idle connection holds no buffer.
            self.buffer = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + Unpin> Requests<S> {
    /// Reads once, directly into `out`; bytes that may not be passed on yet go to the buffer, which is empty.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = out.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, out));
        self.ended = is_end(read, out.filled().len() == start)?;
        let bytes = &mut out.filled_mut()[start..];
        let taken = self.framing.advance(bytes);
        if !self.framing.is_over() {
            self.buffer.extend_from_slice(&bytes[taken..]);
        }
        out.set_filled(start + taken);
        Poll::Ready(Ok(()))
    }

    /// Reads once, appending to the buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let start = self.buffer.len();
        self.buffer.reserve(READ_SIZE);
        let read = ready!(pin!(self.stream.read_buf(&mut self.buffer)).poll(cx));
        self.ended = is_end(read.map(drop), self.buffer.len() == start)?;
        self.ready = self.framing.advance(&mut self.buffer);
        self.skip_rest();
        if self.ended {
            self.allow_next();
        }
        Poll::Ready(Ok(()))
    }
}

/// Whether a read reached the end of the stream.
fn is_end(read: io::Result<()>, nothing: bool) -> io::Result<bool> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
        read => read.map(|()| nothing),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Requests<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = out.filled().len();
        for _ in 0..READS_PER_TURN {
            if this.ready > 0 {
                this.pass_on(out);
            } else if this.ended || this.framing.is_broken() {
                // Appears to actix-http as the end; `poll_shutdown` writes the response.
                return Poll::Ready(Ok(()));
            } else if this.buffer.is_empty() {
                ready!(this.poll_through(cx, out))?;
            } else if this.framing.is_held() && this.buffer.len() >= READ_SIZE {
                // Woken once the response before is written.
                return Poll::Pending;
            } else {
                // Also while the next request waits, to detect that the client has closed.
                ready!(this.poll_fill(cx))?;
            }
            if out.filled().len() > start {
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Requests<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.responses = self.framing.heads();
        self.wrote = true;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if std::mem::take(&mut self.wrote) && self.allow_next() {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.framing.is_broken() && !std::mem::replace(&mut this.rejected, true) {
            this.response = this.rejection();
        }
        while !this.response.is_empty() {
            let stream = Pin::new(&mut this.stream);
            match ready!(stream.poll_write(cx, this.response))? {
                0 => break,
                written => this.response = &this.response[written..],
            }
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// What may be read now; `None` if nothing may.
    fn read(requests: &mut Requests<tokio::io::DuplexStream>) -> Option<String> {
        let mut bytes = [0; 4096];
        let length = requests.read(&mut bytes).now_or_never()?.unwrap();
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    #[tokio::test]
    async fn a_pipelined_request_is_read_once_the_response_before_is_written() {
        let (mut client, server) = duplex(1000);
        let mut requests = Requests::new(server);
        client.write_all(GET.repeat(3).as_bytes()).await.unwrap();
        assert_eq!(read(&mut requests).as_deref(), Some(GET));
        assert_eq!(read(&mut requests), None);
        requests.flush().await.unwrap();
        assert_eq!(read(&mut requests), None, "no response yet");
        requests.write_all(&[b'x'; 1000]).await.unwrap();
        assert!(requests.write(b"x").now_or_never().is_none(), "not taken");
        assert_eq!(read(&mut requests), None);
        client.read_exact(&mut [0; 1000]).await.unwrap();
        requests.write_all(b"x").await.unwrap();
        requests.flush().await.unwrap();
        assert_eq!(read(&mut requests).as_deref(), Some(GET));
        assert_eq!(read(&mut requests), None);
        // The last bytes of a client that has closed.
        drop(client);
        assert_eq!(read(&mut requests).as_deref(), Some(GET));
        assert_eq!(read(&mut requests).as_deref(), Some(""));
    }
}
