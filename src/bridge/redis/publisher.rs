//! The publishing connection: everything queued goes out as one pipeline, one pipeline at a time.
//!
//! A pipeline that fails is sent once more on a fresh connection, so a connection that died
//! unnoticed costs nothing; if Redis had taken part of it before, that part arrives twice.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep, timeout};

use super::backoff::{Backoff, LONGEST_PAUSE};
use super::health::{Half, Health};
use super::queue::{Batch, Queue};
use super::settings::RedisSettings;
use crate::bridge::link::{LinkEvent, LinkEventSender};
use crate::bridge::spool::Dropped;

/// Bounds the memory of one pipeline, which copies its messages.
const PIPELINE_BYTES: usize = 1024 * 1024;
/// A burst of dropped messages is logged once in this time.
const DROP_LOG_INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct Publisher {
    pub(super) settings: Arc<RedisSettings>,
    pub(super) queue: Arc<Queue>,
    pub(super) health: Arc<Health>,
    pub(super) events: LinkEventSender,
    pub(super) backoff: Backoff,
    pub(super) unlogged: Dropped,
    pub(super) last_log: Option<Instant>,
}

impl Publisher {
    /// Runs until the link's handle is gone and all is said, or Redis is away then.
    pub(super) async fn run(mut self) {
        loop {
            let failure = match self.settings.connect().await {
                Ok(connection) => {
                    self.backoff.reset();
                    self.let_others_return().await;
                    self.queue.connected();
                    self.report_dropped(true);
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
            self.report_dropped(false);
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
                Ok(counts) => settle(batch, counts),
                Err(error) => {
                    self.queue.restore(batch);
                    return Err(error);
                }
            }
            self.report_dropped(false);
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
    ) -> RedisResult<Vec<u64>> {
        if let Ok(counts) = publish(connection, batch).await {
            return Ok(counts);
        }
        *connection = self.settings.connect().await?;
        publish(connection, batch).await
    }

    fn report_dropped(&mut self, burst_is_over: bool) {
        if let Some(dropped) = self.queue.take_dropped() {
            self.unlogged.messages += dropped.messages;
            self.unlogged.bytes += dropped.bytes;
            let _gone = self.events.push(LinkEvent::SpoolDropped {
                messages: dropped.messages,
                bytes: dropped.bytes,
            });
        }
        let logged_lately = self
            .last_log
            .is_some_and(|last| last.elapsed() < DROP_LOG_INTERVAL);
        if self.unlogged.messages == 0 || (logged_lately && !burst_is_over) {
            return;
        }
        let Dropped { messages, bytes } = std::mem::take(&mut self.unlogged);
        self.last_log = Some(Instant::now());
        log::warn!("messages to other nodes were dropped messages={messages} bytes={bytes}");
    }
}

async fn publish(connection: &mut MultiplexedConnection, batch: &Batch) -> RedisResult<Vec<u64>> {
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    for (_, waiting) in batch {
        pipeline
            .cmd("PUBLISH")
            .arg(waiting.message.channel.as_str())
            .arg(&*waiting.message.payload);
    }
    pipeline.query_async(connection).await
}

fn settle(batch: Batch, counts: Vec<u64>) {
    for ((_, waiting), count) in batch.into_iter().zip(counts) {
        if let Some(receiver) = waiting.count {
            let _nobody_waits = receiver.send(Ok(count));
        }
    }
}
