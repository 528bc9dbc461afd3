//! The interface between `cluster` and the transport that carries messages between members of the bus.
//!
//! A `Link` is a cheap handle; none of its methods block. One consumer receives [`LinkEvent`]s through a queue bounded
//! in bytes. Implementations: `memory` and `redis`. A link handles channels and bytes; rooms and commands belong to the
//! dialects.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{Semaphore, mpsc};

use crate::history::{LogName, LogReader, LogTargets};

/// The name of a bus channel, a shared string.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

impl Channel {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Channel {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for Channel {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl std::borrow::Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The pattern of the channels whose names begin with `prefix`.
pub fn starting_with(prefix: &str) -> Channel {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    Channel::from(pattern)
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A message on its way to every subscriber of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub channel: Channel,
    pub payload: Bytes,
    /// Dropped instead of spooled while the link is down.
    pub volatile: bool,
    /// Applied to the payload when the message is sent.
    pub translation: Option<Translation>,
    /// The logs that it is appended to. It is then published with its position.
    pub log: Option<Arc<LogAppend>>,
}

/// What makes a message one of logs: when it is sent, it gets its position, is appended and published, in one step. The
/// position becomes an extension at the end of the payload ([`Stamp`](crate::history::Stamp)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogAppend {
    pub targets: LogTargets,
    /// The channels on which it is published besides that of the message.
    pub channels: Vec<Channel>,
    /// Identifies the link that sends it, for as long as there is Redis.
    pub sender: u64,
    /// Increases with each message of the sender, so that no message is appended twice.
    pub sequence: u64,
}

impl Outgoing {
    /// A message that is sent as it is, and spooled while the link is down.
    pub fn new(channel: Channel, payload: impl Into<Bytes>) -> Self {
        Self {
            channel,
            payload: payload.into(),
            volatile: false,
            translation: None,
            log: None,
        }
    }

    /// The bytes to send.
    pub fn body(&self) -> Bytes {
        match &self.translation {
            Some(Translation(translate)) => translate(&self.payload),
            None => self.payload.clone(),
        }
    }

    /// The size that counts against queue limits, in bytes: name, payload and a fixed overhead per entry.
    pub fn cost(&self) -> usize {
        message_cost(&self.channel, &self.payload)
    }

    /// The cost if the message queued before it shares its payload.
    pub fn own_cost(&self) -> usize {
        message_cost(&self.channel, &Bytes::new())
    }

    /// Whether both share one payload allocation: the same message for two channels.
    pub fn shares_payload(&self, other: &Self) -> bool {
        !self.payload.is_empty()
            && self.payload.len() == other.payload.len()
            && std::ptr::eq(self.payload.as_ptr(), other.payload.as_ptr())
    }
}

/// Converts the queued payload to the bytes to send, so that the queue holds a message once instead of once per
/// dialect.
#[derive(Clone)]
pub struct Translation(Arc<dyn Fn(&Bytes) -> Bytes + Send + Sync>);

impl Translation {
    /// `translate` is called when the message is sent.
    pub fn new(translate: impl Fn(&Bytes) -> Bytes + Send + Sync + 'static) -> Self {
        Self(Arc::new(translate))
    }
}

impl PartialEq for Translation {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Translation {}

impl fmt::Debug for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Translation")
    }
}

/// The message was not published: the bus is currently unreachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bus is unreachable")]
pub struct LinkDown;

/// Resolves to the number of subscribers that received a message.
pub type Receivers = Pin<Box<dyn Future<Output = Result<u64, LinkDown>> + Send>>;

/// A member's handle to the bus, shared by `Arc`. No method blocks.
///
/// Messages that one link publishes to one channel arrive in the order of the calls, whether by `publish` or
/// `publish_counted`.
pub trait Link: Send + Sync {
    /// Publishes in the given order. While the link is down, messages are spooled up to a limit, and volatile ones are
    /// dropped; [`LinkEvent::SpoolDropped`] reports those dropped from the spool.
    fn publish(&self, batch: Vec<Outgoing>);

    /// Publishes and resolves to the number of subscribers reached. Never spooled: fails while the link is down.
    fn publish_counted(&self, message: Outgoing) -> Receivers;

