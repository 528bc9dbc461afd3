//! The hearing connection: keeps what is wanted subscribed, passes messages on, pings itself
//! through the bus, and reads no faster than its consumer takes.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redis::Cmd;
use tokio::sync::Notify;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until};

use super::backoff::Backoff;
use super::health::{Half, Health};
use super::hearing::{Hearing, Verdict};
use super::queue::Queue;
use super::resp::Reply;
use super::settings::RedisSettings;
use super::stream::{Connection, ConnectionError};
use super::subscriptions::Subscriptions;
use crate::bridge::link::{Channel, ConsumerGone, LinkEvent, LinkEventSender};

/// Channels named in one SUBSCRIBE; the commands of one turn go out together.
const CHUNK: usize = 1000;
/// Shorter payloads are copied, so that one kept message does not keep a whole read buffer.
const COPY_BELOW: usize = 16 * 1024;

/// The wanted channels, shared with the link's handle.
#[derive(Debug)]
pub(super) struct Wanted {
    subscriptions: Mutex<Subscriptions>,
    pub(super) changed: Notify,
}

impl Wanted {
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            subscriptions: Mutex::new(Subscriptions::new(linger)),
            changed: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Subscriber {
    pub(super) settings: Arc<RedisSettings>,
    pub(super) wanted: Arc<Wanted>,
    pub(super) queue: Arc<Queue>,
    pub(super) health: Arc<Health>,
    pub(super) events: LinkEventSender,
    pub(super) backoff: Backoff,
    pub(super) hearing: Hearing,
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
            let end = match Connection::open(&self.settings).await {
                Ok(connection) => self.serve(connection).await,
                Err(error) => End::Lost(error),
            };
            self.wanted.lock().forget_server();
            match end {
                End::ConsumerGone => return,
                End::Deaf => log::warn!(
                    "own pings do not come back through redis, subscribing anew address={}",
                    self.settings.address()
                ),
                End::Lost(error) => {
                    self.health.lost(Half::Subscriber, &error.to_string());
                    tokio::select! {
                        () = self.events.closed() => return,
                        () = sleep(self.backoff.pause()) => {}
                    }
                }
            }
        }
    }

    async fn serve(&mut self, mut connection: Connection) -> End {
        match self.try_serve(&mut connection).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_serve(
        &mut self,
        connection: &mut Connection,
    ) -> Result<std::convert::Infallible, End> {
        let give_up = Instant::now() + self.settings.response_timeout;
        let mut settled = false;
        let mut ping = interval(self.settings.ping_interval);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.ask(connection).await?;
        loop {
            self.take_in(connection).await?;
            if !settled && self.wanted.lock().is_settled() {
                settled = true;
                self.settle(&mut ping);
            }
            let wanted = Arc::clone(&self.wanted);
            let expiry = wanted.lock().next_expiry();
            tokio::select! {
                read = connection.replies.fill() => read.map_err(ConnectionError::from)?,
                () = wanted.changed.notified() => self.ask(connection).await?,
                () = at(expiry) => self.unsubscribe_expired(connection).await?,
                _ = ping.tick(), if settled => self.ping()?,
                () = sleep_until(give_up), if !settled => {
                    return Err(ConnectionError::Slow(self.settings.response_timeout).into());
                }
                () = self.events.closed() => return Err(End::ConsumerGone),
            }
        }
    }

    /// Everything wanted is subscribed on this connection.
    fn settle(&mut self, ping: &mut Interval) {
        self.backoff.reset();
        self.hearing.begin();
        ping.reset_immediately();
        self.health.found(Half::Subscriber);
    }

    async fn ask(&self, connection: &mut Connection) -> Result<(), ConnectionError> {
        let channels = self.wanted.lock().take_to_ask();
        send_chunks(connection, "SUBSCRIBE", &channels).await
    }

    async fn unsubscribe_expired(
        &self,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        let channels = self.wanted.lock().take_expired(Instant::now());
        send_chunks(connection, "UNSUBSCRIBE", &channels).await
    }

    /// Works through everything read, and reports its confirmations together.
    async fn take_in(&mut self, connection: &mut Connection) -> Result<(), End> {
        let mut confirmed = Vec::new();
        while let Some(reply) = connection
            .replies
            .buffered()
            .map_err(ConnectionError::from)?
        {
            match reply {
                Reply::Array(parts) => match parts.as_slice() {
                    [kind, channel, payload] if kind == "message" => {
                        // What was confirmed before a message is told before it.
                        self.report(&mut confirmed)?;
                        self.message(channel, payload).await?;
                    }
                    [kind, channel, _] if kind == "subscribe" => {
                        let channel = self.wanted.lock().confirm(&text(channel));
                        confirmed.extend(channel.filter(|name| !self.hearing.is_own(name)));
                    }
                    _ => {}
                },
                Reply::Error(text) => return Err(ConnectionError::Refused(text).into()),
                Reply::TooLong(bytes) => {
                    self.events.push(LinkEvent::Skipped {
                        bytes: bytes as u64,
                    })?;
                }
                Reply::Text(_) => {}
            }
        }
        self.report(&mut confirmed)
    }

    fn report(&self, confirmed: &mut Vec<Channel>) -> Result<(), End> {
        if confirmed.is_empty() {
            return Ok(());
        }
        let channels = std::mem::take(confirmed);
        Ok(self.events.push(LinkEvent::Subscribed(channels))?)
    }

    async fn message(&mut self, channel: &Bytes, payload: &Bytes) -> Result<(), End> {
        if self.hearing.hear() {
            log::info!("own pings come back through redis again");
            self.events.push(LinkEvent::Hearing)?;
        }
        let Some(channel) = self.wanted.lock().wanted(&text(channel)) else {
            return Ok(());
        };
        if self.hearing.is_own(&channel) {
            if let Some(after) = self.hearing.echo(payload) {
                self.events.push(LinkEvent::Echo { after })?;
            }
            return Ok(());
        }
        let payload = if payload.len() < COPY_BELOW {
            Bytes::copy_from_slice(payload)
        } else {
            payload.clone()
        };
        Ok(self
            .events
            .send(LinkEvent::Message { channel, payload })
            .await?)
    }

    fn ping(&mut self) -> Result<(), End> {
        match self.hearing.judge() {
            Verdict::Fine => {}
            Verdict::StillDeaf => return Err(End::Deaf),
            Verdict::Deaf => {
                self.events.push(LinkEvent::Deaf)?;
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

async fn send_chunks(
    connection: &mut Connection,
    name: &str,
    channels: &[Channel],
) -> Result<(), ConnectionError> {
    let command = |chunk: &[Channel]| {
        let mut command = redis::cmd(name);
        for channel in chunk {
            command.arg(channel.as_str());
        }
        command
    };
    let commands: Vec<Cmd> = channels.chunks(CHUNK).map(command).collect();
    connection.send(&commands).await
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
