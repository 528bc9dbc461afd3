//! The seam between the bridge and whatever carries messages between members of the bus.
//!
//! A `Link` is a cheap handle: publish, subscribe, nothing waits. What comes in arrives as
//! [`LinkEvent`]s at one consumer, through a queue bounded in bytes. Implementations: `memory`,
//! `redis`. A link knows channels and bytes, never rooms or commands: that is the dialects' part.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{Semaphore, mpsc};

/// Name of a channel of the bus: a shared string.
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
    /// Not worth keeping while the link is down.
    pub volatile: bool,
    /// Applied to the payload when the message is sent.
    pub translation: Option<Translation>,
}

impl Outgoing {
    /// The bytes to send.
    pub fn body(&self) -> Bytes {
        match &self.translation {
            Some(Translation(translate)) => translate(&self.payload),
            None => self.payload.clone(),
        }
    }

    /// Bytes it counts for in a queue: name, payload and a little for the entry itself.
    pub fn cost(&self) -> usize {
        message_cost(&self.channel, &self.payload)
    }

    /// Its cost when a message queued before it holds the same payload.
    pub fn own_cost(&self) -> usize {
        message_cost(&self.channel, &Bytes::new())
    }

    /// Whether both hold the same allocation: one message for two channels.
    pub fn shares_payload(&self, other: &Self) -> bool {
        !self.payload.is_empty()
            && self.payload.len() == other.payload.len()
            && std::ptr::eq(self.payload.as_ptr(), other.payload.as_ptr())
    }
}

/// Produces the bytes to send from the bytes in the queue, so that a queued message is held once and not once for each
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

/// The bus did not take the message: it is out of reach at this instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bus is out of reach")]
pub struct LinkDown;

/// Resolves to the number of subscribers a message reached.
pub type Receivers = Pin<Box<dyn Future<Output = Result<u64, LinkDown>> + Send>>;

/// A member's handle to the bus. Cloned by `Arc`; every method returns at once.
///
/// Messages of one link to one channel arrive in the order of the calls, `publish` and
/// `publish_counted` alike.
pub trait Link: Send + Sync {
    /// Publishes in the given order. While the link is down, messages wait in a bounded spool
    /// (volatile ones are dropped); what falls out is told by [`LinkEvent::SpoolDropped`].
    fn publish(&self, batch: Vec<Outgoing>);

    /// Publishes and counts the subscribers reached. Never spooled: fails while the link is down.
    fn publish_counted(&self, message: Outgoing) -> Receivers;

    /// Asks for channels; each is confirmed by one [`LinkEvent::Subscribed`], at once if the
    /// subscription still stands. Kept and renewed over every loss of the link.
    fn subscribe(&self, channels: Vec<Channel>);

    /// Unsubscribes from channels. It can take effect seconds later; until then their messages may still arrive.
    fn unsubscribe(&self, channels: Vec<Channel>);
}

/// What a link tells its consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// Connected, and every wanted channel is subscribed. Links begin down.
    Up,
    /// The bus is out of reach; the link tries again by itself.
    Down { reason: String },
    /// Why the link is down, in a few words without names and addresses. Follows `Down`, and repeats when the reason
    /// changes.
    Unreachable { reason: &'static str },
    /// The bus confirmed these channels: what is published from now on arrives.
    Subscribed(Vec<Channel>),
    /// Somebody (this link included) published on a channel subscribed here.
    Message { channel: Channel, payload: Bytes },
    /// A message was longer than the link takes and was not read.
    Skipped { bytes: u64 },
    /// The link looks alive, but its own pings do not come back through the bus.
    Deaf,
    /// Pings come back again.
    Hearing,
    /// A ping to oneself came back through the bus.
    Echo { after: Duration },
    /// For this long, messages published by others were not received; they are not sent again.
    Missed { during: Duration },
    /// Messages waiting for the link were given up: too many bytes or too old.
    SpoolDropped { messages: u64, bytes: u64 },
}

/// Fixed part of a message's cost: the entry in the queue, so that empty messages are not free.
const ENTRY_COST: usize = 64;

fn message_cost(channel: &Channel, payload: &Bytes) -> usize {
    ENTRY_COST + channel.as_str().len() + payload.len()
}

fn cost(event: &LinkEvent) -> u32 {
    match event {
        LinkEvent::Message { channel, payload } => {
            u32::try_from(message_cost(channel, payload)).unwrap_or(u32::MAX)
        }
        _ => 0,
    }
}

/// A queue of events to one consumer that holds at most `limit` bytes of messages, or one message
/// of any size.
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

/// An event and the space it took, which its consumer gives back.
#[derive(Debug)]
struct Queued {
    event: LinkEvent,
    taken: u32,
}

/// The link's end of its event queue.
#[derive(Debug, Clone)]
pub struct LinkEventSender {
    queue: mpsc::UnboundedSender<Queued>,
    space: Arc<Semaphore>,
    limit: u32,
}

/// The consumer of the link is gone; the link has nobody left to work for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody listens to the link any more")]
pub struct ConsumerGone;

impl LinkEventSender {
    /// Queues the event as soon as there is space for it.
    pub async fn send(&self, event: LinkEvent) -> Result<(), ConsumerGone> {
        let taken = cost(&event).min(self.limit);
        let permit = self.space.acquire_many(taken).await;
        permit.map_err(|_closed| ConsumerGone)?.forget();
        self.enqueue(event, taken)
    }

    /// Queues the event without waiting for space: for news of the link itself, which is rare,
    /// and for links in memory, whose publishers must not wait.
    pub fn push(&self, event: LinkEvent) -> Result<(), ConsumerGone> {
        self.enqueue(event, 0)
    }

    /// Completes when the consumer is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }

    fn enqueue(&self, event: LinkEvent, taken: u32) -> Result<(), ConsumerGone> {
        let queued = Queued { event, taken };
        self.queue.send(queued).map_err(|_gone| ConsumerGone)
    }
}

/// The consumer's end: a stream that ends when the link is gone. Dropping it ends the link.
#[derive(Debug)]
pub struct LinkEvents {
    events: mpsc::UnboundedReceiver<Queued>,
    space: Arc<Semaphore>,
}

impl LinkEvents {
    /// The next event; `None` when the link is gone.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        let queued = self.events.recv().await?;
        Some(self.take(queued))
    }

    /// The next event if one is waiting.
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
    /// Whoever waits for space learns that the consumer is gone.
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

    #[tokio::test]
    async fn a_slow_consumer_holds_the_link_back() {
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
    async fn a_message_over_the_limit_passes_alone() {
        let (sender, mut events) = link_events(300);
        sender.send(message(5000)).await.unwrap();
        let mut second = Box::pin(sender.send(message(0)));
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(events.try_next(), Some(message(5000)));
        second.await.unwrap();
    }

    #[tokio::test]
    async fn without_consumer_the_link_is_told() {
        let (sender, events) = link_events(100);
        sender.send(message(1000)).await.unwrap();
        let waiting = sender.send(message(1));
        drop(events);
        assert_eq!(waiting.await, Err(ConsumerGone));
        sender.closed().await;
    }
}
