//! Names the loss of events that were dropped while Redis was away, or that Redis has lost: by an event in the logs that
//! lack them, which members receive that recover later, too.

use log::warn;
use serde_json::json;

use super::node::Bridge;
use crate::history::LogName;
use crate::model::{Command, Emit, Payload, Selector};

impl Bridge {
    /// Notifies the members of the rooms of these logs (docs/history.md#gaps).
    pub(super) fn report_lost_events(&self, logs: Vec<LogName>) {
        let Some(history) = self.directory.history() else {
            return;
        };
        let count = logs.len();
        warn!(rooms = count; "events of rooms are lost: dropped while Redis was away, or acknowledged by Redis and lost in a failover or a restart; their members are notified");
        self.directory
            .metrics()
            .room_log_gaps_total
            .add(count as u64);
        for log in logs {
            let command = Command::Emit(gap_event(log));
            if let Some(targets) = history.targets(&command) {
                self.publisher.publish_command(&command, Some(targets));
            }
        }
    }
}

/// It is not known between which positions the lost events were.
fn gap_event(log: LogName) -> Emit {
    let LogName { namespace, room } = log;
    let name = room.as_ref().map(|room| room.as_str());
    let lost = json!({"room": name, "after": null, "before": null});
    Emit {
        payload: Payload::event("roomwire:gap", [lost.to_string().as_str()]),
        to: match room {
            Some(room) => Selector::room(namespace, room),
            None => Selector::everybody(namespace),
        },
        volatile: false,
        ack: None,
        conflate: None,
    }
}
