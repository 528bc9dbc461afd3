//! The queue of a node on its main thread, and what its tasks wait for.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::encode::Encoder;
use super::queue::{BatchLimits, NoticeQueue, QueuedNotice};
use crate::clock::now;
use crate::config::NoticesConfig;
use crate::metrics::Metrics;
use crate::metrics::labels::NoticeResult;
use crate::model::{NodeId, Random};

/// The longest pause between two attempts of a node that stops.
const STOPPING_PAUSE: Duration = Duration::from_millis(100);

/// Notices that wait for their receiver.
pub(super) struct NoticeBacklog {
    pub(super) config: NoticesConfig,
    pub(super) metrics: Arc<Metrics>,
    pub(super) random: Arc<dyn Random>,
    node: NodeId,
    queue: RefCell<NoticeQueue>,
    changed: Notify,
    /// When a stopping node ends sending; `None` while it runs.
    deadline: watch::Sender<Option<Instant>>,
}

impl NoticeBacklog {
    pub(super) fn new(
        config: NoticesConfig,
        node: NodeId,
        metrics: Arc<Metrics>,
        random: Arc<dyn Random>,
    ) -> Self {
        let queue = NoticeQueue::new(config.queue, BatchLimits::of(&config));
        Self {
            config,
            metrics,
            random,
            node,
            queue: RefCell::new(queue),
            changed: Notify::new(),
            deadline: watch::Sender::default(),
        }
    }

    pub(super) fn encoder(&self) -> Encoder<'_> {
        Encoder {
            node: self.node,
            random: &*self.random,
        }
    }

    /// Queues a notice about something that happened at this time.
    pub(super) fn push(&self, json: Option<Box<RawValue>>, happened: SystemTime) {
        let Some(json) = json else { return };
        let queued = now();
        self.queue.borrow_mut().push(QueuedNotice {
            json,
            happened,
            queued,
        });
        self.record();
        self.changed.notify_one();
    }

    /// The oldest notices, if those that wait exceed the limit.
    pub(super) fn take_excess(&self) -> Option<Vec<QueuedNotice>> {
        let mut queue = self.queue.borrow_mut();
        queue.exceeds_limit().then(|| queue.take())
    }

    /// The next batch, once it is due; `None` once the node has stopped and nothing is left.
    pub(super) async fn next(&self) -> Option<Vec<QueuedNotice>> {
        let mut stop = self.deadline.subscribe();
        loop {
            let due = self.queue.borrow().due();
            let stops = self.stops();
            match due {
                Some(at) if stops || at <= now() => return Some(self.queue.borrow_mut().take()),
                None if stops => return None,
                _ => {}
            }
            let wait = due.map(|at| at.saturating_duration_since(now()));
            let is_due = async {
                match wait {
                    Some(wait) => sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                _ = stop.changed() => {}
                () = is_due => {}
            }
        }
    }

    /// A batch is delivered or given up.
    pub(super) fn release(&self, batch: &[QueuedNotice], result: NoticeResult) {
        self.queue.borrow_mut().release(batch);
        let results = &self.metrics.webhook_notices_total;
        results.of(result).add(batch.len() as u64);
        self.record();
    }

    /// Sends at once from now on, until `deadline`.
    pub(super) fn stop(&self, deadline: Instant) {
        self.deadline.send_replace(Some(deadline));
    }

    pub(super) fn stops(&self) -> bool {
        self.deadline.borrow().is_some()
    }

    /// The time left to a node that stops; `None` while it runs.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let deadline = *self.deadline.borrow();
        deadline.map(|deadline| deadline.saturating_duration_since(now()))
    }

    /// Waits for a pause, which ends early if the node stops.
    pub(super) async fn pause(&self, time: Duration) {
        if self.stops() {
            return sleep(time.min(STOPPING_PAUSE)).await;
        }
        let mut stop = self.deadline.subscribe();
        tokio::select! {
            () = sleep(time) => {}
            _ = stop.changed() => {}
        }
    }

    fn record(&self) {
        let queue = self.queue.borrow();
        self.metrics.webhook_notices_queued.set(queue.len() as i64);
        let bytes = &self.metrics.webhook_notice_queue_bytes;
        bytes.set(queue.bytes() as i64);
    }
}
