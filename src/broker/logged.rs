//! Emits that are appended to logs: nobody receives them before they have a position.

use std::sync::Arc;

use super::directory::Directory;
use super::dispatches::PendingDispatches;
use super::messages::{Dispatch, ReachReport};
use crate::clock;
use crate::history::{History, Logs};
use crate::metrics::labels::Origin;
use crate::model::Command;

/// Appends an emit that enters on this node to its logs and delivers it in the order of the logs.
///
/// A node with a bus only publishes it: it comes back with its position. On a node without a bus, all workers receive it
/// through their mailboxes, also the one where it entered, so that each receives the same order.
pub(super) fn dispatch(
    directory: &Directory,
    history: &History,
    command: Arc<Command>,
    logs: Logs,
) {
    let metrics = directory.metrics();
    metrics.commands_total.of(Origin::Local).increment();
    let (Command::Emit(emit), Logs::Rooms(targets), Some(memory)) =
        (&*command, &logs, history.in_memory())
    else {
        return directory.publish_logged(command, logs);
    };
    metrics.room_log_entries_total.add(targets.len() as u64);
    let bytes = targets.len() * emit.payload.size();
    metrics.room_log_bytes_total.add(bytes as u64);
    // Also for a single socket: its events belong to the one that has recovered its session, on any worker.
    let workers = directory.workers();
    memory.append(targets, emit, |stamp| {
        let dispatch = Dispatch {
            command: Arc::clone(&command),
            ack_id: None,
            from_bus: false,
            reports: ReachReport::Nothing,
            position: Some(stamp.position),
        };
        let mut pending = PendingDispatches::default();
        pending.stage(&dispatch, workers, clock::now(), directory);
        pending.send(directory);
    });
    let size = i64::try_from(memory.total_size()).unwrap_or(i64::MAX);
    metrics.room_log_memory_bytes.set(size);
}
