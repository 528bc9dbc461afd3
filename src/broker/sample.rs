//! Samples the state of a worker once a second for the gauges of the node, and its lag from the delay of the sample.
//!
//! Gauges that can be read from that state are not counted on the hot path.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::shard::Shard;
use super::shard::state::State;
use crate::metrics::{Gauge, Metrics};

/// Time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// The share of one worker in the node's gauges.
#[derive(Debug, Default)]
struct Sample {
    sockets: i64,
    rooms: i64,
    queued: i64,
}

impl Sample {
    fn of(state: &State) -> Self {
        Self {
            sockets: state.rooms.socket_count() as i64,
            rooms: state.rooms.named_room_count() as i64,
            queued: state.lanes.queued_total() as i64,
        }
    }

    /// Replaces the share of this worker in each gauge.
    fn replace(&mut self, now: Self, metrics: &Metrics) {
        let change = |gauge: &Gauge, before: i64, after: i64| gauge.add(after - before);
        change(&metrics.sockets, self.sockets, now.sockets);
        change(&metrics.rooms, self.rooms, now.rooms);
        change(&metrics.send_queue_bytes, self.queued, now.queued);
        *self = now;
    }
}

/// Samples for as long as the worker runs.
pub(super) async fn sample_forever(shard: Rc<Shard>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Sample::default();
    loop {
        let due = ticks.tick().await;
        let metrics = shard.directory().metrics();
        let late = Instant::now().saturating_duration_since(due);
        metrics.worker_lag_seconds.observe(late);
        let mut state = shard.state.borrow_mut();
        // Another worker may have exceeded the limit of the node while this one had nothing to write.
        state.enforce_budget();
        let now = Sample::of(&state);
        drop(state);
        last.replace(now, metrics);
    }
}
