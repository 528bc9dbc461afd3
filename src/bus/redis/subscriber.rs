//! The subscribing connection: keeps the desired channels subscribed, forwards messages, pings itself through the bus,
//! and reads no faster than the consumer receives.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until};

use super::address::Address;
use super::backoff::Backoff;
use super::common::Common;
use super::desired_channels::DesiredChannels;
use super::error::ConnectionError;
use super::health::{Component, MemberId};
use super::pending_commands::{PendingCommands, PubSubCommand, PubSubReply};
use super::queue::PublishQueue;
use super::resp::Reply;
use super::sentinel::ServerLocator;
use super::slots::slot;
use super::stream::Connection;
use super::subscription_health::{EchoStatus, SubscriptionHealth};
use crate::bus::link::{Channel, ConsumerGone, LinkEvent};

/// Maximum number of channels per SUBSCRIBE.
const CHUNK: usize = 1000;
/// Shorter payloads are copied, so that a retained message does not retain a whole read buffer.
const COPY_BELOW: usize = 16 * 1024;

pub(super) struct SubscribeTask {
    pub(super) common: Common,
    pub(super) id: MemberId,
    pub(super) target: Arc<ServerLocator>,
    pub(super) desired: Arc<DesiredChannels>,
    pub(super) queue: Arc<PublishQueue>,
    pub(super) backoff: Backoff,
    pub(super) subscription_health: SubscriptionHealth,
}

/// An open connection, its server, and the commands awaiting replies.
struct ActiveConnection {
    connection: Connection,
    address: Address,
    pending_commands: PendingCommands,
}

/// Why a connection ended.
enum Disconnect {
    ConsumerGone,
    Deaf,
    Lost(ConnectionError),
}

impl From<ConnectionError> for Disconnect {
    fn from(error: ConnectionError) -> Self {
        Self::Lost(error)
    }
}

impl From<ConsumerGone> for Disconnect {
    fn from(_: ConsumerGone) -> Self {
        Self::ConsumerGone
    }
}

