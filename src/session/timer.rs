//! The one timer of a session, armed for the next deadline.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use actix::{ActorContext, ActorFuture, Context};
use tokio::time::Sleep;

use super::state::Session;
use crate::clock;
use crate::protocol::ServerPacket;
use crate::protocol::engine_io::state::CloseReason;

/// How long a transport may take to write what is left of an ended session.
const WIND_UP_TIME: Duration = Duration::from_secs(1);

/// Wakes the session at [`Session::next_deadline`], however often that moves.
pub(super) struct SessionTimer {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
}

impl SessionTimer {
    /// A timer armed for `deadline`.
    pub(super) fn new(deadline: Instant) -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep_until(deadline.into())),
            armed: deadline,
        }
    }
}

impl ActorFuture<Session> for SessionTimer {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        session: &mut Session,
        ctx: &mut Context<Session>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        loop {
            let deadline = session.next_deadline();
            if deadline != self.armed {
                self.armed = deadline;
                self.sleep.as_mut().reset(deadline.into());
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if session.has_ended() {
                // The transport had its time to write what was left.
                ctx.stop();
                return Poll::Ready(());
            }
            session.on_deadline(ctx);
        }
    }
}

impl Session {
    /// When [`Session::on_deadline`] is due, or the actor of an ended session stops.
    pub(super) fn next_deadline(&self) -> Instant {
        match self.ended {
            Some(ended) => ended.fetch_until + WIND_UP_TIME,
            None => {
                let others = [self.progress_due, self.follow_up.due(), self.identity_due()];
                let due = self.connection.poll_timeout();
                others.into_iter().flatten().fold(due, Instant::min)
            }
        }
    }

    fn on_deadline(&mut self, ctx: &mut Context<Self>) {
        if self.progress_due.is_some() {
            self.watch_outbox(ctx);
        }
        // The client's pong may wait behind data that is not read.
        if self.is_behind() || self.worker.shard.directory().congested() {
            self.extend_ping_deadline();
        }
        let now = clock::now();
        if self.follow_up.due().is_some_and(|due| due <= now) {
            return self.close(CloseReason::ConnectTimeout, ctx);
        }
        if self.identity_due().is_some_and(|due| due <= now) {
            self.watch_identities(now, ctx);
            if self.has_ended() {
                return;
            }
        }
        match self.connection.handle_timeout(now) {
            Ok(false) => {}
            Ok(true) => self.send_packet(&ServerPacket::Ping),
            Err(reason) => self.close(reason, ctx),
        }
    }
}
