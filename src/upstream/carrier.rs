//! Carries an upstream connection: has it connected, reads, writes, watches the time, and tells the listener.
//!
//! One task an upstream connection, on the thread of its owner. Between two turns it holds no buffer but what waits to be written.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use log::debug;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::connect::connect;
use super::tally::Place;
use super::{Ending, Listener, Request, Shared, State, UpstreamEvent};
use crate::metrics::labels::{UpstreamEventKind, UpstreamRefusal};
use crate::model::fitness::is_deeper;
use crate::protocol::client::{End, Heard};

/// Bytes read at once; one buffer per worker thread.
const READ_BUFFER: usize = 64 * 1024;
/// Reads before other tasks of the worker get their turn.
const READS_PER_TURN: usize = 4;
/// How long a goodbye may take to be written.
const GOODBYE_TIME: Duration = Duration::from_secs(1);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into_boxed_slice());
}

/// The whole life of an upstream connection.
pub(super) async fn run(
    shared: Rc<Shared>,
    request: Request,
    listener: Rc<dyn Listener>,
    place: Place,
) {
    let ending = match connect(&shared).await {
        Err(ending) => ending,
        Ok((dialed, pick)) => {
            let metrics = shared.pool.metrics();
            metrics.upstream_connections.add(1);
            metrics.upstream_connections_opened_total.increment();
            let mut carrier = Carrier::new(Rc::clone(&shared), request, dialed.stream);
            let mut first = Some(dialed.first);
            let ending = poll_fn(|cx| carrier.turn(first.take(), &*listener, cx)).await;
            if let Ending::Lost { reason, .. } = &ending {
                pick.lost(reason, Instant::now());
            }
            shared.pool.metrics().upstream_connections.add(-1);
            ending
        }
    };
    let refused = match &ending {
        Ending::Refused { .. } => Some(UpstreamRefusal::Upstream),
        Ending::Unavailable(_) => Some(UpstreamRefusal::Unavailable),
        _ => None,
    };
    if let Some(refused) = refused {
        shared
            .pool
            .metrics()
            .upstream_connections_refused_total
            .of(refused)
            .increment();
    }
    debug!(ending:?; "upstream ended");
    drop(place);
    shared.state.borrow_mut().end();
    listener.on_events(vec![UpstreamEvent::Ended(ending)]);
}

/// The greeting was said.
struct Greeting {
    /// Of its answer.
    id: u64,
    /// The upstream's socket id.
    sid: Box<str>,
    /// Until then it must be answered: some servers answer nothing when a handler fails.
    until: Instant,
}

struct Carrier {
    shared: Rc<Shared>,
    request: Request,
    stream: TcpStream,
    writing: Vec<u8>,
    written: usize,
    timer: Pin<Box<Sleep>>,
    /// Until its answer comes.
    greeting: Option<Greeting>,
    next_heartbeat: Option<Instant>,
    /// The owner is applying back-pressure.
    held_up: bool,
    /// The goodbye is said; why, and until when it may take to be written.
    leaving: Option<(Ending, Instant)>,
}

impl Carrier {
    fn new(shared: Rc<Shared>, request: Request, stream: TcpStream) -> Self {
        Self {
            shared,
            request,
            stream,
            writing: Vec::new(),
            written: 0,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            greeting: None,
            next_heartbeat: None,
            held_up: false,
            leaving: None,
        }
    }

    fn turn(
        &mut self,
        first: Option<Vec<u8>>,
        listener: &dyn Listener,
        cx: &mut Context<'_>,
    ) -> Poll<Ending> {
        self.shared.state.borrow_mut().carrier = Some(cx.waker().clone());
        let mut news = Vec::new();
        let read = match first {
            Some(mut bytes) => self.take(&mut bytes, &mut news),
            None => Ok(()),
        };
        let outcome = read
            .and_then(|()| match self.is_held_up(listener, cx) {
                true => Ok(()),
                false => self.read(&mut news, cx),
            })
            .and_then(|()| self.watch_time(cx));
        if !news.is_empty() {
            listener.on_events(news);
        }
        if let Err(ending) = outcome {
            return Poll::Ready(ending);
        }
        self.leave_if_asked();
        match self.write(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(self.lost(error.to_string())),
            Poll::Pending => return self.arm(cx),
        }
        match self.leaving.take() {
            Some((ending, _)) => Poll::Ready(ending),
            None => self.arm(cx),
        }
    }

