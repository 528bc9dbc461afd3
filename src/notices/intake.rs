//! The bounded channel from the workers to the notices of their node. Workers never wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use log::warn;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use super::rooms::Marks;
use crate::config::{NoticeKind, NoticesConfig};
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::metrics::labels::NoticeResult;
use crate::model::{Namespace, Payload, Room, SocketId};
use crate::store::Tenure;

/// Number of messages from the workers that wait for the main thread.
const CHANNEL: usize = 16_384;
/// Bytes of these messages.
const CHANNEL_BYTES: usize = 16 << 20;

/// Something that happened to a socket.
#[derive(Debug, Clone)]
pub(super) struct NoticeEvent {
    pub(super) at: SystemTime,
    pub(super) namespace: Namespace,
    pub(super) socket: SocketId,
    pub(super) user: Option<Arc<str>>,
    pub(super) change: NoticeEventKind,
    /// Whether another node may report it as well, because this node may have lost its name.
    pub(super) is_in_doubt: bool,
}

/// The kind of a [`NoticeEvent`].
#[derive(Debug, Clone)]
pub(super) enum NoticeEventKind {
    Connected,
    Disconnected(&'static str),
    Joined(Room),
    Left(Room),
    Event { payload: Payload, ack: bool },
}

impl NoticeEvent {
    /// Approximate number of bytes that it occupies while it waits.
    pub(super) fn cost(&self) -> usize {
        let user = self.user.as_ref().map_or(0, |user| user.len());
        let rest = match &self.change {
            NoticeEventKind::Event { payload, .. } => payload.size(),
            _ => 0,
        };
        size_of::<Self>() + user + rest
    }
}

/// A message to the notices of a node.
pub(super) enum IntakeMessage {
    Event(NoticeEvent),
    /// The node stops: nothing follows, and nothing is held back any more.
    Flush(oneshot::Sender<()>),
}

/// Accepts what happens on the workers of a node, within limits.
pub struct Intake {
    config: NoticesConfig,
    pub(super) marks: Marks,
    sender: mpsc::Sender<IntakeMessage>,
    bytes: AtomicUsize,
    metrics: Arc<Metrics>,
    /// Whether this node still holds its name, if other nodes may report its disconnects.
    pub(super) tenure: Option<Arc<Tenure>>,
}

impl Intake {
    pub(super) fn new(
        config: NoticesConfig,
        metrics: Arc<Metrics>,
        tenure: Option<Arc<Tenure>>,
    ) -> (Arc<Self>, mpsc::Receiver<IntakeMessage>) {
        let (sender, receiver) = mpsc::channel(CHANNEL);
        let intake = Self {
            marks: Marks::new(config.debounce),
            config,
            sender,
            bytes: AtomicUsize::new(0),
            metrics,
            tenure,
        };
        (Arc::new(intake), receiver)
    }

    /// Whether events of clients are notices.
    pub fn wants_events(&self) -> bool {
        !self.config.events.is_empty()
    }

    /// Whether notices of this kind are sent.
    pub(super) fn includes(&self, kind: NoticeKind) -> bool {
        self.config.kinds.contains(&kind)
    }

    /// Whether notices are sent when rooms are occupied or vacated.
    pub(super) fn counts_members(&self) -> bool {
        let kinds = [NoticeKind::RoomOccupied, NoticeKind::RoomVacated];
        kinds.into_iter().any(|kind| self.includes(kind))
    }

    /// Whether notices are about this room. None are about the former ids of sockets that have recovered a session.
    pub(super) fn is_about(&self, room: &str) -> bool {
        let mut patterns = self.config.rooms.iter();
        !SocketId::has_room(room) && patterns.any(|pattern| pattern.matches(room))
    }

    /// Whether the event of a client is a notice.
    pub(super) fn is_chosen(&self, event: &str) -> bool {
        let mut patterns = self.config.events.iter();
        patterns.any(|pattern| pattern.matches(event))
    }

    /// Whether another node may report now what happens here.
    pub(super) fn is_in_doubt(&self) -> bool {
        let tenure = self.tenure.as_ref();
        tenure.is_some_and(|tenure| !tenure.is_certain())
    }

    pub(super) fn offer(&self, event: NoticeEvent) {
        let cost = event.cost();
        let before = self.bytes.fetch_add(cost, Ordering::Relaxed);
        // A single event always fits.
        let fits = before == 0 || before + cost <= CHANNEL_BYTES;
        if fits && self.sender.try_send(IntakeMessage::Event(event)).is_ok() {
            return;
        }
        self.bytes.fetch_sub(cost, Ordering::Relaxed);
        let dropped = self.metrics.webhook_notices_total.of(NoticeResult::Dropped);
        dropped.increment();
        static LINES: Burst = Burst::new();
        if let Some(unreported) = LINES.note() {
            warn!(unreported; "webhook notice dropped: the node is too busy to queue it");
        }
    }

    /// A message has been taken out of the channel.
    pub(super) fn taken(&self, event: &NoticeEvent) {
        self.bytes.fetch_sub(event.cost(), Ordering::Relaxed);
    }

    /// Waits until everything that was offered before is queued.
    pub(super) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.sender.send(IntakeMessage::Flush(done)).await.is_ok() {
            // The receiver may have ended.
            let _ = flushed.await;
        }
    }
}
