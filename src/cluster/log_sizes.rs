//! Measures the memory of the logs that have members on this node.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use log::debug;

use super::node::Bridge;
use crate::history::LogName;

/// Number of logs that are measured. With more, every second, third or so on is, and the result is scaled.
const MEASURED: usize = 500;

impl Bridge {
    /// Measures the logs of rooms with members here, and of broadcasts.
    pub(super) fn measure_logs(&self, ctx: &mut Context<Self>) {
        let Some(history) = self.directory.history().cloned() else {
            return;
        };
        let rooms = self.subscriber.rooms.names();
        let rooms = rooms.filter(|(namespace, room)| history.rooms().contains(namespace, room));
        let rooms =
            rooms.map(|(namespace, room)| LogName::of_room(namespace.clone(), room.clone()));
        let broadcasts = history.rooms().broadcasts().cloned();
        let names: Vec<LogName> = broadcasts.map(LogName::of_namespace).chain(rooms).collect();
        let count = names.len();
        let step = count.div_ceil(MEASURED).max(1);
        let measured: Vec<LogName> = names.into_iter().step_by(step).collect();
        let metrics = Arc::clone(self.directory.metrics());
        if measured.is_empty() {
            return metrics.room_log_memory_bytes.set(0);
        }
        let size = history.logs().size(&measured);
        let share = (count as u64, measured.len() as u64);
        ctx.spawn(size.into_actor(self).map(move |size, _bridge, _ctx| {
            match size {
                Ok(size) => {
                    let bytes = size.saturating_mul(share.0) / share.1;
                    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                    metrics.room_log_memory_bytes.set(bytes);
                }
                // Other operations report why.
                Err(error) => debug!(error:%; "memory of the logs not measured"),
            }
        }));
    }
}
