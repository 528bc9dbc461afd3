//! The hearing connection: keeps what is wanted subscribed, passes messages on, pings itself
//! through the bus, and reads no faster than its consumer takes.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until};

use super::address::Address;
use super::backoff::Backoff;
use super::common::Common;
use super::conversation::{Conversation, Meaning, Verb};
use super::desired_channels::Wanted;
use super::error::ConnectionError;
use super::health::{MemberId, Part};
use super::queue::Queue;
use super::resp::Reply;
use super::sentinel::Target;
use super::slots::slot;
use super::stream::Connection;
use super::subscription_health::{Hearing, Verdict};
use crate::bus::link::{Channel, ConsumerGone, LinkEvent};

/// Channels named in one SUBSCRIBE; the commands of one turn go out together.
const CHUNK: usize = 1000;
/// Shorter payloads are copied, so that one kept message does not keep a whole read buffer.
const COPY_BELOW: usize = 16 * 1024;

pub(super) struct Subscriber {
    pub(super) common: Common,
    pub(super) id: MemberId,
    pub(super) target: Arc<Target>,
    pub(super) wanted: Arc<Wanted>,
    pub(super) queue: Arc<Queue>,
    pub(super) backoff: Backoff,
    pub(super) hearing: Hearing,
}

/// A connection, where it leads, and what is under way on it.
struct Line {
    connection: Connection,
    address: Address,
    conversation: Conversation,
}

/// Why a connection is over.
enum End {
    ConsumerGone,
    Deaf,
    Lost(ConnectionError),
}

impl From<ConnectionError> for End {
    fn from(error: ConnectionError) -> Self {
        Self::Lost(error)
    }
}

impl From<ConsumerGone> for End {
    fn from(_: ConsumerGone) -> Self {
        Self::ConsumerGone
    }
}

impl Subscriber {
    /// Runs until nobody listens.
    pub(super) async fn run(mut self) {
        loop {
            let end = match self.open().await {
                Ok(mut line) => self.serve(&mut line).await,
                Err(error) => End::Lost(error),
            };
            self.wanted.lock().forget_server();
            match end {
                End::ConsumerGone => return,
                End::Deaf => {
                    log::warn!(
                        address:% = self.common.settings.address();
                        "own pings do not come back through redis, subscribing anew"
                    )
                }
                End::Lost(error) => {
                    let part = Part::Subscriber(self.id);
                    self.common.health.lost(part, &error.advised());
                    tokio::select! {
                        () = self.common.events.closed() => return,
                        () = sleep(self.backoff.pause()) => {}
                    }
                }
            }
        }
    }

    async fn open(&self) -> Result<Line, ConnectionError> {
        let settings = &self.common.settings;
        let address = self.target.locate(settings).await?;
        Ok(Line {
            connection: Connection::open(settings, &address).await?,
            address,
            conversation: Conversation::default(),
        })
    }

