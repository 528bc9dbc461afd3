//! A TCP connection that fails once one of its [`Deadlines`] has passed.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use actix_rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::deadlines::Deadlines;

/// A connection below TLS, so that progress is measured by the bytes that the peer sent and accepted.
pub struct TimedStream {
    stream: TcpStream,
    deadlines: Rc<Deadlines>,
    /// Fires at the deadline, or before a deadline that was moved later.
    timer: Option<Pin<Box<Sleep>>>,
}

impl TimedStream {
    /// A connection with these deadlines, which are not shared with another one.
    pub fn new(stream: TcpStream, deadlines: Rc<Deadlines>) -> Self {
        Self {
            stream,
            deadlines,
            timer: None,
        }
    }

    /// The deadlines of the connection.
    pub fn deadlines(&self) -> &Rc<Deadlines> {
        &self.deadlines
    }

    /// The raw connection, which no longer carries HTTP.
    pub fn into_inner(self) -> TcpStream {
        self.deadlines.end();
        self.stream
    }

    /// Fails if a deadline has passed; otherwise the task is woken at the next one.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while let Some(deadline) = self.deadlines.next() {
            if deadline <= Instant::now() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            // Deadlines usually move later: a timer that fires too early costs less than a reset on every move.
            if timer.deadline() > deadline.into() || timer.is_elapsed() {
                timer.as_mut().reset(deadline.into());
            }
            if timer.as_mut().poll(cx).is_pending() {
                break;
            }
        }
        Ok(())
    }

    fn note_write(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.deadlines.note_written();
        } else {
            self.deadlines.note_write_blocked();
            self.check(cx)?;
        }
        written
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Pending => {
                this.check(cx)?;
                Poll::Pending
            }
            ready => {
                if buffer.filled().len() > before {
                    this.deadlines.note_read();
                }
                ready
            }
        }
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_write(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note_write(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// actix-http calls this at the end of each turn, so the timer for the next deadline is set here.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        this.check(cx)?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
