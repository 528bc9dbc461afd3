//! Reports events that were dropped while Redis was away, or that Redis has lost. The report is an event in the logs that
//! lack them, so members whose sessions are recovered later receive it too.

use log::warn;
use serde_json::json;

use super::node::Bridge;
use crate::health::BusState;
use crate::history::LogName;
use crate::model::{Command, Emit, Payload, Selector};

impl Bridge {
    /// Notifies the members of the rooms of these logs (docs/history.md#gaps).
    pub(super) fn report_lost_events(&self, logs: Vec<LogName>) {
        let Some(history) = self.directory.history() else {
            return;
        };
        let count = logs.len();
        if logs.is_empty() {
            return;
        }
        warn!(rooms = count; "events of rooms are lost: dropped while Redis was away, or acknowledged by Redis and lost in a failover or a restart; their members are notified");
        self.count_gaps(count);
        for log in logs {
            let command = Command::Emit(gap_event(log));
            if let Some(targets) = history.targets(&command) {
                self.publisher.publish_command(&command, Some(targets));
            }
        }
    }

    /// Records that messages of this node were dropped while Redis was away. Events of shared namespaces may be among
    /// them. Clients are notified once Redis is back, because earlier notices would be dropped too.
    pub(super) fn note_dropped(&mut self) {
        self.has_dropped = true;
        if self.health.bus() == BusState::Up {
            self.report_dropped();
        }
    }

    /// Notifies clients of dropped messages, now that Redis is back.
    pub(super) fn report_dropped(&mut self) {
        if std::mem::take(&mut self.has_dropped)
            && let Some(history) = self.directory.history()
        {
            self.report_lost_events(history.shared_logs());
        }
    }

    /// Entries were removed from a stream before this node read them: notifies the sockets of this node in the shared
    /// namespaces. Others have received them.
    pub(super) fn report_unread_entries(&mut self) {
        let logs = self.directory.history().map(|it| it.shared_logs());
        let logs = logs.unwrap_or_default();
        self.count_gaps(logs.len());
        for log in logs {
            self.deliver_logged(gap_event(log), None, true);
        }
    }

    fn count_gaps(&self, count: usize) {
        let gaps = &self.directory.metrics().room_log_gaps_total;
        gaps.add(count as u64);
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
