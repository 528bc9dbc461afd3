//! A websocket of a session of this worker: decodes frames for the session and writes its lane.
//!
//! It is a future of the session's actor, so a websocket session is one task. It is polled whether or not the client
//! reads: the session's timer fires in any case.

use std::cell::RefCell;
use std::mem;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Instant;

use actix::{ActorContext, ActorFuture, Context};
use bytes::Bytes;
use tokio::time::Sleep;

use super::frames::{Done, carry, close_for, close_packet, probe};
use super::socket::ClientSocket;
use crate::limits::Limit;
use crate::outbox::{Packet, Sink};
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::websocket::{DecodeFailure, FrameDecoder, FrameError, InflateBudget};
use crate::session::Session;

/// Maximum number of bytes read at once; one buffer per worker thread.
const READ_BUFFER: usize = 64 * 1024;
/// Number of reads before the task yields to other sessions of the worker.
const READS_PER_TURN: usize = 8;
/// Number of decompressed bytes after which the task yields, too.
const INFLATED_PER_TURN: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into_boxed_slice());
}

/// The role of the websocket in its session.
enum Role {
    /// It may take over a polling session, until the timer fires (docs/protocol.md#16-upgrade).
    Probe(Pin<Box<Sleep>>),
    /// It carries the session.
    Carrier,
}

/// A websocket whose opening handshake is complete.
pub struct Websocket {
    socket: Rc<ClientSocket>,
    decoder: FrameDecoder,
    role: Role,
    /// Bytes that are decoded before more is read: those that followed the handshake, or were left by the last turn.
    unread: Vec<u8>,
    finished: bool,
    /// Nothing is read because the session is behind.
    paused: bool,
}

impl Websocket {
    /// A websocket that carries the session from its start: writes the session's lane.
    pub fn carrier(socket: Rc<ClientSocket>, first: Bytes, decoder: FrameDecoder) -> Self {
        Self::new(socket, first, decoder, Role::Carrier)
    }

