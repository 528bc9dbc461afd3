//! The handle to the bus on Redis, and the start of the two tasks behind it.

use std::sync::Arc;

use tokio::task::AbortHandle;

use super::backoff::Backoff;
use super::health::Health;
use super::hearing::Hearing;
use super::losses::Losses;
use super::publisher::Publisher;
use super::queue::Queue;
use super::settings::RedisSettings;
use super::subscriber::{Subscriber, Wanted};
use crate::bridge::link::{
    Channel, Link, LinkDown, LinkEvent, LinkEventSender, LinkEvents, Outgoing, Receivers,
    link_events,
};
use crate::model::Random;

/// A member of the bus on Redis. When it is dropped it hears nothing more, says what is queued
/// if Redis is there, and is gone.
#[derive(Debug)]
pub struct RedisLink {
    queue: Arc<Queue>,
    wanted: Arc<Wanted>,
    events: LinkEventSender,
    subscriber: AbortHandle,
}

impl RedisLink {
    /// Starts the link on the current tokio runtime. Never fails: Redis may come later.
    pub fn start(settings: RedisSettings, random: Arc<dyn Random>) -> (Arc<Self>, LinkEvents) {
        let settings = Arc::new(settings);
        let (events, receiver) = link_events(settings.event_bytes);
        let queue = Arc::new(Queue::new(settings.spool, settings.queue_bytes));
        let wanted = Arc::new(Wanted::new(settings.linger));
        let health = Arc::new(Health::new(events.clone(), settings.address()));
        let own = own_channel(&settings, &*random);
        wanted.lock().want(vec![own.clone()]);
        let subscriber = Subscriber {
            settings: Arc::clone(&settings),
            wanted: Arc::clone(&wanted),
            queue: Arc::clone(&queue),
            health: Arc::clone(&health),
            events: events.clone(),
            backoff: Backoff::new(Arc::clone(&random)),
            hearing: Hearing::new(own, settings.ping_misses),
        };
        let publisher = Publisher {
            settings,
            queue: Arc::clone(&queue),
            health,
            losses: Losses::new(events.clone()),
            backoff: Backoff::new(random),
        };
        tokio::spawn(publisher.run());
        let link = Self {
            queue,
            wanted,
            events,
            subscriber: tokio::spawn(subscriber.run()).abort_handle(),
        };
        (Arc::new(link), receiver)
    }
}

/// A channel nobody else knows, for pings to oneself.
fn own_channel(settings: &RedisSettings, random: &dyn Random) -> Channel {
    let mut name = [0; 16];
    random.fill(&mut name);
    let name = u128::from_le_bytes(name);
    Channel::from(format!("{}:ping:{name:032x}", settings.channel_prefix))
}

impl Link for RedisLink {
    fn publish(&self, batch: Vec<Outgoing>) {
        self.queue.push(batch);
    }

    fn publish_counted(&self, message: Outgoing) -> Receivers {
        let receivers = self.queue.push_counted(message);
        Box::pin(async move { receivers.await.unwrap_or(Err(LinkDown)) })
    }

    fn subscribe(&self, channels: Vec<Channel>) {
        let standing = self.wanted.lock().want(channels);
        if !standing.is_empty() {
            let _gone = self.events.push(LinkEvent::Subscribed(standing));
        }
        self.wanted.changed.notify_one();
    }

    fn unsubscribe(&self, channels: Vec<Channel>) {
        let now = tokio::time::Instant::now();
        self.wanted.lock().give_up(channels, now);
        self.wanted.changed.notify_one();
    }
}

impl Drop for RedisLink {
    fn drop(&mut self) {
        self.subscriber.abort();
        self.queue.close();
    }
}
