//! Which rooms have members on which worker, and whether the bus delivers to them. Pure bookkeeping.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use smallvec::SmallVec;

use crate::bus::link::Channel;
use crate::model::{Namespace, Room, WorkerIndex, Workers};

type RoomName = (Namespace, Room);

struct RoomInterest {
    workers: Workers,
    /// Workers that wait to hear that the bus delivers.
    waiting: Workers,
    /// Channels not confirmed yet.
    unconfirmed: SmallVec<[Channel; 2]>,
    channels: SmallVec<[Channel; 2]>,
}

/// What a change of interest asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub subscribe: Vec<Channel>,
    pub unsubscribe: Vec<Channel>,
    /// The room is ready for the worker that asked.
    pub ready: bool,
}

/// The rooms wanted on this node.
#[derive(Default)]
pub struct RoomSubscriptions {
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
    /// How many channels the rooms of this node are heard on.
    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// A worker has its first member in the room, which is heard on `channels`.
    pub fn want(
        &mut self,
        name: RoomName,
        worker: WorkerIndex,
        channels: SmallVec<[Channel; 2]>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let interest = match self.rooms.entry(name.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let mut unconfirmed = SmallVec::new();
                for channel in &channels {
                    let usage = self.channels.entry(channel.clone()).or_default();
                    if usage.rooms.is_empty() {
                        outcome.subscribe.push(channel.clone());
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
        outcome.ready = interest.unconfirmed.is_empty();
        if !outcome.ready {
            interest.waiting = interest.waiting.with(worker);
        }
        outcome
    }

    /// A worker's last member left.
    pub fn unwant(&mut self, name: &RoomName, worker: WorkerIndex) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(interest) = self.rooms.get_mut(name) else {
            return outcome;
        };
        interest.workers = interest.workers.without(worker);
        interest.waiting = interest.waiting.without(worker);
        if !interest.workers.is_empty() {
            return outcome;
        }
        let Some(interest) = self.rooms.remove(name) else {
            return outcome;
        };
        for channel in interest.channels {
            let Some(usage) = self.channels.get_mut(&channel) else {
                continue;
            };
            usage.rooms.retain(|room| room != name);
            if usage.rooms.is_empty() {
                self.channels.remove(&channel);
                outcome.unsubscribe.push(channel);
            }
        }
        outcome
    }

    /// The bus delivers to a channel; the rooms that are complete by it, with who waits for them.
    pub fn confirm(&mut self, channel: &Channel) -> Vec<(RoomName, Workers)> {
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

    /// The bus is away: nobody waits for it. The rooms that were waited for.
    pub fn give_up_waiting(&mut self) -> Vec<(RoomName, Workers)> {
        let waiting = self
            .rooms
            .iter_mut()
            .filter(|(_, interest)| !interest.waiting.is_empty());
        waiting
            .map(|(name, interest)| (name.clone(), std::mem::take(&mut interest.waiting)))
            .collect()
    }

    /// The workers with members in a room.
    pub fn workers(&self, name: &RoomName) -> Workers {
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
    fn a_room_is_subscribed_once_and_ready_when_all_its_channels_are() {
        let (a, b) = (WorkerIndex::new(0).unwrap(), WorkerIndex::new(1).unwrap());
        let mut wanted = RoomSubscriptions::default();
        let first = wanted.want(room("x"), a, channels(&["n:x", "p:x"]));
        assert_eq!((first.subscribe.len(), first.ready), (2, false));
        let second = wanted.want(room("x"), b, channels(&["n:x", "p:x"]));
        assert_eq!(second, Outcome::default());
        assert!(wanted.confirm(&Channel::from("n:x")).is_empty());
        let complete = wanted.confirm(&Channel::from("p:x"));
        assert_eq!(complete.len(), 1);
        assert!(complete[0].1.contains(0) && complete[0].1.contains(1));
        assert!(wanted.unwant(&room("x"), a).unsubscribe.is_empty());
        assert!(wanted.want(room("x"), a, channels(&["n:x", "p:x"])).ready);
        wanted.unwant(&room("x"), a);
        assert_eq!(wanted.unwant(&room("x"), b).unsubscribe.len(), 2);
        assert_eq!(wanted.workers(&room("x")), Workers::default());
    }

    #[test]
    fn nobody_waits_for_a_bus_that_is_away() {
        let a = WorkerIndex::new(0).unwrap();
        let mut wanted = RoomSubscriptions::default();
        wanted.want(room("x"), a, channels(&["n:x"]));
        assert_eq!(wanted.give_up_waiting().len(), 1);
        assert!(wanted.give_up_waiting().is_empty());
        assert!(
            wanted.confirm(&Channel::from("n:x")).is_empty(),
            "nobody waits any more"
        );
        assert!(wanted.workers(&room("x")).contains(0));
    }
}
