//! The one timer of a session, set to whatever its protocol waits for next.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use actix::{ActorContext, ActorFuture, Context};
use tokio::time::Sleep;

use super::Session;

/// Wakes the session at [`Session::next_deadline`], however often that moves.
pub(super) struct Clock {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
}

impl Clock {
    /// A clock armed for `deadline`.
    pub(super) fn new(deadline: Instant) -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep_until(deadline.into())),
            armed: deadline,
        }
    }
}

impl ActorFuture<Session> for Clock {
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
                // Its transport had its time to write what was left.
                ctx.stop();
                return Poll::Ready(());
            }
            session.on_deadline(ctx);
        }
    }
}