    /// Subscribes to channels. Each is confirmed by a [`LinkEvent::Subscribed`], immediately if the subscription is
    /// still active. Subscriptions are restored whenever the link reconnects.
    fn subscribe(&self, channels: Vec<Channel>);

    /// Unsubscribes from channels. May take effect seconds later; until then, their messages may still arrive.
    fn unsubscribe(&self, channels: Vec<Channel>);

    /// Subscribes to all channels that match a pattern, as Redis does with `PSUBSCRIBE`. Each is confirmed by a
    /// [`LinkEvent::PatternsSubscribed`], as channels are. Their messages arrive as [`LinkEvent::Matched`], also those of
    /// channels that are subscribed to by their names.
    fn subscribe_patterns(&self, patterns: Vec<Channel>);

    /// Unsubscribes from patterns. May take effect seconds later.
    fn unsubscribe_patterns(&self, patterns: Vec<Channel>);

    /// Reads the logs that messages of [`Outgoing::log`] are appended to; `None` if the link has no logs and publishes
    /// such messages as others.
    fn logs(&self) -> Option<Arc<dyn LogReader<Bytes>>> {
        None
    }
}

/// An event of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// Connected, and every requested channel is subscribed. Links start down.
    Up,
    /// The bus is unreachable; the link keeps reconnecting.
    Down { reason: String },
    /// Why the link is down, as a short summary without names and addresses. Follows `Down`, and is sent again when the
    /// reason changes.
    Unreachable { reason: &'static str },
    /// The bus confirmed these subscriptions: messages published from now on are received.
    Subscribed(Vec<Channel>),
    /// A message on a subscribed channel, published by any member including this one.
    Message { channel: Channel, payload: Bytes },
    /// The bus confirmed subscriptions of patterns.
    PatternsSubscribed(Vec<Channel>),
    /// A message on a channel that matches a subscribed pattern.
    Matched { channel: Channel, payload: Bytes },
    /// A message above the size limit was skipped.
    Skipped { bytes: u64 },
    /// The link is connected, but its own pings do not come back through the bus.
    Deaf,
    /// Pings come back again; ends `Deaf`.
    EchoRestored,
    /// A ping of this link came back through the bus, after this round-trip time.
    Echo { after: Duration },
    /// Messages of other members were not received for this long; they are not sent again.
    Missed { during: Duration },
    /// Messages of this link are not in these logs: they were dropped from the queue, or the bus has appended them and
    /// lost them again, because they were not replicated or saved yet. Some members may have received the latter.
    EventsLost(Vec<LogName>),
    /// Entries of a stream in the place of a channel were removed or lost before this link read them.
    EntriesLost { entries: u64 },
    /// Queued messages were dropped: too many bytes, or too old.
    SpoolDropped { messages: u64, bytes: u64 },
}

/// Fixed overhead of a queue entry in bytes, so that empty messages count as well.
const ENTRY_COST: usize = 64;

fn message_cost(channel: &Channel, payload: &Bytes) -> usize {
    ENTRY_COST + channel.as_str().len() + payload.len()
}

fn cost(event: &LinkEvent) -> u32 {
    match event {
        LinkEvent::Message { channel, payload } | LinkEvent::Matched { channel, payload } => {
            u32::try_from(message_cost(channel, payload)).unwrap_or(u32::MAX)
        }
        _ => 0,
    }
}

/// An event queue for one consumer that holds at most `limit` bytes of messages, or a single message of any size.
pub fn link_events(limit: u32) -> (LinkEventSender, LinkEvents) {
    let (queue, events) = mpsc::unbounded_channel();
    let space = Arc::new(Semaphore::new(limit as usize));
    let sender = LinkEventSender {
        queue,
        space: Arc::clone(&space),
        limit,
    };
    (sender, LinkEvents { events, space })
}

/// An event and the number of permits it holds, which the consumer releases.
#[derive(Debug)]
struct Queued {
    event: LinkEvent,
    taken: u32,
}

/// The sending half of a link's event queue.
#[derive(Debug, Clone)]
pub struct LinkEventSender {
    queue: mpsc::UnboundedSender<Queued>,
    space: Arc<Semaphore>,
    limit: u32,
}

/// The consumer of the link's events was dropped, so the link can stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the consumer of the link's events was dropped")]
pub struct ConsumerGone;

impl LinkEventSender {
    /// Queues the event, waiting until there is space for it.
    ///
    /// # Errors
    /// The consumer was dropped.
    pub async fn send(&self, event: LinkEvent) -> Result<(), ConsumerGone> {
        let taken = cost(&event).min(self.limit);
        let permit = self.space.acquire_many(taken).await;
        permit.map_err(|_closed| ConsumerGone)?.forget();
        self.enqueue(event, taken)
    }

