//! Receives the events of the link, no faster than the shards can apply them.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::{ActorFuture, AsyncContext, Context};

use super::node::Bridge;
use crate::bus::link::LinkEvents;

/// Events handled before other tasks of the thread get their turn.
const EVENTS_PER_TURN: usize = 256;
/// Pause between two attempts to take events while the shards are congested.
const CONGESTION_PAUSE: Duration = Duration::from_millis(5);

impl Bridge {
    /// Begins to receive events.
    pub(super) fn start_events(&mut self, ctx: &mut Context<Self>) {
        if let Some(events) = self.events.take() {
            ctx.spawn(EventLoop { events });
        }
    }
}

/// Receives events from the link.
struct EventLoop {
    events: LinkEvents,
}

impl ActorFuture<Bridge> for EventLoop {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        bridge: &mut Bridge,
        ctx: &mut Context<Bridge>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let outcome = self.take_events(bridge, ctx, cx);
        bridge.receiver.send_dispatches();
        outcome
    }
}

impl EventLoop {
    fn take_events(
        &mut self,
        bridge: &mut Bridge,
        ctx: &mut Context<Bridge>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        for _ in 0..EVENTS_PER_TURN {
            if bridge.directory.congested() {
                let waker = cx.waker().clone();
                actix_rt::spawn(async move {
                    tokio::time::sleep(CONGESTION_PAUSE).await;
                    waker.wake();
                });
                return Poll::Pending;
            }
            match futures_util::Stream::poll_next(Pin::new(&mut self.events), cx) {
                Poll::Ready(Some(event)) => bridge.on_event(event, ctx),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