    /// Whether the owner applies back-pressure. Pings of the upstream are not read either then, so its silence does not
    /// count.
    fn is_held_up(&mut self, listener: &dyn Listener, cx: &mut Context<'_>) -> bool {
        let before = self.held_up;
        self.held_up = listener.poll_capacity(cx).is_pending();
        if before || self.held_up {
            self.shared
                .state
                .borrow_mut()
                .client
                .extend_ping_deadline(Instant::now());
        }
        self.held_up
    }

    fn read(&mut self, news: &mut Vec<UpstreamEvent>, cx: &mut Context<'_>) -> Result<(), Ending> {
        for _ in 0..READS_PER_TURN {
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
                match read {
                    Poll::Pending => None,
                    Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                        Some(Err(self.lost("transport close".to_owned())))
                    }
                    Poll::Ready(Ok(())) => Some(self.take(buffer.filled_mut(), news)),
                    Poll::Ready(Err(error)) => Some(Err(self.lost(error.to_string()))),
                }
            });
            match read {
                None => return Ok(()),
                Some(outcome) => outcome?,
            }
            if news.iter().map(UpstreamEvent::size).sum::<usize>() >= READ_BUFFER {
                // The owner may apply back-pressure after this much.
                break;
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Takes bytes of the upstream.
    fn take(&mut self, bytes: &mut [u8], news: &mut Vec<UpstreamEvent>) -> Result<(), Ending> {
        let mut heard = Vec::new();
        let now = Instant::now();
        let shared = Rc::clone(&self.shared);
        let mut state = shared.state.borrow_mut();
        let outcome = state
            .client
            .receive(bytes, now, &mut |said| heard.push(said));
        for said in heard {
            self.sort(said, &mut state, now, news);
        }
        drop(state);
        outcome.map_err(|end| self.ending(end))
    }

    /// What of it is news for the owner.
    fn sort(
        &mut self,
        said: Heard,
        state: &mut State,
        now: Instant,
        news: &mut Vec<UpstreamEvent>,
    ) {
        match said {
            Heard::Joined { sid } => {
                self.next_heartbeat = self
                    .request
                    .heartbeat
                    .as_ref()
                    .map(|(interval, _)| now + *interval);
                match &self.request.greeting {
                    Some(greeting) => {
                        self.greeting = Some(Greeting {
                            id: state.client.greet(greeting),
                            sid,
                            until: now + self.shared.pool.settings().connect_timeout,
                        });
                    }
                    None => {
                        state.client.release();
                        news.push(UpstreamEvent::Joined { sid });
                    }
                }
            }
            Heard::Acked { id, payload } => {
                if let Some(greeting) = self.greeting.take_if(|greeting| greeting.id == id) {
                    state.client.release();
                    news.push(UpstreamEvent::Joined { sid: greeting.sid });
                    return;
                }
                let position = state.awaited.iter().position(|(awaited, _)| *awaited == id);
                let Some((_, ack)) = position.and_then(|at| state.awaited.remove(at)) else {
                    return;
                };
                state.last_used = now;
                let pool = &self.shared.pool;
                match payload.check_answer(pool.settings().max_depth) {
                    Ok(()) => news.push(UpstreamEvent::Acked { ack, payload }),
                    Err(unfit) => pool.refuse(&unfit),
                }
            }
            Heard::Event { payload, ack } => {
                let pool = &self.shared.pool;
                if !pool.lets_through(&payload) {
                    pool.count(UpstreamEventKind::Filtered);
                    return;
                }
                if let Err(unfit) = payload.check_event(pool.settings().max_depth) {
                    pool.refuse(&unfit);
                    return;
                }
                pool.count(UpstreamEventKind::Received);
                state.last_used = now;
                let question = ack.map(|id| self.shared.ask(state, id));
                news.push(UpstreamEvent::Event { payload, question });
            }
        }
    }

    fn ending(&self, end: End) -> Ending {
        match end {
            End::Refused { message, data } => {
                let max_depth = self.shared.pool.settings().max_depth;
                let data = data.filter(|data| !is_deeper(data, max_depth));
                Ending::Refused { message, data }
            }
            End::Disconnected => Ending::Disconnected,
            End::ConnectTimeout => Ending::Unavailable(end.to_string()),
            End::Closed(_) | End::Silent | End::Protocol(_) => self.lost(end.to_string()),
        }
    }

    fn lost(&self, reason: String) -> Ending {
        if let Some((ending, _)) = &self.leaving {
            return ending.clone();
        }
        let state = self.shared.state.borrow();
        let quiet = state.is_quiet();
        Ending::Lost { reason, quiet }
    }

    fn watch_time(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        let now = Instant::now();
        // Wakes the task when it fires; what is due is looked up below in any case.
        let _ = self.timer.as_mut().poll(cx);
        if let Some((ending, until)) = &self.leaving {
            return if now >= *until {
                Err(ending.clone())
            } else {
                Ok(())
            };
        }
        let shared = Rc::clone(&self.shared);
        let mut state = shared.state.borrow_mut();
        let overdue = state.client.handle_timeout(now);
        if let Err(end) = overdue {
            drop(state);
            return Err(self.ending(end));
        }
        if self
            .greeting
            .as_ref()
            .is_some_and(|greeting| greeting.until <= now)
        {
            return Err(Ending::Unavailable(
                "it does not answer the greeting".to_owned(),
            ));
        }
        if let (Some(due), Some((interval, payload))) =
            (&mut self.next_heartbeat, &self.request.heartbeat)
            && *due <= now
        {
            state.client.emit(payload, false);
            *due = now + *interval;
        }
        let idle = self.idle_at(&state).is_some_and(|at| at <= now);
        if idle {
            state.closing = Some(true);
            state.client.say_goodbye(true);
            self.leaving = Some((Ending::Idle, now + GOODBYE_TIME));
        }
        Ok(())
    }

    /// When the upstream connection has been idle for long enough; `None` while answers are owed, or if it never is.
    fn idle_at(&self, state: &State) -> Option<Instant> {
        let idle = self.request.idle?;
        let owed = self.held_up || !state.awaited.is_empty() || !state.asked.is_empty();
        (!owed && state.client.is_joined()).then(|| state.last_used + idle)
    }

    fn leave_if_asked(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        let mut state = self.shared.state.borrow_mut();
        if let Some(namespace) = state.closes() {
            state.client.say_goodbye(namespace);
            self.leaving = Some((Ending::Closed, Instant::now() + GOODBYE_TIME));
        }
    }

    /// Writes what there is; ready when nothing is left.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            if self.written == self.writing.len() {
                let mut state = self.shared.state.borrow_mut();
                self.writing = state.client.take_outgoing();
                self.written = 0;
                state.writing = self.writing.len();
                if state.queued() <= self.shared.queue_limit {
                    state.wake_waiting();
                }
                if self.writing.is_empty() {
                    break;
                }
            }
            let rest = &self.writing[self.written..];
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(n)) => self.written += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let left = self.writing.len() - self.written;
                    self.shared.state.borrow_mut().writing = left;
                    return Poll::Pending;
                }
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Sets the timer to what is due next.
    fn arm(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let next = {
            let state = self.shared.state.borrow();
            let next = match &self.leaving {
                Some((_, until)) => *until,
                None => state.client.poll_timeout(),
            };
            let greeted = self.greeting.as_ref().map(|greeting| greeting.until);
            let due = [self.next_heartbeat, self.idle_at(&state), greeted];
            due.into_iter().flatten().fold(next, Instant::min)
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
