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

/// Number of calls of [`Subscriber::release_namespaces`] after which a namespace without sockets is unsubscribed. Calls
/// (`cluster::publish`) take less time.
const ROUNDS_TO_RELEASE: u32 = 7;

/// Keeps the subscriptions of the link in step with the rooms of this node.
pub(super) struct Subscriber {
    link: Arc<dyn Link>,
    dialects: Vec<(Arc<dyn Dialect>, Subscriptions)>,
    /// The subscribed namespaces, if a dialect has a channel for each namespace.
    namespaces: HashMap<Namespace, NamespaceUse>,
    pub(super) rooms: RoomSubscriptions,
}

/// The sockets of a namespace.
#[derive(Debug, Default)]
struct NamespaceUse {
    sockets: usize,
    /// Consecutive calls of [`Subscriber::release_namespaces`] that found no socket.
    empty_rounds: u32,
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

    /// Subscribes to the channels of a namespace as if its last socket had just left: responses to a call arrive there.
    /// The subscription is requested before the call is published, on another connection; if the call overtook it, a
    /// response would be missing and the call would end by its timeout.
    pub(super) fn hold_namespace(&mut self, namespace: &Namespace) {
        if !self.dialects.iter().any(|(_, s)| s.per_namespace) {
            return;
        }
        match self.namespaces.entry(namespace.clone()) {
            Entry::Occupied(mut entry) => entry.get_mut().empty_rounds = 0,
            Entry::Vacant(entry) => {
                entry.insert(NamespaceUse::default());
                self.link.subscribe(self.namespace_channels(namespace));
            }
        }
    }

    /// Unsubscribes from the channels of namespaces that had no socket at the last calls. To be called at intervals.
    pub(super) fn release_namespaces(&mut self) {
        let mut released = Vec::new();
        self.namespaces.retain(|namespace, usage| {
            usage.empty_rounds = match usage.sockets {
                0 => usage.empty_rounds + 1,
                _ => 0,
            };
            let is_over = usage.empty_rounds == ROUNDS_TO_RELEASE;
            if is_over {
                released.push(namespace.clone());
            }
            !is_over
        });
        let channels = released
            .iter()
            .flat_map(|namespace| self.namespace_channels(namespace));
        let channels: Vec<_> = channels.collect();
        if !channels.is_empty() {
            self.link.unsubscribe(channels);
        }
    }

    fn namespace_channels(&self, namespace: &Namespace) -> Vec<Channel> {
        let dialects = self.dialects.iter().filter(|(_, s)| s.per_namespace);
        dialects
            .flat_map(|(dialect, _)| dialect.namespace_channels(namespace))
            .collect()
    }

    /// Subscribes to the channels of a namespace with its first socket.
    fn count_socket(
        &mut self,
        namespace: &Namespace,
        presence: SocketPresence,
        total: &mut ChannelChanges,
    ) {
        if !self.dialects.iter().any(|(_, s)| s.per_namespace) {
            return;
        }
        let usage = match self.namespaces.entry(namespace.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if presence == SocketPresence::Disconnected => return,
            Entry::Vacant(entry) => {
                entry.insert(NamespaceUse {
                    sockets: 1,
                    empty_rounds: 0,
                });
                let channels = self.namespace_channels(namespace);
                return total.subscribe.extend(channels);
            }
        };
        match presence {
            SocketPresence::Connected => {
                usage.sockets += 1;
                usage.empty_rounds = 0;
            }
            SocketPresence::Disconnected => usage.sockets = usage.sockets.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::link::{LinkEvent, LinkEvents, Outgoing};
    use crate::bus::memory::Hub;
    use crate::cluster::dialect::{DecodeError, EncodeError, Inbound, Outbound};
    use crate::model::random::OsRandom;
    use crate::model::{DialectId, NodeId, SocketId};
    use bytes::Bytes;

    struct ByNamespace;

    impl Dialect for ByNamespace {
        fn id(&self) -> DialectId {
            DialectId(*b"test")
        }

        fn subscriptions(&self) -> Subscriptions {
            Subscriptions {
                per_namespace: true,
                ..Subscriptions::default()
            }
        }

        fn namespace_channels(&self, namespace: &Namespace) -> Vec<Channel> {
            vec![Channel::from(&**namespace)]
        }

        fn owns(&self, _channel: &Channel) -> bool {
            true
        }

        fn decode(&self, _: &Channel, _: &Bytes) -> Result<Inbound, DecodeError> {
            Ok(Inbound::Ignored)
        }

        fn encode(&self, _: &Outbound<'_>) -> Result<Vec<Outgoing>, EncodeError> {
            Ok(Vec::new())
        }
    }

    async fn subscribers(link: &dyn Link) -> u64 {
        let message = Outgoing {
            channel: Channel::from("/"),
            payload: Bytes::from_static(b"x"),
            volatile: false,
            translation: None,
            log: None,
        };
        link.publish_counted(message).await.unwrap()
    }

    fn subscriptions(events: &mut LinkEvents) -> usize {
        let events = std::iter::from_fn(|| events.try_next());
        let subscribed = events.filter(|event| matches!(event, LinkEvent::Subscribed(_)));
        subscribed.count()
    }

    #[tokio::test]
    async fn a_namespace_is_unsubscribed_some_time_after_its_last_socket_left() {
        let (link, mut events) = Hub::default().join();
        let mut subscriber = Subscriber::new(Arc::clone(&link) as _, &[Arc::new(ByNamespace)]);
        let worker = WorkerIndex::default();
        let change = |subscriber: &mut Subscriber, presence| {
            let id = SocketId::random(NodeId::random(&OsRandom), worker, &OsRandom);
            let change = InterestChange::Socket(Namespace::main(), id, presence);
            subscriber.follow(worker, vec![change]);
        };
        change(&mut subscriber, SocketPresence::Connected);
        change(&mut subscriber, SocketPresence::Connected);
        change(&mut subscriber, SocketPresence::Disconnected);
        for _ in 0..2 * ROUNDS_TO_RELEASE {
            subscriber.release_namespaces();
        }
        assert_eq!(subscribers(&*link).await, 1, "one socket remains");
        let almost_release = |subscriber: &mut Subscriber| {
            for _ in 1..ROUNDS_TO_RELEASE {
                subscriber.release_namespaces();
            }
        };
        change(&mut subscriber, SocketPresence::Disconnected);
        almost_release(&mut subscriber);
        assert_eq!(subscribers(&*link).await, 1);
        change(&mut subscriber, SocketPresence::Connected);
        change(&mut subscriber, SocketPresence::Disconnected);
        almost_release(&mut subscriber);
        assert_eq!(
            subscribers(&*link).await,
            1,
            "it was not empty all the time"
        );
        subscriber.release_namespaces();
        assert_eq!(subscribers(&*link).await, 0);
        assert_eq!(subscriptions(&mut events), 1);
        subscriber.hold_namespace(&Namespace::main());
        assert_eq!(subscribers(&*link).await, 1, "for a call");
        almost_release(&mut subscriber);
        subscriber.hold_namespace(&Namespace::main());
        almost_release(&mut subscriber);
        assert_eq!(subscribers(&*link).await, 1);
        subscriber.release_namespaces();
        assert_eq!(subscribers(&*link).await, 0);
    }
}
