//! Keeps the bridge's subscriptions to the channels of single sockets, for dialects that have such channels.

use actix::Recipient;

use super::lifecycle::Observer;
use super::messages::{Interest, InterestChange, SocketPresence};
use crate::model::{SocketChange, SocketEvent, WorkerIndex};

/// Notifies the bridge of every socket that connects or disconnects.
pub struct SocketInterest {
    pub worker: WorkerIndex,
    pub bridge: Recipient<Interest>,
}

impl Observer for SocketInterest {
    fn on_event(&self, event: &SocketEvent) {
        let presence = match event.change {
            SocketChange::Connected { .. } => SocketPresence::Connected,
            SocketChange::Disconnected { .. } => SocketPresence::Disconnected,
            SocketChange::Identified { .. } | SocketChange::Joined(_) | SocketChange::Left(_) => {
                return;
            }
        };
        let change = InterestChange::Socket(event.namespace.clone(), event.socket, presence);
        self.bridge.do_send(Interest {
            worker: self.worker,
            changes: vec![change],
        });
    }
}
