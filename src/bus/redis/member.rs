//! A server of a link: its queue, its desired channels, and the tasks of its connections.
//!
//! A single Redis has one member, a Redis Cluster one for each master.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::common::Common;
use super::desired_channels::DesiredChannels;
use super::health::{Component, LinkHealth, MemberId};
use super::publisher::PublishTask;
use super::queue::PublishQueue;
use super::sentinel::ServerLocator;
use super::subscriber::SubscribeTask;
use super::subscription_health::SubscriptionHealth;
use crate::bus::link::Channel;

/// Dropping it stops its tasks; the publisher first sends what is queued, if the server is reachable.
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) queue: Arc<PublishQueue>,
    pub(super) desired: Arc<DesiredChannels>,
    /// Locked while a batch is being published to the server.
    pub(super) in_flight: Arc<Mutex<()>>,
    /// The channel of its pings.
    pub(super) ping_channel: Channel,
    health: Arc<LinkHealth>,
    tasks: Vec<AbortHandle>,
}

impl Member {
    /// Starts the tasks of a server on the current tokio runtime.
    pub(super) fn start(
        common: &Common,
        target: ServerLocator,
        ping_channel: Channel,
        id: MemberId,
    ) -> Self {
        let settings = &common.settings;
        let queue = Arc::new(PublishQueue::new(settings.spool, settings.queue_bytes));
        let desired = Arc::new(DesiredChannels::new(settings.linger));
        let target = Arc::new(target);
        let in_flight = Arc::new(Mutex::new(()));
        desired.lock().subscribe(vec![ping_channel.clone()]);
        common.health.register(Component::Publisher(id));
        common.health.register(Component::Subscriber(id));
        let publisher = PublishTask {
            common: common.clone(),
            id,
            target: Arc::clone(&target),
            queue: Arc::clone(&queue),
            in_flight: Arc::clone(&in_flight),
            losses: common.losses(),
            backoff: Backoff::new(Arc::clone(&common.random)),
            verified: Instant::now(),
        };
        let subscriber = SubscribeTask {
            common: common.clone(),
            id,
            target: Arc::clone(&target),
            desired: Arc::clone(&desired),
            queue: Arc::clone(&queue),
            backoff: Backoff::new(Arc::clone(&common.random)),
            subscription_health: SubscriptionHealth::new(
                ping_channel.clone(),
                settings.ping_misses,
            ),
        };
        // Not aborted on drop: ends once the queue is closed and empty.
        tokio::spawn(publisher.run());
        let mut tasks = vec![tokio::spawn(subscriber.run()).abort_handle()];
        if matches!(*target, ServerLocator::Sentinel(..)) {
            let settings = Arc::clone(settings);
            let watch = async move { target.watch(&settings).await };
            tasks.push(tokio::spawn(watch).abort_handle());
        }
        Self {
            id,
            queue,
            desired,
            in_flight,
            ping_channel,
            health: Arc::clone(&common.health),
            tasks,
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.queue.close();
        self.health.remove_member(self.id);
    }
}