    /// A websocket that may take over a polling session before `deadline`.
    pub fn probe(
        socket: Rc<ClientSocket>,
        first: Bytes,
        decoder: FrameDecoder,
        deadline: Instant,
    ) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(deadline.into()));
        Self::new(socket, first, decoder, Role::Probe(timer))
    }

    fn new(socket: Rc<ClientSocket>, first: Bytes, decoder: FrameDecoder, role: Role) -> Self {
        Self {
            socket,
            decoder,
            role,
            unread: first.into(),
            finished: false,
            paused: false,
        }
    }

    /// Lets the session's lane write this socket.
    pub fn attach(&self, session: &Session) {
        let sink = Rc::clone(&self.socket) as Rc<dyn Sink>;
        session
            .worker()
            .shard
            .with_lanes(|lanes| lanes.attach(session.lane(), sink));
    }

    fn read(
        &mut self,
        session: &mut Session,
        ctx: &mut Context<Session>,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), Done> {
        let mut budget = InflateBudget::new(INFLATED_PER_TURN);
        for _ in 0..READS_PER_TURN {
            if self.must_wait(session, cx) {
                return Ok(());
            }
            match self.read_once(&mut budget, session, ctx, cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(outcome) => outcome?,
            }
            if budget.is_exhausted() {
                break;
            }
        }
        // Woken after the next poll for I/O. The worker runs tasks that wake themselves up to 61 times before it.
        let _ = pin!(tokio::task::yield_now()).poll(cx);
        Ok(())
    }

    fn read_once(
        &mut self,
        budget: &mut InflateBudget,
        session: &mut Session,
        ctx: &mut Context<Session>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Result<(), Done>> {
        if !self.unread.is_empty() {
            let mut unread = mem::take(&mut self.unread);
            return Poll::Ready(self.decode(&mut unread, budget, session, ctx));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let outcome = match ready!(self.socket.poll_read(scratch, cx)) {
                Ok(n @ 1..) => self.decode(&mut scratch[..n], budget, session, ctx),
                Ok(0) => self.lost(session, CloseReason::TransportClose, ctx),
                Err(_) => self.lost(session, CloseReason::TransportError, ctx),
            };
            Poll::Ready(outcome)
        })
    }

    /// Whether nothing more is read for now, because the session is behind or the node is congested.
    fn must_wait(&mut self, session: &mut Session, cx: &mut TaskContext<'_>) -> bool {
        if session.has_ended() {
            return false;
        }
        let wait = session.is_behind() || session.node_is_congested(cx);
        if self.paused && !wait {
            session.extend_ping_deadline();
        }
        self.paused = wait;
        wait
    }

    fn decode(
        &mut self,
        bytes: &mut [u8],
        budget: &mut InflateBudget,
        session: &mut Session,
        ctx: &mut Context<Session>,
    ) -> Result<(), Done> {
        let now = crate::clock::now();
        let Self {
            decoder,
            role,
            socket,
            ..
        } = self;
        let probed = matches!(role, Role::Probe(_));
        let compression = decoder.compression();
        let before = budget.excess();
        let outcome = decoder.decode_within(budget, bytes, &mut |frame| match role {
            Role::Carrier => carry(frame, session, now, ctx),
            Role::Probe(_) => {
                if probe(&frame, session, socket, compression)? {
                    *role = Role::Carrier;
                }
                Ok(())
            }
        });
        let carries = matches!(self.role, Role::Carrier);
        if probed && carries {
            self.attach(session);
        }
        let excess = budget.excess() - before;
        if excess > 0 && !session.has_ended() {
            session.charge_inflation(excess, ctx);
        }
        match outcome {
            Ok(used) => {
                self.unread.extend_from_slice(&bytes[used..]);
                Ok(())
            }
            Err(failure) if !carries => Err(self.reject_probe(failure, session)),
            // The session has ended; its last packets are written.
            Err(DecodeFailure::Stopped(Done)) => Ok(()),
            Err(DecodeFailure::Frame(error)) => {
                close_for(error, session, ctx);
                Ok(())
            }
        }
    }

    /// The connection is lost.
    fn lost(
        &mut self,
        session: &mut Session,
        reason: CloseReason,
        ctx: &mut Context<Session>,
    ) -> Result<(), Done> {
        if matches!(self.role, Role::Probe(_)) {
            session.upgrade_failed();
            return Err(Done);
        }
        session.close(reason, ctx);
        ctx.stop();
        Err(Done)
    }

    /// The client violated the framing or the probe.
    fn reject_probe(&self, failure: DecodeFailure<Done>, session: &mut Session) -> Done {
        let DecodeFailure::Frame(error) = failure else {
            return self.fail_probe(session, &Packet::close(None, ""));
        };
        if let FrameError::TooLarge { .. } = error {
            session.worker().limit_reached(session.id(), Limit::Payload);
        }
        self.fail_probe(session, &close_packet(error))
    }

    fn fail_probe(&self, session: &mut Session, close: &Packet) -> Done {
        session.upgrade_failed();
        let _ = self.socket.write_now(close.wire());
        self.socket.finish();
        Done
    }

    fn check_probe(&mut self, session: &mut Session, cx: &mut TaskContext<'_>) -> Result<(), Done> {
        let Role::Probe(timer) = &mut self.role else {
            return Ok(());
        };
        if session.has_ended() || timer.as_mut().poll(cx).is_ready() {
            return Err(self.fail_probe(session, &Packet::close(None, "")));
        }
        Ok(())
    }

    /// Writes packets that the lane could not write directly.
    fn write(
        &mut self,
        session: &Session,
        ctx: &mut Context<Session>,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), Done> {
        let (shard, lane) = (&session.worker().shard, session.lane());
        shard.with_lanes(|lanes| lanes.set_waker(lane, cx.waker()));
        loop {
            match shard.with_lanes(|lanes| lanes.write_queue(lane)) {
                Ok(true) => match self.socket.poll_flush(cx) {
                    Poll::Pending | Poll::Ready(Ok(())) => return Ok(()),
                    Poll::Ready(Err(_)) => break,
                },
                Ok(false) => match self.socket.poll_writable(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => break,
                },
                Err(_) => break,
            }
        }
        ctx.stop();
        Err(Done)
    }

    /// After the end of the session: once everything is written, waits for the client to close, since unread bytes of the
    /// client would make the kernel discard the close frame.
    fn finish(&mut self, session: &Session, ctx: &mut Context<Session>) -> Result<(), Done> {
        if session.end_reason() == Some(CloseReason::SlowConsumer) {
            ctx.stop();
            return Err(Done);
        }
        let waiting = session
            .worker()
            .shard
            .with_lanes(|lanes| lanes.queued_bytes(session.lane()));
        if waiting == 0 && !self.finished {
            self.finished = true;
            self.socket.finish();
        }
        Ok(())
    }

    fn turn(
        &mut self,
        session: &mut Session,
        ctx: &mut Context<Session>,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), Done> {
        self.check_probe(session, cx)?;
        self.read(session, ctx, cx)?;
        if matches!(self.role, Role::Probe(_)) {
            return Ok(());
        }
        self.write(session, ctx, cx)?;
        if session.has_ended() {
            self.finish(session, ctx)?;
        }
        Ok(())
    }
}

impl ActorFuture<Session> for Websocket {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        session: &mut Session,
        ctx: &mut Context<Session>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        match self.turn(session, ctx, cx) {
            Ok(()) => Poll::Pending,
            Err(Done) => Poll::Ready(()),
        }
    }
}
