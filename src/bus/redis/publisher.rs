//! The publishing connection: sends the queued messages in pipelines, one at a time.
//!
//! A pipeline that fails is retried once on a new connection, so a stale connection loses nothing. If Redis had already
//! executed a part of the pipeline, that part is delivered twice.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::address::Address;
use super::append;
use super::backoff::{Backoff, LONGEST_PAUSE};
use super::common::Common;
use super::error::ConnectionError;
use super::error_hints::with_hint;
use super::health::{Component, MemberId};
use super::losses::Losses;
use super::queue::{Batch, PublishQueue, QueuedMessage};
use super::sentinel::ServerLocator;
use crate::bus::entry;
use crate::bus::link::{LinkDown, LinkEvent, LinkEventSender, LogAppend, Outgoing};
use crate::bus::spool::Dropped;
use crate::history::LogName;
use crate::logging::Burst;
use crate::model::Epoch;

/// Size limit of a pipeline in bytes, which holds copies of its messages.
const PIPELINE_BYTES: usize = 1024 * 1024;
/// The response or error of Redis for each message of a batch: the number of receivers, or for messages with logs what
/// `append` describes.
type Outcomes = Vec<RedisResult<Value>>;

pub(super) struct PublishTask {
    pub(super) common: Common,
    pub(super) id: MemberId,
    pub(super) target: Arc<ServerLocator>,
    pub(super) queue: Arc<PublishQueue>,
    /// Locked while a batch is being published.
    pub(super) in_flight: Arc<Mutex<()>>,
    pub(super) losses: Losses,
    pub(super) backoff: Backoff,
    /// When the server was last verified to be a master.
    pub(super) verified: Instant,
}

impl PublishTask {
    /// Runs until the link is dropped and the queue is empty, or Redis is unreachable after the drop.
    pub(super) async fn run(mut self) {
        loop {
            let failure = match self.connect().await {
                Ok((address, connection)) => {
                    self.wait_for_other_nodes().await;
                    self.verified = Instant::now();
                    self.queue.connected();
                    self.report_dropped();
                    report_lost(&self.common.events, self.queue.take_dropped_logs());
                    self.losses.flush();
                    self.common.health.mark_up(Component::Publisher(self.id));
                    match self.serve(&address, connection).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.queue.disconnected();
            let reason = failure.with_hint();
            self.common
                .health
                .mark_down(Component::Publisher(self.id), &reason);
            if matches!(failure, ConnectionError::Replica(_)) {
                self.target.report_replica();
            }
            if self.queue.is_closed() {
                return;
            }
            sleep(self.backoff.pause()).await;
            self.queue.expire();
            self.report_dropped();
        }
    }

    /// Holds spooled messages back until the other nodes, whose backoff is at most as long, have reconnected too.
    async fn wait_for_other_nodes(&self) {
        if !self.queue.is_empty() {
            sleep(LONGEST_PAUSE).await;
        }
    }

    async fn connect(&self) -> Result<(Address, MultiplexedConnection), ConnectionError> {
        let settings = &self.common.settings;
        let address = self.target.locate(settings).await?;
        let connection = self.open(&address).await?;
        Ok((address, connection))
    }

    /// A new connection. The server may have been replaced or restarted: reports logs that it has only in part.
    async fn open(&self, address: &Address) -> Result<MultiplexedConnection, ConnectionError> {
        let Common {
            settings,
            appender,
            recent,
            events,
            ..
        } = &self.common;
        let mut connection = settings.connect(address).await?;
        if let Some(sender) = recent.sender() {
            // Fails on the servers of a Redis Cluster that do not have the logs.
            let last = appender.last_sequence(sender);
            if let Ok(last) = last.query_async(&mut connection).await {
                report_lost(events, recent.take_lost(last));
            }
        }
        Ok(connection)
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
                next = timeout(self.common.settings.idle_interval, queue.ready()) => next,
                reason = target.moved(address) => return Err(reason),
            };
            let Ok(has_messages) = next else {
                self.keep_alive(address, &mut connection).await?;
                continue;
            };
            if !has_messages {
                return Ok(());
            }
            let in_flight = Arc::clone(&self.in_flight);
            let in_flight = in_flight.lock().await;
            let mut batch = queue.take_batch(PIPELINE_BYTES);
            let published = match self
                .publish_with_retry(address, &mut connection, &mut batch)
                .await
            {
                Ok(outcomes) => {
                    let verified = self.verify_role(address, &mut connection).await;
                    if verified.is_err() {
                        mark_attempted(&mut batch);
                    }
                    verified.map(|()| outcomes)
                }
                Err(error) => Err(error),
            };
            let redirected = match published {
                Ok(outcomes) => self.complete(batch, outcomes),
                Err(error) => {
                    queue.restore(batch);
                    return Err(error);
                }
            };
            drop(in_flight);
            self.report_dropped();
            report_lost(&self.common.events, queue.take_dropped_logs());
            if redirected {
                self.refresh_slots().await;
            } else {
                self.backoff.reset();
            }
        }
    }

