//! Which rooms have members on which worker, and whether the bus delivers their messages. Pure bookkeeping.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use smallvec::SmallVec;

use crate::bus::link::Channel;
use crate::model::{Namespace, Room, WorkerIndex, Workers};

/// A room, by its namespace and name.
pub(super) type RoomName = (Namespace, Room);

struct RoomInterest {
    workers: Workers,
    /// Workers that must be notified once the bus delivers.
    waiting: Workers,
    /// Channels that the bus has not confirmed yet.
    unconfirmed: SmallVec<[Channel; 2]>,
    channels: SmallVec<[Channel; 2]>,
}

/// Channels that the link must subscribe to or unsubscribe from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ChannelChanges {
    pub(super) subscribe: Vec<Channel>,
    pub(super) unsubscribe: Vec<Channel>,
}

/// The rooms with members on this node.
#[derive(Default)]
pub(super) struct RoomSubscriptions {
    rooms: HashMap<RoomName, RoomInterest>,
    /// Rooms by channel; two rooms may share one.
    channels: HashMap<Channel, ChannelUse>,
}

#[derive(Default)]
struct ChannelUse {
    rooms: SmallVec<[RoomName; 1]>,
    confirmed: bool,
}

impl RoomSubscriptions {
    /// The number of channels that rooms of this node need.
    pub(super) fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// The rooms with members on this node.
    pub(super) fn names(&self) -> impl Iterator<Item = &RoomName> {
        self.rooms.keys()
    }

    /// A worker has its first member in a room, whose messages arrive on `channels`. Returns whether the bus delivers them
    /// already; if not, [`RoomSubscriptions::confirm`] names the worker later.
    pub(super) fn subscribe(
        &mut self,
        name: RoomName,
        worker: WorkerIndex,
        channels: SmallVec<[Channel; 2]>,
        changes: &mut ChannelChanges,
    ) -> bool {
        let interest = match self.rooms.entry(name.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let mut unconfirmed = SmallVec::new();
                for channel in &channels {
                    let usage = self.channels.entry(channel.clone()).or_default();
                    if usage.rooms.is_empty() {
                        changes.subscribe.push(channel.clone());
                    }
                    usage.rooms.push(name.clone());
                    if !usage.confirmed {
                        unconfirmed.push(channel.clone());
                    }
                }
                entry.insert(RoomInterest {
                    workers: Workers::default(),
                    waiting: Workers::default(),
                    unconfirmed,
                    channels,
                })
            }
        };
        interest.workers = interest.workers.with(worker);
        let ready = interest.unconfirmed.is_empty();
        if !ready {
            interest.waiting = interest.waiting.with(worker);
        }
        ready
    }

    /// The last member on a worker left a room.
    pub(super) fn unsubscribe(
        &mut self,
        name: &RoomName,
        worker: WorkerIndex,
        changes: &mut ChannelChanges,
    ) {
        let Some(interest) = self.rooms.get_mut(name) else {
            return;
        };
        interest.workers = interest.workers.without(worker);
        interest.waiting = interest.waiting.without(worker);
        if !interest.workers.is_empty() {
            return;
        }
        let Some(interest) = self.rooms.remove(name) else {
            return;
        };
        for channel in interest.channels {
            let Some(usage) = self.channels.get_mut(&channel) else {
                continue;
            };
            usage.rooms.retain(|room| room != name);
            if usage.rooms.is_empty() {
                self.channels.remove(&channel);
                changes.unsubscribe.push(channel);
            }
        }
    }

    /// The bus has confirmed a subscription. Returns the rooms that it completes, with the workers to notify.
    pub(super) fn confirm(&mut self, channel: &Channel) -> Vec<(RoomName, Workers)> {
        let Some(usage) = self.channels.get_mut(channel) else {
            return Vec::new();
        };
        usage.confirmed = true;
        let mut complete = Vec::new();
        for name in &usage.rooms {
            let Some(interest) = self.rooms.get_mut(name) else {
                continue;
            };
            interest
                .unconfirmed
                .retain(|unconfirmed| unconfirmed != channel);
            if interest.unconfirmed.is_empty() && !interest.waiting.is_empty() {
                complete.push((name.clone(), std::mem::take(&mut interest.waiting)));
            }
        }
        complete
    }

    /// The bus is away, so no worker waits for it any longer. Returns the rooms with the workers to notify.
    pub(super) fn stop_waiting(&mut self) -> Vec<(RoomName, Workers)> {
        let waiting = self
            .rooms
            .iter_mut()
            .filter(|(_, interest)| !interest.waiting.is_empty());
        waiting
            .map(|(name, interest)| (name.clone(), std::mem::take(&mut interest.waiting)))
            .collect()
    }

    /// The rooms whose messages arrive on a channel.
    pub(super) fn of_channel(&self, channel: &Channel) -> &[RoomName] {
        self.channels.get(channel).map_or(&[], |usage| &usage.rooms)
    }

    /// The workers with members in a room.
    pub(super) fn workers(&self, name: &RoomName) -> Workers {
        self.rooms
            .get(name)
            .map(|interest| interest.workers)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomName {
        (Namespace::main(), Room::from(name))
    }

    fn channels(names: &[&str]) -> SmallVec<[Channel; 2]> {
        names.iter().map(|name| Channel::from(*name)).collect()
    }

    #[test]
    fn a_room_of_two_workers_is_subscribed_once_and_ready_when_all_channels_are_confirmed() {
        let (a, b) = (WorkerIndex::new(0).unwrap(), WorkerIndex::new(1).unwrap());
        let mut rooms = RoomSubscriptions::default();
        let mut changes = ChannelChanges::default();
        let x = || channels(&["n:x", "p:x"]);
        assert!(!rooms.subscribe(room("x"), a, x(), &mut changes));
        assert_eq!(changes.subscribe.len(), 2);
        assert!(!rooms.subscribe(room("x"), b, x(), &mut changes));
        assert_eq!(changes.subscribe.len(), 2);
        assert!(rooms.confirm(&Channel::from("n:x")).is_empty());
        let complete = rooms.confirm(&Channel::from("p:x"));
        assert_eq!(complete.len(), 1);
        assert!(complete[0].1.contains(0) && complete[0].1.contains(1));
        rooms.unsubscribe(&room("x"), a, &mut changes);
        assert!(changes.unsubscribe.is_empty());
        assert!(rooms.subscribe(room("x"), a, x(), &mut changes));
        assert_eq!(changes.subscribe.len(), 2);
        rooms.unsubscribe(&room("x"), a, &mut changes);
        rooms.unsubscribe(&room("x"), b, &mut changes);
        assert_eq!(changes.unsubscribe.len(), 2);
        assert_eq!(rooms.workers(&room("x")), Workers::default());
    }

    #[test]
    fn workers_do_not_wait_while_the_bus_is_away() {
        let a = WorkerIndex::new(0).unwrap();
        let mut rooms = RoomSubscriptions::default();
        rooms.subscribe(
            room("x"),
            a,
            channels(&["n:x"]),
            &mut ChannelChanges::default(),
        );
        assert_eq!(rooms.stop_waiting().len(), 1);
        assert!(rooms.stop_waiting().is_empty());
        assert!(
            rooms.confirm(&Channel::from("n:x")).is_empty(),
            "no worker waits any more"
        );
        assert!(rooms.workers(&room("x")).contains(0));
    }
}
