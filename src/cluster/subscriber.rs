//! Subscribes to the channels of the rooms, sockets and namespaces that this node has.

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use smallvec::SmallVec;

use super::dialect::{Dialect, Subscriptions};
use super::subscriptions::{ChannelChanges, RoomName, RoomSubscriptions};
use crate::broker::messages::{InterestChange, SocketPresence};
use crate::bus::link::{Channel, Link};
use crate::model::{Namespace, Room, WorkerIndex};

/// Keeps the subscriptions of the link in step with the rooms of this node.
pub(super) struct Subscriber {
    link: Arc<dyn Link>,
    dialects: Vec<(Arc<dyn Dialect>, Subscriptions)>,
    /// Sockets by namespace, counted if a dialect has a channel for each namespace.
    namespaces: HashMap<Namespace, usize>,
    pub(super) rooms: RoomSubscriptions,
}

impl Subscriber {
    /// A subscriber without rooms.
    pub(super) fn new(link: Arc<dyn Link>, dialects: &[Arc<dyn Dialect>]) -> Self {
        let dialects = dialects.iter();
        Self {
            link,
            dialects: dialects
                .map(|dialect| (Arc::clone(dialect), dialect.subscriptions()))
                .collect(),
            namespaces: HashMap::new(),
            rooms: RoomSubscriptions::default(),
        }
    }

    /// Subscribes to the channels that do not depend on rooms.
    pub(super) fn subscribe_always(&self) {
        let dialects = self.dialects.iter();
        let channels = dialects.flat_map(|(_, subscriptions)| subscriptions.always.clone());
        self.link.subscribe(channels.collect());
    }

    /// Follows changes of the rooms of a worker. Returns the rooms that the bus delivers already.
    pub(super) fn follow(
        &mut self,
        worker: WorkerIndex,
        changes: Vec<InterestChange>,
    ) -> Vec<RoomName> {
        let mut total = ChannelChanges::default();
        let mut ready = Vec::new();
        for change in changes {
            ready.extend(self.follow_one(worker, change, &mut total));
        }
        if !total.unsubscribe.is_empty() {
            self.link.unsubscribe(total.unsubscribe);
        }
        if !total.subscribe.is_empty() {
            self.link.subscribe(total.subscribe);
        }
        ready
    }

    fn follow_one(
        &mut self,
        worker: WorkerIndex,
        change: InterestChange,
        total: &mut ChannelChanges,
    ) -> Option<RoomName> {
        match change {
            InterestChange::RoomAppeared(namespace, room) => {
                let channels = self.channels(&namespace, &room, |s| s.per_room);
                let name = (namespace, room);
                let ready = self.rooms.subscribe(name.clone(), worker, channels, total);
                ready.then_some(name)
            }
            InterestChange::RoomVanished(namespace, room) => {
                self.rooms.unsubscribe(&(namespace, room), worker, total);
                None
            }
            InterestChange::Socket(namespace, id, presence) => {
                self.count_socket(&namespace, presence, total);
                let name = (namespace, Room::from(id.as_str()));
                match presence {
                    SocketPresence::Connected => {
                        let channels = self.channels(&name.0, &name.1, |s| s.per_socket);
                        self.rooms.subscribe(name, worker, channels, total);
                    }
                    SocketPresence::Disconnected => self.rooms.unsubscribe(&name, worker, total),
                }
                None
            }
            InterestChange::JoinApplied => None,
        }
    }

    /// The channels of a room in the dialects that have one.
    fn channels(
        &self,
        namespace: &Namespace,
        room: &Room,
        has_channel: impl Fn(&Subscriptions) -> bool,
    ) -> SmallVec<[Channel; 2]> {
        let dialects = self.dialects.iter().filter(|(_, s)| has_channel(s));
        dialects
            .filter_map(|(dialect, _)| dialect.room_channel(namespace, room))
            .collect()
    }

    /// Subscribes to the channel of a namespace with its first socket, and unsubscribes with its last.
    fn count_socket(
        &mut self,
        namespace: &Namespace,
        presence: SocketPresence,
        total: &mut ChannelChanges,
    ) {
        if !self.dialects.iter().any(|(_, s)| s.per_namespace) {
            return;
        }
        let is_change = match (presence, self.namespaces.entry(namespace.clone())) {
            (SocketPresence::Connected, entry) => {
                let sockets = entry.or_default();
                *sockets += 1;
                *sockets == 1
            }
            (SocketPresence::Disconnected, Entry::Occupied(mut entry)) => {
                *entry.get_mut() -= 1;
                let is_last = *entry.get() == 0;
                if is_last {
                    entry.remove();
                }
                is_last
            }
            (SocketPresence::Disconnected, Entry::Vacant(_)) => false,
        };
        if !is_change {
            return;
        }
        let dialects = self.dialects.iter().filter(|(_, s)| s.per_namespace);
        let channels = dialects.flat_map(|(dialect, _)| dialect.namespace_channels(namespace));
        match presence {
            SocketPresence::Connected => total.subscribe.extend(channels),
            SocketPresence::Disconnected => total.unsubscribe.extend(channels),
        }
    }
}
