//! The task of an upstream connection: it connects, reads, writes, keeps the timers and notifies the listener.
//!
//! One task per connection, on the thread of its owner. Between two turns it holds no buffer except unwritten bytes.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use log::debug;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::connect::connect;
use super::events::{Ending, UpstreamEvent, UpstreamListener};
use super::limits::Permit;
use super::options::ConnectionOptions;
use super::receive::{ServerEvents, ending};
use super::state::{Shared, State};
use crate::clock::now;
use crate::metrics::labels::UpstreamRejection;

/// Size in bytes of the read buffer, one per worker thread.
const READ_BUFFER: usize = 64 * 1024;
/// Reads of one turn, after which other tasks of the worker run.
const READS_PER_TURN: usize = 4;
/// Time in which the close is written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into_boxed_slice());
}

/// Runs an upstream connection from the attempt to connect to its end.
pub(super) async fn run(
    shared: Rc<Shared>,
    options: ConnectionOptions,
    listener: Rc<dyn UpstreamListener>,
    permit: Permit,
) {
    let pool = &shared.pool;
    let ending = match connect(&shared).await {
        Err(ending) => ending,
        Ok((dialed, assignment)) => {
            let metrics = pool.metrics();
            metrics.upstream_connections.add(1);
            metrics.upstream_connections_opened_total.increment();
            let mut driver = Driver::new(Rc::clone(&shared), options, dialed.stream);
            let mut first = Some(dialed.first);
            let ending = poll_fn(|cx| driver.poll_turn(first.take(), &*listener, cx)).await;
            if let Ending::Lost { reason, .. } = &ending {
                assignment.lose(reason, now());
            }
            metrics.upstream_connections.add(-1);
            ending
        }
    };
    match &ending {
        Ending::Rejected { .. } => pool.count_rejection(UpstreamRejection::Upstream),
        Ending::Unavailable(_) => pool.count_rejection(UpstreamRejection::Unavailable),
        _ => {}
    }
    debug!(ending:?; "upstream connection ended");
    drop(permit);
    shared.state.borrow_mut().end();
    listener.on_events(vec![UpstreamEvent::Ended(ending)]);
}

/// A connection that is being closed.
struct Closing {
    ending: Ending,
    deadline: Instant,
}

struct Driver {
    shared: Rc<Shared>,
    options: ConnectionOptions,
    stream: TcpStream,
    receiver: ServerEvents,
    writing: Vec<u8>,
    written: usize,
    timer: Pin<Box<Sleep>>,
    next_heartbeat: Option<Instant>,
    /// The listener applies back-pressure.
    is_paused: bool,
    closing: Option<Closing>,
}

impl Driver {
    fn new(shared: Rc<Shared>, options: ConnectionOptions, stream: TcpStream) -> Self {
        Self {
            shared,
            receiver: ServerEvents::new(options.first_event.clone()),
            options,
            stream,
            writing: Vec::new(),
            written: 0,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            next_heartbeat: None,
            is_paused: false,
            closing: None,
        }
    }

    fn poll_turn(
        &mut self,
        first: Option<Vec<u8>>,
        listener: &dyn UpstreamListener,
        cx: &mut Context<'_>,
    ) -> Poll<Ending> {
        self.shared.state.borrow_mut().set_task(cx.waker());
        let mut events = Vec::new();
        let received = match first {
            Some(mut bytes) => self.receive(&mut bytes, &mut events),
            None => Ok(()),
        };
        let result = received
            .and_then(|()| match self.update_paused(listener, cx) {
                true => Ok(()),
                false => self.read(&mut events, cx),
            })
            .and_then(|()| self.check_deadlines(cx));
        if !events.is_empty() {
            listener.on_events(events);
        }
        if let Err(ending) = result {
            return Poll::Ready(ending);
        }
        self.close_if_requested();
        match self.write(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(self.lost(error.to_string())),
            Poll::Pending => return self.set_timer(cx),
        }
        match self.closing.take() {
            Some(closing) => Poll::Ready(closing.ending),
            None => self.set_timer(cx),
        }
    }

    /// Whether the listener applies back-pressure. Pings of the upstream are not read meanwhile, so its ping deadline
    /// is extended.
    fn update_paused(&mut self, listener: &dyn UpstreamListener, cx: &mut Context<'_>) -> bool {
        let was_paused = self.is_paused;
        self.is_paused = listener.poll_capacity(cx).is_pending();
        if was_paused || self.is_paused {
            let mut state = self.shared.state.borrow_mut();
            state.client.extend_ping_deadline(now());
        }
        self.is_paused
    }

