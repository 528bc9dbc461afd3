//! The publishing connection: everything queued goes out as one pipeline, one pipeline at a time.
//!
//! A pipeline that fails is sent once more on a fresh connection, so a connection that died
//! unnoticed costs nothing; if Redis had taken part of it before, that part arrives twice.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::address::Address;
use super::backoff::{Backoff, LONGEST_PAUSE};
use super::common::Common;
use super::error::ConnectionError;
use super::error_hints::advised;
use super::health::{MemberId, Part};
use super::losses::Losses;
use super::queue::{Batch, Queue};
use super::sentinel::Target;
use crate::bus::link::LinkDown;
use crate::bus::spool::Dropped;

/// Bounds the memory of one pipeline, which copies its messages.
const PIPELINE_BYTES: usize = 1024 * 1024;
/// Receivers reached, or why Redis refused, for each message of a batch.
type Outcomes = Vec<RedisResult<u64>>;

pub(super) struct Publisher {
    pub(super) common: Common,
    pub(super) id: MemberId,
    pub(super) target: Arc<Target>,
    pub(super) queue: Arc<Queue>,
    /// Held while a batch is on its way.
    pub(super) turn: Arc<Mutex<()>>,
    pub(super) losses: Losses,
    pub(super) backoff: Backoff,
    /// When the server was last verified to be a master.
    pub(super) verified: Instant,
}

