//! The end of a client that takes too little of what it is sent.
//!
//! Once more waits for it than `socket.outbox_limit`, it must take something every `socket.slow_timeout`. Nothing is
//! done for a message: the lane notes when its client took something, and the session's own timer looks.

use std::time::Instant;

use actix::Context;

use super::Session;
use crate::limits::Limit;
use crate::protocol::engine_io::state::CloseReason;

impl Session {
    /// More waits than the limit: looks whether the client makes progress, and when to look again.
    pub(super) fn watch_outbox(&mut self, ctx: &mut Context<Self>) {
        let lane = self.lane;
        let shard = &self.worker.shard;
        let since = shard.with_lanes(|lanes| lanes.stalled_since(lane));
        let timeout = self.worker.settings.slow_timeout;
        self.progress_due = since.map(|since| since + timeout);
        if self.progress_due.is_some_and(|due| due <= Instant::now()) {
            self.give_up(Limit::Outbox, ctx);
        }
    }

    /// Ends the session of a slow client, because of this limit.
    pub(super) fn give_up(&mut self, limit: Limit, ctx: &mut Context<Self>) {
        if !self.has_ended() {
            self.worker.limits.refused(limit, None);
            self.close(CloseReason::SlowConsumer, ctx);
        }
    }
}