    async fn serve(&mut self, line: &mut Line) -> End {
        match self.try_serve(line).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_serve(&mut self, line: &mut Line) -> Result<std::convert::Infallible, End> {
        let settings = Arc::clone(&self.common.settings);
        let target = Arc::clone(&self.target);
        let address = line.address.clone();
        let left = target.left(&address);
        tokio::pin!(left);
        let give_up = Instant::now() + settings.response_timeout;
        let mut settled = false;
        let mut ping = interval(settings.ping_interval);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.ask(line).await?;
        loop {
            self.take_in(line).await?;
            if !settled && self.wanted.lock().is_settled() {
                settled = true;
                self.settle(&mut ping);
            }
            let wanted = Arc::clone(&self.wanted);
            let expiry = wanted.lock().next_expiry();
            tokio::select! {
                read = line.connection.replies.fill() => read.map_err(ConnectionError::from)?,
                () = wanted.changed.notified() => self.ask(line).await?,
                () = at(expiry) => self.unsubscribe_expired(line).await?,
                _ = ping.tick(), if settled => self.ping()?,
                reason = &mut left => return Err(reason.into()),
                () = sleep_until(give_up), if !settled => {
                    return Err(ConnectionError::Slow(settings.response_timeout).into());
                }
                () = self.common.events.closed() => return Err(End::ConsumerGone),
            }
        }
    }

    /// Everything wanted is subscribed on this connection.
    fn settle(&mut self, ping: &mut Interval) {
        self.backoff.reset();
        self.hearing.begin();
        ping.reset_immediately();
        self.common.health.found(Part::Subscriber(self.id));
    }

    async fn ask(&self, line: &mut Line) -> Result<(), ConnectionError> {
        let channels = self.wanted.lock().take_to_ask();
        self.send(line, channels, Verb::Subscribe, Verb::ShardedSubscribe)
            .await
    }

    async fn unsubscribe_expired(&self, line: &mut Line) -> Result<(), ConnectionError> {
        let channels = self.wanted.lock().take_expired(Instant::now());
        self.send(line, channels, Verb::Unsubscribe, Verb::ShardedUnsubscribe)
            .await
    }

    /// Sends a verb for plain and one for sharded channels. A command names sharded channels of one slot only.
    async fn send(
        &self,
        line: &mut Line,
        channels: Vec<Channel>,
        plain_verb: Verb,
        sharded_verb: Verb,
    ) -> Result<(), ConnectionError> {
        let is_sharded = |channel: &Channel| self.common.is_sharded(channel.as_str());
        let (mut sharded, plain): (Vec<_>, Vec<_>) = channels.into_iter().partition(is_sharded);
        let slot_of = |channel: &Channel| slot(channel.as_str().as_bytes());
        sharded.sort_by_cached_key(slot_of);
        let by_slot = sharded.chunk_by(|left, right| slot_of(left) == slot_of(right));
        let sharded = by_slot
            .flat_map(|group| group.chunks(CHUNK))
            .map(|chunk| (sharded_verb, chunk));
        let chunks = plain
            .chunks(CHUNK)
            .map(|chunk| (plain_verb, chunk))
            .chain(sharded);
        let mut commands = Vec::new();
        for (verb, chunk) in chunks {
            let mut command = redis::cmd(verb.name());
            for channel in chunk {
                command.arg(channel.as_str());
            }
            commands.push(command);
            line.conversation.ask(verb, chunk);
        }
        line.connection.send(&commands).await
    }

    /// Works through everything read, and reports its confirmations together.
    async fn take_in(&mut self, line: &mut Line) -> Result<(), End> {
        let mut confirmed = Vec::new();
        loop {
            let reply = line.connection.replies.buffered();
            let Some(reply) = reply.map_err(ConnectionError::from)? else {
                break;
            };
            match reply {
                Reply::Array(parts) => match parts.as_slice() {
                    [kind, channel, payload] if kind == "message" || kind == "smessage" => {
                        // What was confirmed before a message is told before it.
                        self.report(&mut confirmed)?;
                        self.message(channel, payload).await?;
                    }
                    [kind, channel, _] => {
                        let meaning = line.conversation.reply(kind, &text(channel));
                        let channel = self.note(meaning, channel);
                        confirmed.extend(channel.filter(|name| !self.hearing.is_own(name)));
                    }
                    _ => {}
                },
                Reply::Error(text) => self.refused(text, line)?,
                Reply::TooLong(bytes) => {
                    self.common.events.push(LinkEvent::Skipped {
                        bytes: bytes as u64,
                    })?;
                }
                Reply::Text(_) => {}
            }
        }
        self.report(&mut confirmed)
    }

    /// Notes what a reply means for a channel; returns it if it is now subscribed.
    fn note(&self, meaning: Meaning, channel: &[u8]) -> Option<Channel> {
        match meaning {
            Meaning::Subscribed => self.wanted.lock().confirm(&text(channel)),
            Meaning::TakenAway => {
                let channel = Channel::from(&*text(channel));
                self.put_back(vec![channel]);
                None
            }
            Meaning::Unsubscribed | Meaning::Other => None,
        }
    }

    /// A refused command ends the connection, but for slots that are another master's now.
    fn refused(&self, text: String, line: &mut Line) -> Result<(), ConnectionError> {
        let Some((verb, channels)) = line.conversation.refused() else {
            return Err(ConnectionError::Refused(text));
        };
        let moves = ["MOVED ", "ASK ", "TRYAGAIN ", "CLUSTERDOWN "];
        if verb.is_sharded() && moves.iter().any(|code| text.starts_with(code)) {
            if verb.subscribes() {
                self.put_back(channels);
            }
            return Ok(());
        }
        let names: Vec<&str> = channels.iter().take(3).map(Channel::as_str).collect();
        let (verb, names) = (verb.name(), names.join(" "));
        Err(ConnectionError::Refused(format!("{text} ({verb} {names})")))
    }

    /// These channels are to be asked for again as soon as their owner is known.
    fn put_back(&self, channels: Vec<Channel>) {
        self.wanted.lock().put_back(channels);
        if let Some(refresh) = &self.common.refresh {
            refresh.notify_one();
        }
    }

    fn report(&self, confirmed: &mut Vec<Channel>) -> Result<(), End> {
        if confirmed.is_empty() {
            return Ok(());
        }
        let channels = std::mem::take(confirmed);
        Ok(self.common.events.push(LinkEvent::Subscribed(channels))?)
    }

    async fn message(&mut self, channel: &Bytes, payload: &Bytes) -> Result<(), End> {
        if self.hearing.hear() {
            log::info!("own pings come back through redis again");
            self.common.health.hears(self.id);
        }
        let Some(channel) = self.wanted.lock().known(&text(channel)) else {
            return Ok(());
        };
        if self.hearing.is_own(&channel) {
            if let Some(after) = self.hearing.echo(payload) {
                self.common.events.push(LinkEvent::Echo { after })?;
            }
            return Ok(());
        }
        let payload = if payload.len() < COPY_BELOW {
            Bytes::copy_from_slice(payload)
        } else {
            payload.clone()
        };
        Ok(self
            .common
            .events
            .send(LinkEvent::Message { channel, payload })
            .await?)
    }

    fn ping(&mut self) -> Result<(), End> {
        match self.hearing.judge() {
            Verdict::Fine => {}
            Verdict::StillDeaf => return Err(End::Deaf),
            Verdict::Deaf => {
                let settings = &self.common.settings;
                let misses = u32::try_from(settings.ping_misses).unwrap_or(u32::MAX);
                let unheard = settings.ping_interval.saturating_mul(misses);
                self.common.health.deaf(self.id, unheard);
                return Err(End::Deaf);
            }
        }
        let published = self.queue.push_counted(self.hearing.ping());
        self.hearing.sent(published);
        Ok(())
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