    /// Pings an idle connection, so that no firewall or server closes it.
    async fn keep_alive(
        &self,
        address: &Address,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), ConnectionError> {
        let settings = &self.common.settings;
        match settings.verify(connection, address).await {
            Err(ConnectionError::Redis(_)) => *connection = self.open(address).await?,
            verified => verified?,
        }
        Ok(())
    }

    /// Verifies about once per ping interval that the server is still the master: after a failover, a demoted server
    /// accepts messages that never reach nodes connected to the new master. If it was demoted, the current batch
    /// returns to the queue and is published to the new master.
    async fn verify_role(
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
            // The messages were published; if the connection broke after that, the next batch fails.
            Err(ConnectionError::Redis(_)) => Ok(()),
            verified => verified,
        }
    }

    async fn publish_with_retry(
        &self,
        address: &Address,
        connection: &mut MultiplexedConnection,
        batch: &mut Batch,
    ) -> Result<Outcomes, ConnectionError> {
        if let Ok(outcomes) = self.publish(connection, batch).await {
            return Ok(outcomes);
        }
        *connection = self.open(address).await?;
        Ok(self.publish(connection, batch).await?)
    }

    async fn publish(
        &self,
        connection: &mut MultiplexedConnection,
        batch: &mut Batch,
    ) -> RedisResult<Outcomes> {
        let mut pipeline = redis::Pipeline::with_capacity(batch.len());
        pipeline.ignore_errors();
        let mut new_epoch = None;
        for (_, queued) in &*batch {
            if let Some(log) = &queued.message.log {
                let is_first = new_epoch.is_none();
                let epoch = *new_epoch.get_or_insert_with(|| Epoch::random(&*self.common.random));
                let appender = &self.common.appender;
                appender.add(&mut pipeline, queued, log, epoch, is_first);
                continue;
            }
            if queued.only_counts {
                let channel = queued.message.channel.as_str();
                pipeline.cmd("PUBSUB").arg("NUMSUB").arg(channel);
                continue;
            }
            self.add_message(&mut pipeline, queued);
        }
        let outcomes: RedisResult<Outcomes> = pipeline.query_async(connection).await;
        let outcomes = outcomes.inspect_err(|_| mark_attempted(batch))?;
        let all_failed = outcomes.iter().all(RedisResult::is_err);
        match outcomes.first() {
            Some(Err(error)) if all_failed && is_transient(error) => Err(error.clone()),
            _ => Ok(outcomes),
        }
    }

    /// Adds the command for a message without logs.
    fn add_message(&self, pipeline: &mut redis::Pipeline, queued: &QueuedMessage) {
        let message = &queued.message;
        let (channel, body) = (message.channel.as_str(), message.body());
        let streams = &self.common.settings.streams;
        if streams.contains(channel) {
            pipeline.cmd("XADD").arg(channel);
            pipeline.arg("MAXLEN").arg("~").arg(streams.length).arg("*");
            for part in entry::parts(&body).unwrap_or_default() {
                pipeline.arg(&*part);
            }
            if queued.was_attempted {
                pipeline.arg(entry::AGAIN).arg("1");
            }
            return;
        }
        let is_sharded = self.common.is_sharded(channel);
        pipeline
            .cmd(if is_sharded { "SPUBLISH" } else { "PUBLISH" })
            .arg(channel)
            .arg(&*body);
    }

    /// Reports the number of receivers where requested. Messages that Redis rejects, for example by its ACL, are
    /// dropped. Messages of slots that moved return to the queue; returns whether there were any.
    fn complete(&mut self, batch: Batch, outcomes: Outcomes) -> bool {
        let mut rejected = Dropped::default();
        let mut reason = None;
        let mut redirected = Vec::new();
        for ((since, queued), outcome) in batch.into_iter().zip(outcomes) {
            if queued.only_counts {
                count_subscribers(queued, outcome);
                continue;
            }
            if self.common.refresh.is_some() && outcome.as_ref().is_err_and(is_redirect) {
                redirected.push((since, queued));
                continue;
            }
            if let (Ok(response), Some(log)) = (&outcome, &queued.message.log) {
                self.common.recent.acknowledge(log);
                self.publish_appended(&queued.message, log, response);
            }
            let outcome = outcome.map(receivers).map_err(|error| {
                rejected.messages += 1;
                rejected.bytes += queued.message.cost() as u64;
                reason.get_or_insert_with(|| format!("{}: {error}", queued.message.channel));
                LinkDown
            });
            if let Some(count) = queued.count {
                let _receiver_dropped = count.send(outcome);
            }
        }
        if let Some(reason) = reason {
            self.losses.add(rejected, &with_hint(&reason));
        }
        let any_redirected = !redirected.is_empty();
        if any_redirected {
            self.queue.restore(redirected);
        }
        any_redirected
    }

    /// In a Redis Cluster: publishes a message that was appended to its logs.
    fn publish_appended(&self, message: &Outgoing, log: &LogAppend, response: &Value) {
        let Some(appended) = &self.common.appended else {
            return;
        };
        for message in append::to_publish(message, log, response) {
            let _link_dropped = appended.send(message);
        }
    }

    /// Requests a new slot map. Until then, messages of slots that moved stay in this queue.
    async fn refresh_slots(&mut self) {
        if let Some(refresh) = &self.common.refresh {
            refresh.notify_one();
        }
        sleep(self.backoff.pause()).await;
    }

    fn report_dropped(&mut self) {
        if let Some(dropped) = self.queue.take_dropped() {
            self.losses
                .add(dropped, "the queue is full or the messages are too old");
        }
    }
}

