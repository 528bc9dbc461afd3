//! Ends the sessions of slow clients.
//!
//! Once its queue exceeds `socket.outbox_limit`, a client must make progress every `socket.slow_timeout`. This costs
//! nothing per message: the lane notes progress, and the timer of the session checks it.

use actix::Context;

use super::state::Session;
use crate::clock;
use crate::limits::Limit;
use crate::protocol::engine_io::state::CloseReason;

impl Session {
    /// Checks whether a client above the limit makes progress, and sets the time of the next check.
    pub(super) fn watch_outbox(&mut self, ctx: &mut Context<Self>) {
        let lane = self.lane;
        let shard = &self.worker.shard;
        let since = shard.with_lanes(|lanes| lanes.stalled_since(lane));
        let timeout = self.worker.settings.slow_timeout;
        self.progress_due = since.map(|since| since + timeout);
        if self.progress_due.is_some_and(|due| due <= clock::now()) {
            self.end_slow_client(Limit::Outbox, ctx);
        }
    }

    /// Ends the session of a slow client that reached this limit.
    pub(super) fn end_slow_client(&mut self, limit: Limit, ctx: &mut Context<Self>) {
        if !self.has_ended() {
            self.worker.limit_reached(self.id, limit);
            self.close(CloseReason::SlowConsumer, ctx);
        }
    }
}