impl SubscribeTask {
    /// Runs until the consumer is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let end = match self.open().await {
                Ok(mut active) => self.serve(&mut active).await,
                Err(error) => Disconnect::Lost(error),
            };
            self.desired.reset();
            match end {
                Disconnect::ConsumerGone => return,
                Disconnect::Deaf => {
                    log::warn!(
                        address:% = self.common.settings.address();
                        "own pings do not come back through redis, reconnecting"
                    )
                }
                Disconnect::Lost(error) => {
                    let component = Component::Subscriber(self.id);
                    self.common.health.mark_down(component, &error.with_hint());
                    tokio::select! {
                        () = self.common.events.closed() => return,
                        () = sleep(self.backoff.pause()) => {}
                    }
                }
            }
        }
    }

    async fn open(&self) -> Result<ActiveConnection, ConnectionError> {
        let settings = &self.common.settings;
        let address = self.target.locate(settings).await?;
        Ok(ActiveConnection {
            connection: Connection::open(settings, &address).await?,
            address,
            pending_commands: PendingCommands::default(),
        })
    }

    async fn serve(&mut self, active: &mut ActiveConnection) -> Disconnect {
        match self.try_serve(active).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_serve(
        &mut self,
        active: &mut ActiveConnection,
    ) -> Result<std::convert::Infallible, Disconnect> {
        let settings = Arc::clone(&self.common.settings);
        let target = Arc::clone(&self.target);
        let address = active.address.clone();
        let moved = target.moved(&address);
        tokio::pin!(moved);
        let deadline = Instant::now() + settings.response_timeout;
        let mut is_ready = false;
        let mut ping = interval(settings.ping_interval);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.subscribe_unsent(active).await?;
        loop {
            self.process_replies(active).await?;
            if !is_ready && self.desired.is_confirmed() {
                is_ready = true;
                self.on_ready(&mut ping);
            }
            let desired = Arc::clone(&self.desired);
            let expiry = desired.next_expiry();
            tokio::select! {
                read = active.connection.replies.fill() => read.map_err(ConnectionError::from)?,
                () = desired.changed.notified() => self.subscribe_unsent(active).await?,
                () = sleep_until_some(expiry) => self.unsubscribe_expired(active).await?,
                _ = ping.tick(), if is_ready => self.ping()?,
                reason = &mut moved => return Err(reason.into()),
                () = sleep_until(deadline), if !is_ready => {
                    return Err(ConnectionError::Slow(settings.response_timeout).into());
                }
                () = self.common.events.closed() => return Err(Disconnect::ConsumerGone),
            }
        }
    }

    /// Called once every desired channel is subscribed on this connection.
    fn on_ready(&mut self, ping: &mut Interval) {
        self.backoff.reset();
        self.subscription_health.reset();
        ping.reset_immediately();
        self.common.health.mark_up(Component::Subscriber(self.id));
    }

    async fn subscribe_unsent(&self, active: &mut ActiveConnection) -> Result<(), ConnectionError> {
        let channels = self.desired.lock().take_unsent();
        let patterns = self.desired.patterns().take_unsent();
        self.send_chunks(active, PubSubCommand::PatternSubscribe, &patterns)
            .await?;
        self.send(
            active,
            channels,
            PubSubCommand::Subscribe,
            PubSubCommand::ShardedSubscribe,
        )
        .await
    }

    async fn unsubscribe_expired(
        &self,
        active: &mut ActiveConnection,
    ) -> Result<(), ConnectionError> {
        let channels = self.desired.lock().take_expired(Instant::now());
        let patterns = self.desired.patterns().take_expired(Instant::now());
        self.send_chunks(active, PubSubCommand::PatternUnsubscribe, &patterns)
            .await?;
        self.send(
            active,
            channels,
            PubSubCommand::Unsubscribe,
            PubSubCommand::ShardedUnsubscribe,
        )
        .await
    }

    /// Sends commands for plain and for sharded channels. The sharded channels of a command must have the same slot.
    async fn send(
        &self,
        active: &mut ActiveConnection,
        channels: Vec<Channel>,
        plain_command: PubSubCommand,
        sharded_command: PubSubCommand,
    ) -> Result<(), ConnectionError> {
        let is_sharded = |channel: &Channel| self.common.is_sharded(channel.as_str());
        let (mut sharded, plain): (Vec<_>, Vec<_>) = channels.into_iter().partition(is_sharded);
        let slot_of = |channel: &Channel| slot(channel.as_str().as_bytes());
        sharded.sort_by_cached_key(slot_of);
        let by_slot = sharded.chunk_by(|left, right| slot_of(left) == slot_of(right));
        for group in by_slot {
            self.send_chunks(active, sharded_command, group).await?;
        }
        self.send_chunks(active, plain_command, &plain).await
    }

    async fn send_chunks(
        &self,
        active: &mut ActiveConnection,
        kind: PubSubCommand,
        channels: &[Channel],
    ) -> Result<(), ConnectionError> {
        let mut commands = Vec::new();
        for chunk in channels.chunks(CHUNK) {
            let mut command = redis::cmd(kind.name());
            for channel in chunk {
                command.arg(channel.as_str());
            }
            commands.push(command);
            active.pending_commands.sent(kind, chunk);
        }
        active.connection.send(&commands).await
    }

    /// Processes all buffered replies, and reports their confirmations together.
    async fn process_replies(&mut self, active: &mut ActiveConnection) -> Result<(), Disconnect> {
        let mut confirmed = Vec::new();
        loop {
            let reply = active.connection.replies.buffered();
            let Some(reply) = reply.map_err(ConnectionError::from)? else {
                break;
            };
            match reply {
                Reply::Array(parts) => match parts.as_slice() {
                    [kind, channel, payload] if kind == "message" || kind == "smessage" => {
                        // Report confirmations before the messages that follow them.
                        self.report_confirmed(&mut confirmed)?;
                        self.message(channel, payload).await?;
                    }
                    [kind, _, channel, payload] if kind == "pmessage" => {
                        self.report_confirmed(&mut confirmed)?;
                        self.matched(channel, payload).await?;
                    }
                    [kind, pattern, _] if kind == "psubscribe" || kind == "punsubscribe" => {
                        let reply = active.pending_commands.on_reply(kind, &text(pattern));
                        self.apply_pattern(reply, pattern)?;
                    }
                    [kind, channel, _] => {
                        let reply = active.pending_commands.on_reply(kind, &text(channel));
                        let channel = self.apply(reply, channel);
                        confirmed.extend(
                            channel.filter(|name| !self.subscription_health.is_ping_channel(name)),
                        );
                    }
                    _ => {}
                },
                Reply::Error(text) => self.on_error(text, active)?,
                Reply::TooLong(bytes) => {
                    self.common.events.push(LinkEvent::Skipped {
                        bytes: bytes as u64,
                    })?;
                }
                Reply::Text(_) => {}
            }
        }
        self.report_confirmed(&mut confirmed)
    }

    /// Applies a reply about a channel; returns the channel if it is now subscribed and desired.
    fn apply(&self, reply: PubSubReply, channel: &[u8]) -> Option<Channel> {
        match reply {
            PubSubReply::Subscribed => self.desired.lock().confirm(&text(channel)),
            PubSubReply::Revoked => {
                let channel = Channel::from(&*text(channel));
                self.resubscribe(vec![channel]);
                None
            }
            PubSubReply::Unsubscribed | PubSubReply::Other => None,
        }
    }

    /// Applies a reply about a pattern.
    fn apply_pattern(&self, reply: PubSubReply, pattern: &[u8]) -> Result<(), ConsumerGone> {
        if reply == PubSubReply::Subscribed
            && let Some(pattern) = self.desired.patterns().confirm(&text(pattern))
        {
            let confirmed = LinkEvent::PatternsSubscribed(vec![pattern]);
            return self.common.events.push(confirmed);
        }
        Ok(())
    }

    /// An error ends the connection, except for channels whose slot moved to another master, and for patterns, which a
    /// user of Redis may not be allowed to subscribe to.
    fn on_error(&self, text: String, active: &mut ActiveConnection) -> Result<(), ConnectionError> {
        let Some((command, channels)) = active.pending_commands.on_error() else {
            return Err(ConnectionError::Rejected(text));
        };
        if command.is_pattern() {
            let names: Vec<&str> = channels.iter().map(Channel::as_str).collect();
            log::warn!(error:% = text; "redis rejects the patterns {}", names.join(" "));
            let mut patterns = self.desired.patterns();
            patterns.unsubscribe(channels.clone(), Instant::now());
            patterns.resubscribe(channels);
            return Ok(());
        }
        let moves = ["MOVED ", "ASK ", "TRYAGAIN ", "CLUSTERDOWN "];
        if command.is_sharded() && moves.iter().any(|code| text.starts_with(code)) {
            if command.subscribes() {
                self.resubscribe(channels);
            }
            return Ok(());
        }
        let names: Vec<&str> = channels.iter().take(3).map(Channel::as_str).collect();
        let (command, names) = (command.name(), names.join(" "));
        Err(ConnectionError::Rejected(format!(
            "{text} ({command} {names})"
        )))
    }

    /// Schedules channels to be subscribed again once their owner is known.
    fn resubscribe(&self, channels: Vec<Channel>) {
        self.desired.lock().resubscribe(channels);
        if let Some(refresh) = &self.common.refresh {
            refresh.notify_one();
        }
    }

    fn report_confirmed(&self, confirmed: &mut Vec<Channel>) -> Result<(), Disconnect> {
        if confirmed.is_empty() {
            return Ok(());
        }
        let channels = std::mem::take(confirmed);
        Ok(self.common.events.push(LinkEvent::Subscribed(channels))?)
    }

    /// Any message proves that the subscriptions deliver.
    fn note_received(&mut self) {
        if self.subscription_health.received() {
            log::info!("own pings come back through redis again");
            self.common.health.clear_deaf(self.id);
        }
    }

    async fn matched(&mut self, channel: &Bytes, payload: &Bytes) -> Result<(), Disconnect> {
        self.note_received();
        let event = LinkEvent::Matched {
            channel: Channel::from(&*text(channel)),
            payload: detached(payload),
        };
        Ok(self.common.events.send(event).await?)
    }

    async fn message(&mut self, channel: &Bytes, payload: &Bytes) -> Result<(), Disconnect> {
        self.note_received();
        let Some(channel) = self.desired.lock().get(&text(channel)) else {
            return Ok(());
        };
        if self.subscription_health.is_ping_channel(&channel) {
            if let Some(after) = self.subscription_health.round_trip(payload) {
                self.common.events.push(LinkEvent::Echo { after })?;
            }
            return Ok(());
        }
        let payload = detached(payload);
        Ok(self
            .common
            .events
            .send(LinkEvent::Message { channel, payload })
            .await?)
    }

    fn ping(&mut self) -> Result<(), Disconnect> {
        match self.subscription_health.check() {
            EchoStatus::Healthy => {}
            EchoStatus::StillDeaf => return Err(Disconnect::Deaf),
            EchoStatus::Deaf => {
                let settings = &self.common.settings;
                let misses = u32::try_from(settings.ping_misses).unwrap_or(u32::MAX);
                let silent_for = settings.ping_interval.saturating_mul(misses);
                self.common.health.mark_deaf(self.id, silent_for);
                return Err(Disconnect::Deaf);
            }
        }
        let published = self.queue.push_counted(self.subscription_health.ping());
        self.subscription_health.ping_sent(published);
        Ok(())
    }
}

/// A payload that does not retain a read buffer much larger than itself.
fn detached(payload: &Bytes) -> Bytes {
    match payload.len() < COPY_BELOW {
        true => Bytes::copy_from_slice(payload),
        false => payload.clone(),
    }
}

/// Sleeps until `deadline`, forever if there is none.
async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
