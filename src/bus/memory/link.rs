//! A member's handle to the hub.

use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;

use super::hub::Hub;
use super::member_logs::MemberLogs;
use super::state::MemberId;
use crate::bus::link::{Channel, Link, LinkEvents, Outgoing, Receivers};
use crate::history::LogReader;

/// A member of a [`Hub`]. Leaves it when dropped.
#[derive(Debug)]
pub struct MemoryLink {
    hub: Hub,
    member: MemberId,
}

impl Hub {
    /// Adds a member; returns its link and events.
    pub fn join(&self) -> (Arc<MemoryLink>, LinkEvents) {
        let (member, events) = self.add_member();
        let link = MemoryLink {
            hub: self.clone(),
            member,
        };
        (Arc::new(link), events)
    }
}

impl MemoryLink {
    /// The id of this member, for fault injection on the hub.
    pub fn member(&self) -> MemberId {
        self.member
    }
}

impl Link for MemoryLink {
    fn publish(&self, batch: Vec<Outgoing>) {
        for message in batch {
            self.hub.publish(self.member, message);
        }
    }

    fn publish_counted(&self, message: Outgoing) -> Receivers {
        Box::pin(ready(self.hub.publish_counted(self.member, message)))
    }

    fn subscribe(&self, channels: Vec<Channel>) {
        self.hub.subscribe(self.member, channels);
    }

    fn unsubscribe(&self, channels: Vec<Channel>) {
        self.hub.unsubscribe(self.member, &channels);
    }

    fn subscribe_patterns(&self, patterns: Vec<Channel>) {
        self.hub.subscribe_patterns(self.member, patterns);
    }

    fn unsubscribe_patterns(&self, patterns: Vec<Channel>) {
        self.hub.unsubscribe_patterns(self.member, &patterns);
    }

    fn logs(&self) -> Option<Arc<dyn LogReader<Bytes>>> {
        Some(Arc::new(MemberLogs {
            hub: self.hub.clone(),
            member: self.member,
        }))
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        self.hub.kill(self.member);
    }
}
