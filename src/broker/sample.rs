//! Looks once a second at what a worker holds, and how late the look comes.
//!
//! So nothing is counted on the way of a message that can be read off the worker's own state.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::shard::Shard;
use super::shard::state::State;
use crate::metrics::{Gauge, Metrics};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a worker held at the last look: its part of the node's gauges.
#[derive(Debug, Default)]
struct Seen {
    sockets: i64,
    rooms: i64,
    queued: i64,
}

impl Seen {
    fn of(state: &State) -> Self {
        Self {
            sockets: state.rooms.socket_count() as i64,
            rooms: state.rooms.named_room_count() as i64,
            queued: state.lanes.queued_total() as i64,
        }
    }

    /// Replaces this worker's part of each gauge.
    fn renew(&mut self, now: Self, metrics: &Metrics) {
        let change = |gauge: &Gauge, before: i64, after: i64| gauge.add(after - before);
        change(&metrics.sockets, self.sockets, now.sockets);
        change(&metrics.rooms, self.rooms, now.rooms);
        change(&metrics.send_queue_bytes, self.queued, now.queued);
        *self = now;
    }
}

/// Runs as long as its worker.
pub(super) async fn sample_forever(shard: Rc<Shard>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::default();
    loop {
        let due = ticks.tick().await;
        let metrics = shard.directory().metrics();
        let late = Instant::now().saturating_duration_since(due);
        metrics.worker_lag_seconds.observe(late);
        let mut state = shard.state.borrow_mut();
        // Another worker may have exceeded the limit of the node while this one had nothing to write.
        state.enforce_budget();
        let now = Seen::of(&state);
        drop(state);
        seen.renew(now, metrics);
    }
}
