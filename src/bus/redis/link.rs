//! The handle to the bus on Redis; starts the tasks behind it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::append::Appender;
use super::cluster::Cluster;
use super::common::Common;
use super::health::LinkHealth;
use super::member::Member;
use super::room_logs::{LogKeys, RedisRoomLogs};
use super::sentinel::ServerLocator;
use super::settings::{Endpoints, RedisSettings};
use super::store::RedisStore;
use super::streams::StreamReaders;
use crate::bus::link::{
    Channel, Link, LinkDown, LinkEvent, LinkEventSender, LinkEvents, Outgoing, Receivers,
    link_events,
};
use crate::history::LogReader;
use crate::model::Random;

/// A member of the bus on Redis. Dropping it ends its subscriptions at once; queued messages are still published if
/// Redis is reachable.
pub struct RedisLink {
    settings: Arc<RedisSettings>,
    routing: Routing,
    events: LinkEventSender,
    logs: Arc<RedisRoomLogs>,
    streams: StreamReaders,
}

/// Maps channels to members.
enum Routing {
    Single(Member),
    BySlot(Cluster),
}

impl RedisLink {
    /// Starts the link on the current tokio runtime. Never fails: it connects as soon as Redis is reachable.
    pub fn start(settings: RedisSettings, random: Arc<dyn Random>) -> (Arc<Self>, LinkEvents) {
        let (events, receiver) = link_events(settings.event_bytes);
        let keys = LogKeys::new(&settings.channel_prefix);
        let is_cluster = matches!(settings.endpoints(), Endpoints::Cluster(_));
        let appender = Appender::new(keys, !is_cluster);
        let appender = Arc::new(appender);
        let prefix = settings.channel_prefix.clone();
        let logs = RedisRoomLogs::new(RedisStore::new(settings.clone()), &prefix);
        let common = Common {
            health: Arc::new(LinkHealth::new(events.clone(), settings.address())),
            settings: Arc::new(settings),
            events: events.clone(),
            random,
            refresh: None,
            appender,
            recent: Arc::default(),
            appended: None,
        };
        let streams = StreamReaders::new(
            Arc::clone(&common.settings),
            events.clone(),
            Arc::clone(&common.random),
        );
        let settings = Arc::clone(&common.settings);
        let single = |target| {
            Routing::Single(Member::start(
                &common,
                target,
                common.random_ping_channel(),
                0,
            ))
        };
        let routing = match common.settings.endpoints().clone() {
            Endpoints::Single(address) => single(ServerLocator::fixed(address)),
            Endpoints::Sentinel(sentinels) => single(ServerLocator::by_sentinel(sentinels)),
            Endpoints::Cluster(seed) => Routing::BySlot(Cluster::start(common, seed)),
        };
        let logs = Arc::new(logs);
        let link = Self {
            settings,
            routing,
            events,
            logs,
            streams,
        };
        (Arc::new(link), receiver)
    }
}

impl Link for RedisLink {
    fn publish(&self, batch: Vec<Outgoing>) {
        match &self.routing {
            Routing::Single(member) => member.queue.push(batch),
            Routing::BySlot(cluster) => cluster.publish(batch),
        }
    }

    fn publish_counted(&self, message: Outgoing) -> Receivers {
        match &self.routing {
            Routing::Single(member) => {
                let has_patterns = self.settings.has_patterns(message.channel.as_str());
                let channel = has_patterns.then(|| message.channel.clone());
                let subscribers = channel.map(|channel| member.queue.push_count(channel));
                let published = member.queue.push_counted(message);
                Box::pin(async move {
                    let receivers = published.await.unwrap_or(Err(LinkDown))?;
                    match subscribers {
                        Some(subscribers) => subscribers.await.unwrap_or(Err(LinkDown)),
                        None => Ok(receivers),
                    }
                })
            }
            Routing::BySlot(cluster) => cluster.publish_counted(message),
        }
    }

    fn subscribe(&self, mut channels: Vec<Channel>) {
        self.streams.subscribe(&mut channels);
        let confirmed = match &self.routing {
            Routing::Single(member) => member.desired.subscribe(channels),
            Routing::BySlot(cluster) => cluster.subscribe(channels),
        };
        if !confirmed.is_empty() {
            let _consumer_gone = self.events.push(LinkEvent::Subscribed(confirmed));
        }
    }

    fn unsubscribe(&self, mut channels: Vec<Channel>) {
        self.streams.unsubscribe(&mut channels);
        match &self.routing {
            Routing::Single(member) => member.desired.unsubscribe(channels),
            Routing::BySlot(cluster) => cluster.unsubscribe(channels),
        }
    }

    fn subscribe_patterns(&self, patterns: Vec<Channel>) {
        let confirmed = match &self.routing {
            Routing::Single(member) => member.desired.subscribe_patterns(patterns),
            Routing::BySlot(cluster) => cluster.subscribe_patterns(patterns),
        };
        if !confirmed.is_empty() {
            let _consumer_gone = self.events.push(LinkEvent::PatternsSubscribed(confirmed));
        }
    }

    fn unsubscribe_patterns(&self, patterns: Vec<Channel>) {
        match &self.routing {
            Routing::Single(member) => member.desired.unsubscribe_patterns(patterns),
            Routing::BySlot(cluster) => cluster.unsubscribe_patterns(patterns),
        }
    }

    fn logs(&self) -> Option<Arc<dyn LogReader<Bytes>>> {
        Some(Arc::clone(&self.logs) as _)
    }
}

impl fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLink").finish_non_exhaustive()
    }
}