    fn read(
        &mut self,
        events: &mut Vec<UpstreamEvent>,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        for _ in 0..READS_PER_TURN {
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
                match read {
                    Poll::Pending => None,
                    Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                        Some(Err(self.lost("transport close".to_owned())))
                    }
                    Poll::Ready(Ok(())) => Some(self.receive(buffer.filled_mut(), events)),
                    Poll::Ready(Err(error)) => Some(Err(self.lost(error.to_string()))),
                }
            });
            match read {
                None => return Ok(()),
                Some(result) => result?,
            }
            if events.iter().map(UpstreamEvent::size).sum::<usize>() >= READ_BUFFER {
                // Gives the listener a chance to apply back-pressure.
                break;
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn receive(&mut self, bytes: &mut [u8], events: &mut Vec<UpstreamEvent>) -> Result<(), Ending> {
        let now = now();
        let result = self.receiver.receive(&self.shared, bytes, now, events);
        if self.next_heartbeat.is_none() && self.receiver.is_connected() {
            let heartbeat = self.options.heartbeat.as_ref();
            self.next_heartbeat = heartbeat.map(|(interval, _)| now + *interval);
        }
        result.map_err(|end| ending(&self.shared, end, |reason| self.lost(reason)))
    }

    /// The ending of a connection that was lost; one that is being closed ends as such.
    fn lost(&self, reason: String) -> Ending {
        if let Some(closing) = &self.closing {
            return closing.ending.clone();
        }
        let was_quiet = self.shared.state.borrow().is_quiet();
        Ending::Lost { reason, was_quiet }
    }

    fn check_deadlines(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        let now = now();
        // Registers the waker; what is due is determined below.
        let _ = self.timer.as_mut().poll(cx);
        if let Some(closing) = &self.closing {
            return if now >= closing.deadline {
                Err(closing.ending.clone())
            } else {
                Ok(())
            };
        }
        let shared = Rc::clone(&self.shared);
        let mut state = shared.state.borrow_mut();
        if let Err(end) = state.client.handle_timeout(now) {
            drop(state);
            return Err(ending(&shared, end, |reason| self.lost(reason)));
        }
        self.receiver.check_deadline(now)?;
        if let (Some(due), Some((interval, payload))) =
            (&mut self.next_heartbeat, &self.options.heartbeat)
            && *due <= now
        {
            state.client.emit(payload, false);
            *due = now + *interval;
        }
        if self.idle_deadline(&state).is_some_and(|at| at <= now) {
            state.close_requested = Some(true);
            self.close(&mut state, true, Ending::IdleTimeout);
        }
        Ok(())
    }

    /// When the connection closes because it is idle; `None` while it is in use, or if it never does.
    fn idle_deadline(&self, state: &State) -> Option<Instant> {
        let timeout = self.options.idle_timeout?;
        let is_idle = !self.is_paused && state.has_no_acks() && state.client.is_connected();
        is_idle.then(|| state.last_used + timeout)
    }

    fn close_if_requested(&mut self) {
        let shared = Rc::clone(&self.shared);
        let mut state = shared.state.borrow_mut();
        if self.closing.is_none()
            && let Some(leave_namespace) = state.close_now()
        {
            self.close(&mut state, leave_namespace, Ending::Closed);
        }
    }

    fn close(&mut self, state: &mut State, leave_namespace: bool, ending: Ending) {
        state.client.close(leave_namespace);
        self.closing = Some(Closing {
            ending,
            deadline: now() + CLOSE_TIMEOUT,
        });
    }

    /// Writes what is queued; ready when nothing is left.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.written == self.writing.len() {
                let mut state = self.shared.state.borrow_mut();
                self.writing = state.client.take_outgoing();
                self.written = 0;
                state.unwritten = self.writing.len();
                self.shared.wake_if_writable(&mut state);
                if self.writing.is_empty() {
                    break;
                }
            }
            let rest = &self.writing[self.written..];
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(n)) => self.written += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let rest = self.writing.len() - self.written;
                    self.shared.state.borrow_mut().unwritten = rest;
                    return Poll::Pending;
                }
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Sets the timer to the earliest deadline.
    fn set_timer(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let next = {
            let state = self.shared.state.borrow();
            let next = match &self.closing {
                Some(closing) => closing.deadline,
                None => state.client.poll_timeout(),
            };
            let deadlines = [
                self.next_heartbeat,
                self.idle_deadline(&state),
                self.receiver.deadline(),
            ];
            deadlines.into_iter().flatten().fold(next, Instant::min)
        };
        if self.timer.deadline() != next.into() {
            self.timer.as_mut().reset(next.into());
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
