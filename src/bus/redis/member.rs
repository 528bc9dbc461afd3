//! One server a link talks to: what waits for it, what is wanted from it, and the tasks of both.
//!
//! A single Redis has one member, a Redis Cluster one for each master.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::common::Common;
use super::desired_channels::Wanted;
use super::health::{Health, MemberId, Part};
use super::publisher::Publisher;
use super::queue::Queue;
use super::sentinel::Target;
use super::subscriber::Subscriber;
use super::subscription_health::Hearing;
use crate::bus::link::Channel;

/// Its tasks end with it: what is queued is said if the server is there.
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) queue: Arc<Queue>,
    pub(super) wanted: Arc<Wanted>,
    /// Held while messages are on their way to the server.
    pub(super) turn: Arc<Mutex<()>>,
    /// The channel of its pings.
    pub(super) own: Channel,
    health: Arc<Health>,
    tasks: Vec<AbortHandle>,
}

impl Member {
    /// Starts the tasks of a server on the current tokio runtime.
    pub(super) fn start(common: &Common, target: Target, own: Channel, id: MemberId) -> Self {
        let settings = &common.settings;
        let queue = Arc::new(Queue::new(settings.spool, settings.queue_bytes));
        let wanted = Arc::new(Wanted::new(settings.linger));
        let target = Arc::new(target);
        let turn = Arc::new(Mutex::new(()));
        wanted.lock().want(vec![own.clone()]);
        common.health.expect(Part::Publisher(id));
        common.health.expect(Part::Subscriber(id));
        let publisher = Publisher {
            common: common.clone(),
            id,
            target: Arc::clone(&target),
            queue: Arc::clone(&queue),
            turn: Arc::clone(&turn),
            losses: common.losses(),
            backoff: Backoff::new(Arc::clone(&common.random)),
            verified: Instant::now(),
        };
        let subscriber = Subscriber {
            common: common.clone(),
            id,
            target: Arc::clone(&target),
            wanted: Arc::clone(&wanted),
            queue: Arc::clone(&queue),
            backoff: Backoff::new(Arc::clone(&common.random)),
            hearing: Hearing::new(own.clone(), settings.ping_misses),
        };
        // Ends by itself, when all is said.
        tokio::spawn(publisher.run());
        let mut tasks = vec![tokio::spawn(subscriber.run()).abort_handle()];
        if matches!(*target, Target::Sentinel(..)) {
            let settings = Arc::clone(settings);
            let watch = async move { target.watch(&settings).await };
            tasks.push(tokio::spawn(watch).abort_handle());
        }
        Self {
            id,
            queue,
            wanted,
            turn,
            own,
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
        self.health.forget(self.id);
    }
}