    /// Queues the event without waiting for space: for status events, which are rare, and for links in memory, whose
    /// publishers must not block.
    ///
    /// # Errors
    /// The consumer was dropped.
    pub fn push(&self, event: LinkEvent) -> Result<(), ConsumerGone> {
        self.enqueue(event, 0)
    }

    /// Completes once the consumer is dropped.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }

    fn enqueue(&self, event: LinkEvent, taken: u32) -> Result<(), ConsumerGone> {
        let queued = Queued { event, taken };
        self.queue.send(queued).map_err(|_error| ConsumerGone)
    }
}

/// The receiving half of a link's event queue: a stream that ends when the link is dropped. Dropping it stops the link.
#[derive(Debug)]
pub struct LinkEvents {
    events: mpsc::UnboundedReceiver<Queued>,
    space: Arc<Semaphore>,
}

impl LinkEvents {
    /// The next event; `None` once the link is dropped.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        let queued = self.events.recv().await?;
        Some(self.take(queued))
    }

    /// The next event if one is queued.
    pub fn try_next(&mut self) -> Option<LinkEvent> {
        let queued = self.events.try_recv().ok()?;
        Some(self.take(queued))
    }

    fn take(&self, queued: Queued) -> LinkEvent {
        self.space.add_permits(queued.taken as usize);
        queued.event
    }
}

impl Stream for LinkEvents {
    type Item = LinkEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        let queued = std::task::ready!(self.events.poll_recv(context));
        Poll::Ready(queued.map(|queued| self.take(queued)))
    }
}

impl Drop for LinkEvents {
    /// Fails senders that wait for space.
    fn drop(&mut self) {
        self.space.close();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn message(bytes: usize) -> LinkEvent {
        LinkEvent::Message {
            channel: Channel::from("c"),
            payload: Bytes::from(vec![0; bytes]),
        }
    }

    #[test]
    fn the_pattern_of_a_prefix_has_no_other_special_characters() {
        assert_eq!(starting_with("socket.io#").as_str(), "socket.io#*");
        assert_eq!(starting_with(r"a*?[b]\#").as_str(), r"a\*\?\[b\]\\#*");
    }

    #[tokio::test]
    async fn send_waits_while_the_queue_is_full() {
        let (sender, mut events) = link_events(300);
        sender.send(message(100)).await.unwrap();
        let mut second = Box::pin(sender.send(message(200)));
        assert!((&mut second).now_or_never().is_none(), "no space yet");
        sender.push(LinkEvent::Deaf).unwrap();
        assert_eq!(events.next().await, Some(message(100)));
        second.await.unwrap();
        assert_eq!(events.next().await, Some(LinkEvent::Deaf));
        assert_eq!(events.next().await, Some(message(200)));
    }

    #[tokio::test]
    async fn a_message_above_the_limit_is_queued_alone() {
        let (sender, mut events) = link_events(300);
        sender.send(message(5000)).await.unwrap();
        let mut second = Box::pin(sender.send(message(0)));
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(events.try_next(), Some(message(5000)));
        second.await.unwrap();
    }

    #[tokio::test]
    async fn send_fails_once_the_consumer_is_dropped() {
        let (sender, events) = link_events(100);
        sender.send(message(1000)).await.unwrap();
        let waiting = sender.send(message(1));
        drop(events);
        assert_eq!(waiting.await, Err(ConsumerGone));
        sender.closed().await;
    }
}
