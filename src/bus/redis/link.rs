//! The handle to the bus on Redis, and the start of the tasks behind it.

use std::fmt;
use std::sync::Arc;

use super::cluster::Cluster;
use super::common::Common;
use super::health::Health;
use super::member::Member;
use super::sentinel::Target;
use super::settings::{Place, RedisSettings};
use crate::bus::link::{
    Channel, Link, LinkDown, LinkEvent, LinkEventSender, LinkEvents, Outgoing, Receivers,
    link_events,
};
use crate::model::Random;

/// A member of the bus on Redis. When it is dropped it hears nothing more, says what is queued
/// if Redis is there, and is gone.
pub struct RedisLink {
    way: Way,
    events: LinkEventSender,
}

/// To whom a channel belongs.
enum Way {
    One(Member),
    BySlot(Cluster),
}

impl RedisLink {
    /// Starts the link on the current tokio runtime. Never fails: Redis may come later.
    pub fn start(settings: RedisSettings, random: Arc<dyn Random>) -> (Arc<Self>, LinkEvents) {
        let (events, receiver) = link_events(settings.event_bytes);
        let common = Common {
            health: Arc::new(Health::new(events.clone(), settings.address())),
            settings: Arc::new(settings),
            events: events.clone(),
            random,
            refresh: None,
        };
        let one = |target| Way::One(Member::start(&common, target, common.own_channel(), 0));
        let way = match common.settings.place().clone() {
            Place::Single(address) => one(Target::fixed(address)),
            Place::Sentinel(sentinels) => one(Target::by_sentinel(sentinels)),
            Place::Cluster(seed) => Way::BySlot(Cluster::start(common, seed)),
        };
        (Arc::new(Self { way, events }), receiver)
    }
}

impl Link for RedisLink {
    fn publish(&self, batch: Vec<Outgoing>) {
        match &self.way {
            Way::One(member) => member.queue.push(batch),
            Way::BySlot(cluster) => cluster.publish(batch),
        }
    }

    fn publish_counted(&self, message: Outgoing) -> Receivers {
        let receivers = match &self.way {
            Way::One(member) => member.queue.push_counted(message),
            Way::BySlot(cluster) => cluster.publish_counted(message),
        };
        Box::pin(async move { receivers.await.unwrap_or(Err(LinkDown)) })
    }

    fn subscribe(&self, channels: Vec<Channel>) {
        let standing = match &self.way {
            Way::One(member) => member.wanted.want(channels),
            Way::BySlot(cluster) => cluster.want(channels),
        };
        if !standing.is_empty() {
            let _gone = self.events.push(LinkEvent::Subscribed(standing));
        }
    }

    fn unsubscribe(&self, channels: Vec<Channel>) {
        match &self.way {
            Way::One(member) => member.wanted.give_up(channels),
            Way::BySlot(cluster) => cluster.give_up(channels),
        }
    }
}

impl fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLink").finish_non_exhaustive()
    }
}