/// Records that Redis may have executed the commands of a batch. What it rejected, it has not executed.
fn mark_attempted(batch: &mut Batch) {
    for (_, queued) in batch {
        queued.was_attempted = true;
    }
}

/// Reports logs that lack messages.
fn report_lost(events: &LinkEventSender, logs: Vec<LogName>) {
    if !logs.is_empty() {
        let _consumer_gone = events.push(LinkEvent::EventsLost(logs));
    }
}

/// The number in a response to `PUBLISH`, or in one to `PUBSUB NUMSUB`, where it follows the name of the channel.
fn receivers(response: Value) -> u64 {
    match response {
        Value::Int(receivers) => u64::try_from(receivers).unwrap_or(0),
        Value::Array(mut counts) => counts.pop().map_or(0, receivers),
        Value::Map(mut counts) => counts.pop().map_or(0, |(_, count)| receivers(count)),
        _ => 0,
    }
}

/// Reports the number of subscribers at this server; if Redis rejects the request, a number that is never reached, so
/// that the call or query ends by its timeout.
fn count_subscribers(queued: QueuedMessage, outcome: RedisResult<Value>) {
    let subscribers = outcome.map_or_else(
        |error| {
            static BURST: Burst = Burst::new();
            if let Some(others) = BURST.note() {
                let channel = &queued.message.channel;
                log::warn!(channel:%, error:%, others; "subscribers cannot be counted: calls and queries end by their timeout");
            }
            u64::from(u32::MAX)
        },
        receivers,
    );
    if let Some(count) = queued.count {
        let _receiver_dropped = count.send(Ok(subscribers));
    }
}

/// The slot belongs to another master, or is being moved.
fn is_redirect(error: &RedisError) -> bool {
    use redis::ServerErrorKind::{Ask, ClusterDown, Moved, TryAgain};
    matches!(
        error.kind(),
        ErrorKind::Server(Ask | ClusterDown | Moved | TryAgain)
    )
}

/// The server responds but is not ready.
fn is_transient(error: &RedisError) -> bool {
    use redis::ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, TryAgain};
    matches!(
        error.kind(),
        ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | TryAgain)
    )
}
