//! The publishing connection: everything queued goes out as one pipeline, one pipeline at a time.
//!
//! A pipeline that fails is sent once more on a fresh connection, so a connection that died
//! unnoticed costs nothing; if Redis had taken part of it before, that part arrives twice.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult};
use tokio::time::{sleep, timeout};

use super::backoff::{Backoff, LONGEST_PAUSE};
use super::health::{Half, Health};
use super::losses::Losses;
use super::queue::{Batch, Queue};
use super::settings::RedisSettings;
use crate::bridge::link::LinkDown;
use crate::bridge::spool::Dropped;

/// Bounds the memory of one pipeline, which copies its messages.
const PIPELINE_BYTES: usize = 1024 * 1024;
/// Receivers reached, or why Redis refused, for each message of a batch.
type Outcomes = Vec<RedisResult<u64>>;

pub(super) struct Publisher {
    pub(super) settings: Arc<RedisSettings>,
    pub(super) queue: Arc<Queue>,
    pub(super) health: Arc<Health>,
    pub(super) losses: Losses,
    pub(super) backoff: Backoff,
}

impl Publisher {
    /// Runs until the link's handle is gone and all is said, or Redis is away then.
    pub(super) async fn run(mut self) {
        loop {
            let failure = match self.settings.connect().await {
                Ok(connection) => {
                    self.let_others_return().await;
                    self.queue.connected();
                    self.note_dropped();
                    self.losses.flush();
                    self.health.found(Half::Publisher);
                    match self.serve(connection).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.queue.disconnected();
            self.health.lost(Half::Publisher, &failure.to_string());
            if self.queue.is_closed() {
                return;
            }
            sleep(self.backoff.pause()).await;
            self.queue.expire();
            self.note_dropped();
        }
    }

    /// What was spooled waits until the other nodes, who pause up to as long between attempts, hear
    /// it too.
    async fn let_others_return(&self) {
        if !self.queue.is_empty() {
            sleep(LONGEST_PAUSE).await;
        }
    }

    /// Publishes until the queue is closed and empty.
    async fn serve(&mut self, mut connection: MultiplexedConnection) -> RedisResult<()> {
        loop {
            let next = self.queue.next_batch(PIPELINE_BYTES);
            let Ok(next) = timeout(self.settings.idle_interval, next).await else {
                self.prove(&mut connection).await?;
                continue;
            };
            let Some(batch) = next else { return Ok(()) };
            match self.publish_twice(&mut connection, &batch).await {
                Ok(outcomes) => self.settle(batch, outcomes),
                Err(error) => {
                    self.queue.restore(batch);
                    return Err(error);
                }
            }
            self.backoff.reset();
            self.note_dropped();
        }
    }

    /// Keeps a connection alive that firewalls and servers might cut for idleness.
    async fn prove(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let alive: RedisResult<()> = redis::cmd("PING").query_async(connection).await;
        if alive.is_err() {
            *connection = self.settings.connect().await?;
        }
        Ok(())
    }

    async fn publish_twice(
        &self,
        connection: &mut MultiplexedConnection,
        batch: &Batch,
    ) -> RedisResult<Outcomes> {
        if let Ok(outcomes) = publish(connection, batch).await {
            return Ok(outcomes);
        }
        *connection = self.settings.connect().await?;
        publish(connection, batch).await
    }

    /// Answers who counts. What Redis refuses (by its access list) is lost, and only that.
    fn settle(&mut self, batch: Batch, outcomes: Outcomes) {
        let mut refused = Dropped::default();
        let mut reason = None;
        for ((_, waiting), outcome) in batch.into_iter().zip(outcomes) {
            let outcome = outcome.map_err(|error| {
                refused.messages += 1;
                refused.bytes += waiting.message.cost() as u64;
                reason.get_or_insert(error);
                LinkDown
            });
            if let Some(count) = waiting.count {
                let _nobody_waits = count.send(outcome);
            }
        }
        if let Some(reason) = reason {
            self.losses.add(refused, &reason.to_string());
        }
    }

    fn note_dropped(&mut self) {
        if let Some(dropped) = self.queue.take_dropped() {
            self.losses.add(dropped, "too much or too old");
        }
    }
}

async fn publish(connection: &mut MultiplexedConnection, batch: &Batch) -> RedisResult<Outcomes> {
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    pipeline.ignore_errors();
    for (_, waiting) in batch {
        pipeline
            .cmd("PUBLISH")
            .arg(waiting.message.channel.as_str())
            .arg(&*waiting.message.payload);
    }
    let outcomes: Outcomes = pipeline.query_async(connection).await?;
    let none_passed = outcomes.iter().all(RedisResult::is_err);
    match outcomes.first() {
        Some(Err(error)) if none_passed && will_pass_later(error) => Err(error.clone()),
        _ => Ok(outcomes),
    }
}

/// The server is there but not ready.
fn will_pass_later(error: &RedisError) -> bool {
    use redis::ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, TryAgain};
    matches!(
        error.kind(),
        ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | TryAgain)
    )
}