impl Publisher {
    /// Runs until the link's handle is gone and all is said, or Redis is away then.
    pub(super) async fn run(mut self) {
        loop {
            let failure = match self.connect().await {
                Ok((address, connection)) => {
                    self.let_others_return().await;
                    self.verified = Instant::now();
                    self.queue.connected();
                    self.note_dropped();
                    self.losses.flush();
                    self.common.health.found(Part::Publisher(self.id));
                    match self.serve(&address, connection).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.queue.disconnected();
            let reason = failure.advised();
            self.common.health.lost(Part::Publisher(self.id), &reason);
            if matches!(failure, ConnectionError::Replica(_)) {
                self.target.demoted();
            }
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

    async fn connect(&self) -> Result<(Address, MultiplexedConnection), ConnectionError> {
        let settings = &self.common.settings;
        let address = self.target.locate(settings).await?;
        let connection = settings.connect(&address).await?;
        Ok((address, connection))
    }

    /// Publishes until the queue is closed and empty.
    async fn serve(
        &mut self,
        address: &Address,
        mut connection: MultiplexedConnection,
    ) -> Result<(), ConnectionError> {
        let target = Arc::clone(&self.target);
        let queue = Arc::clone(&self.queue);
        loop {
            let next = tokio::select! {
                next = timeout(self.common.settings.idle_interval, queue.next_turn()) => next,
                reason = target.left(address) => return Err(reason),
            };
            let Ok(there_is_more) = next else {
                self.prove(address, &mut connection).await?;
                continue;
            };
            if !there_is_more {
                return Ok(());
            }
            let turn = Arc::clone(&self.turn);
            let turn = turn.lock().await;
            let batch = queue.take_batch(PIPELINE_BYTES);
            let published = match self.publish_twice(address, &mut connection, &batch).await {
                Ok(outcomes) => self
                    .verify_in_time(address, &mut connection)
                    .await
                    .map(|()| outcomes),
                Err(error) => Err(error),
            };
            let misplaced = match published {
                Ok(outcomes) => self.settle(batch, outcomes),
                Err(error) => {
                    queue.restore(batch);
                    return Err(error);
                }
            };
            drop(turn);
            self.note_dropped();
            if misplaced {
                self.ask_for_owners().await;
            } else {
                self.backoff.reset();
            }
        }
    }

    /// Keeps a connection alive that firewalls and servers might cut for idleness.
    async fn prove(
        &self,
        address: &Address,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), ConnectionError> {
        let settings = &self.common.settings;
        match settings.verify(connection, address).await {
            Err(ConnectionError::Redis(_)) => *connection = settings.connect(address).await?,
            verified => verified?,
        }
        Ok(())
    }

    /// Verifies at about every ping that the server is still the master: after a failover a demoted server still
    /// accepts messages, which reach no node that follows the new master. If it was demoted, the current batch is put
    /// back and published to the new master.
    async fn verify_in_time(
        &mut self,
        address: &Address,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), ConnectionError> {
        let settings = &self.common.settings;
        if !settings.needs_master() || self.verified.elapsed() < settings.ping_interval / 2 {
            return Ok(());
        }
        self.verified = Instant::now();
        match settings.verify(connection, address).await {
            // The messages were sent; a connection that broke after them is noticed with the next batch.
            Err(ConnectionError::Redis(_)) => Ok(()),
            verified => verified,
        }
    }

    async fn publish_twice(
        &self,
        address: &Address,
        connection: &mut MultiplexedConnection,
        batch: &Batch,
    ) -> Result<Outcomes, ConnectionError> {
        if let Ok(outcomes) = self.publish(connection, batch).await {
            return Ok(outcomes);
        }
        *connection = self.common.settings.connect(address).await?;
        Ok(self.publish(connection, batch).await?)
    }

    async fn publish(
        &self,
        connection: &mut MultiplexedConnection,
        batch: &Batch,
    ) -> RedisResult<Outcomes> {
        let mut pipeline = redis::Pipeline::with_capacity(batch.len());
        pipeline.ignore_errors();
        for (_, waiting) in batch {
            let channel = waiting.message.channel.as_str();
            let is_sharded = self.common.is_sharded(channel);
            pipeline
                .cmd(if is_sharded { "SPUBLISH" } else { "PUBLISH" })
                .arg(channel)
                .arg(&*waiting.message.body());
        }
        let outcomes: Outcomes = pipeline.query_async(connection).await?;
        let none_passed = outcomes.iter().all(RedisResult::is_err);
        match outcomes.first() {
            Some(Err(error)) if none_passed && will_pass_later(error) => Err(error.clone()),
            _ => Ok(outcomes),
        }
    }

    /// Answers who counts. What Redis refuses (by its access list) is lost, and only that. What belongs to another
    /// master is put back; returns whether there was any.
    fn settle(&mut self, batch: Batch, outcomes: Outcomes) -> bool {
        let mut refused = Dropped::default();
        let mut reason = None;
        let mut misplaced = Vec::new();
        for ((since, waiting), outcome) in batch.into_iter().zip(outcomes) {
            if self.common.refresh.is_some() && outcome.as_ref().is_err_and(belongs_elsewhere) {
                misplaced.push((since, waiting));
                continue;
            }
            let outcome = outcome.map_err(|error| {
                refused.messages += 1;
                refused.bytes += waiting.message.cost() as u64;
                reason.get_or_insert_with(|| format!("{}: {error}", waiting.message.channel));
                LinkDown
            });
            if let Some(count) = waiting.count {
                let _nobody_waits = count.send(outcome);
            }
        }
        if let Some(reason) = reason {
            self.losses.add(refused, &advised(&reason));
        }
        let is_any = !misplaced.is_empty();
        if is_any {
            self.queue.restore(misplaced);
        }
        is_any
    }

    /// Messages of slots that moved wait here until they are moved too.
    async fn ask_for_owners(&mut self) {
        if let Some(refresh) = &self.common.refresh {
            refresh.notify_one();
        }
        sleep(self.backoff.pause()).await;
    }

    fn note_dropped(&mut self) {
        if let Some(dropped) = self.queue.take_dropped() {
            self.losses.add(dropped, "too much or too old");
        }
    }
}

/// The slot is another master's, or about to be.
fn belongs_elsewhere(error: &RedisError) -> bool {
    use redis::ServerErrorKind::{Ask, ClusterDown, Moved, TryAgain};
    matches!(
        error.kind(),
        ErrorKind::Server(Ask | ClusterDown | Moved | TryAgain)
    )
}

/// The server is there but not ready.
fn will_pass_later(error: &RedisError) -> bool {
    use redis::ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, TryAgain};
    matches!(
        error.kind(),
        ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | TryAgain)
    )
}
