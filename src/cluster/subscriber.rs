//! Subscribes to the channels of the rooms, sockets and namespaces that this node has.

use std::sync::Arc;

use smallvec::SmallVec;

use super::dialect::{Dialect, Subscriptions};
use super::namespaces::NamespaceSubscriptions;
use super::subscriptions::{ChannelChanges, RoomName, RoomSubscriptions};
use crate::broker::messages::{InterestChange, SocketPresence};
use crate::bus::link::{Channel, Link};
use crate::model::{Namespace, Room, WorkerIndex};

/// Keeps the subscriptions of the link in step with the rooms of this node.
pub(super) struct Subscriber {
    link: Arc<dyn Link>,
    dialects: Vec<(Arc<dyn Dialect>, Subscriptions)>,
    /// Whether a dialect has channels for each namespace. Otherwise no namespace is subscribed.
    has_namespaces: bool,
    pub(super) namespaces: NamespaceSubscriptions,
    pub(super) rooms: RoomSubscriptions,
}

/// The awaited rooms and namespaces whose messages the bus delivers already.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    pub(super) rooms: Vec<RoomName>,
    pub(super) namespaces: Vec<Namespace>,
}

impl Subscriber {
    /// A subscriber without rooms.
    pub(super) fn new(link: Arc<dyn Link>, dialects: &[Arc<dyn Dialect>]) -> Self {
        let dialects = dialects.iter();
        let dialects: Vec<_> = dialects
            .map(|dialect| (Arc::clone(dialect), dialect.subscriptions()))
            .collect();
        Self {
            link,
            has_namespaces: dialects.iter().any(|(_, s)| s.per_namespace),
            dialects,
            namespaces: NamespaceSubscriptions::default(),
            rooms: RoomSubscriptions::default(),
        }
    }

    /// Subscribes to the channels that do not depend on rooms.
    pub(super) fn subscribe_always(&self) {
        let dialects = self.dialects.iter();
        let channels = dialects.flat_map(|(_, subscriptions)| subscriptions.always.clone());
        self.link.subscribe(channels.collect());
    }

    /// Follows changes of the rooms and sockets of a worker. Of the rooms and namespaces for which the worker waits,
    /// returns those that the bus delivers already.
    pub(super) fn follow(
        &mut self,
        worker: WorkerIndex,
        changes: Vec<InterestChange>,
    ) -> Delivered {
        let mut total = ChannelChanges::default();
        let mut delivered = Delivered::default();
        for change in changes {
            self.follow_one(worker, change, &mut total, &mut delivered);
        }
        self.apply(total);
        delivered
    }

    fn apply(&self, changes: ChannelChanges) {
        if !changes.unsubscribe.is_empty() {
            self.link.unsubscribe(changes.unsubscribe);
        }
        if !changes.subscribe.is_empty() {
            self.link.subscribe(changes.subscribe);
        }
    }

    fn follow_one(
        &mut self,
        worker: WorkerIndex,
        change: InterestChange,
        total: &mut ChannelChanges,
        delivered: &mut Delivered,
    ) {
        match change {
            InterestChange::RoomAppeared(namespace, room) => {
                let channels = self.channels(&namespace, &room, |s| s.per_room);
                let name = (namespace, room);
                if self.rooms.subscribe(name.clone(), worker, channels, total) {
                    delivered.rooms.push(name);
                }
            }
            InterestChange::RoomVanished(namespace, room) => {
                self.rooms.unsubscribe(&(namespace, room), worker, total);
            }
            InterestChange::NamespaceAwaited(namespace) => {
                let channels = || namespace_channels(&self.dialects, &namespace);
                let namespaces = &mut self.namespaces;
                if namespaces.await_delivery(&namespace, worker, channels, total) {
                    delivered.namespaces.push(namespace);
                }
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
            }
            InterestChange::JoinApplied => {}
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
    /// response would be missing and the call would end by its timeout. Returns whether the bus delivers already.
    pub(super) fn hold_namespace(&mut self, namespace: &Namespace) -> bool {
        if !self.has_namespaces {
            return true;
        }
        let mut changes = ChannelChanges::default();
        let channels = || namespace_channels(&self.dialects, namespace);
        let is_delivered = self.namespaces.keep(namespace, channels, &mut changes);
        self.apply(changes);
        is_delivered
    }

    /// Subscribes to the channels of namespaces until [`NamespaceSubscriptions::unpin_all`].
    pub(super) fn pin_namespaces(&mut self, pinned: &[Namespace]) {
        let mut changes = ChannelChanges::default();
        for namespace in pinned {
            let channels = || namespace_channels(&self.dialects, namespace);
            self.namespaces.pin(namespace, channels, &mut changes);
        }
        self.apply(changes);
    }

    /// Unsubscribes from the channels of namespaces that had no socket at the last calls. To be called at intervals.
    pub(super) fn release_namespaces(&mut self) {
        let released = self.namespaces.release();
        let channels = released
            .iter()
            .flat_map(|namespace| namespace_channels(&self.dialects, namespace));
        let unsubscribe = channels.collect();
        self.apply(ChannelChanges {
            unsubscribe,
            ..ChannelChanges::default()
        });
    }

    /// Subscribes to the channels of a namespace with its first socket.
    fn count_socket(
        &mut self,
        namespace: &Namespace,
        presence: SocketPresence,
        total: &mut ChannelChanges,
    ) {
        if !self.has_namespaces {
            return;
        }
        let channels = || namespace_channels(&self.dialects, namespace);
        match presence {
            SocketPresence::Connected => self.namespaces.connected(namespace, channels, total),
            SocketPresence::Disconnected => self.namespaces.disconnected(namespace),
        }
    }
}

/// The channels of a namespace in the dialects that have any.
fn namespace_channels(
    dialects: &[(Arc<dyn Dialect>, Subscriptions)],
    namespace: &Namespace,
) -> Vec<Channel> {
    let dialects = dialects.iter().filter(|(_, s)| s.per_namespace);
    dialects
        .flat_map(|(dialect, _)| dialect.namespace_channels(namespace))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::link::{LinkEvent, LinkEvents, Outgoing};
    use crate::bus::memory::Hub;
    use crate::cluster::dialect::{DecodeError, EncodeError, Inbound, Outbound};
    use crate::cluster::namespaces::ROUNDS_TO_RELEASE;
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
        let message = Outgoing::new(Channel::from("/"), Bytes::from_static(b"x"));
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
