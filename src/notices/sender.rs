//! Delivers the backlog: in order, one request at a time, again after failures.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use log::{info, warn};

use super::backlog::NoticeBacklog;
use super::dead_letters::DeadLetters;
use super::queue::QueuedNotice;
use super::retry::Retry;
use crate::clock::now;
use crate::config::WebhookUrl;
use crate::logging::Burst;
use crate::metrics::labels::NoticeResult;
use crate::webhook::{HookFailure, HookQueue, HookRequest, WebhookClient};

/// Sends the notices of a node.
pub(super) struct Delivery {
    pub(super) backlog: Rc<NoticeBacklog>,
    pub(super) client: WebhookClient,
    pub(super) url: WebhookUrl,
    /// `None` without Redis, or if none are kept.
    pub(super) dead_letters: Option<DeadLetters>,
}

impl Delivery {
    /// Runs until the node has stopped.
    pub(super) async fn run(&self) {
        while let Some(batch) = self.backlog.next().await {
            let result = self.deliver(&batch).await;
            self.backlog.release(&batch, result);
        }
    }

    async fn deliver(&self, batch: &[QueuedNotice]) -> NoticeResult {
        let backlog = &*self.backlog;
        let (id, body) = backlog.encoder().request(batch);
        let mut retry = Retry::new(now());
        loop {
            if backlog.time_left() == Some(Duration::ZERO) {
                let kept = self.keep(body).await;
                return kept.unwrap_or(NoticeResult::Dropped);
            }
            let failure = match self.send(&id, &body).await {
                Ok(()) => {
                    self.observe_delay(batch);
                    return NoticeResult::Delivered;
                }
                Err(failure) => failure,
            };
            backlog.metrics.webhook_notice_failures_total.increment();
            let share = self.random_share();
            let pause = match retry.after(&failure, &backlog.config, now(), share) {
                Some(pause) => pause,
                None => {
                    warn!(
                        url:% = self.url, notices = batch.len(), reason:% = failure.detail;
                        "webhook notices are not sent again: their receiver does not accept them"
                    );
                    if let Some(result) = self.keep(body.clone()).await {
                        return result;
                    }
                    // Redis is away, too: the notices wait until Redis or the receiver is back.
                    backlog.config.max_pause
                }
            };
            backlog.pause(pause).await;
        }
    }

    async fn send(&self, id: &str, body: &Bytes) -> Result<(), HookFailure> {
        let Some(target) = self.client.node().target(&self.url) else {
            return Err(HookFailure::bad_answer("the URL is not configured"));
        };
        let request = HookRequest {
            id: id.to_owned(),
            body: body.clone(),
            headers: Default::default(),
            lane: HookQueue::Notice,
        };
        self.client.send(target, request, |_| Ok(())).await
    }

    /// Gives up the oldest notices while more than the limit waits.
    pub(super) async fn shed(&self) {
        while let Some(batch) = self.backlog.take_excess() {
            static LINES: Burst = Burst::new();
            if let Some(unreported) = LINES.note() {
                warn!(
                    url:% = self.url, unreported;
                    "webhook notices beyond webhook.notices.queue are not sent"
                );
            }
            let (_, body) = self.backlog.encoder().request(&batch);
            let result = self.keep(body).await.unwrap_or(NoticeResult::Dropped);
            self.backlog.release(&batch, result);
        }
    }

    /// Makes a request a dead letter, or drops it if none are kept. `None`: the store is unavailable.
    async fn keep(&self, body: Bytes) -> Option<NoticeResult> {
        let Some(dead_letters) = &self.dead_letters else {
            return Some(NoticeResult::Dropped);
        };
        match dead_letters.keep(body).await {
            Ok(()) => Some(NoticeResult::DeadLetter),
            Err(error) => {
                static LINES: Burst = Burst::new();
                if let Some(unreported) = LINES.note() {
                    warn!(error:%, unreported; "dead letter not kept");
                }
                None
            }
        }
    }

    fn observe_delay(&self, batch: &[QueuedNotice]) {
        let delay = &self.backlog.metrics.webhook_notice_delay_seconds;
        let wall = SystemTime::now();
        for notice in batch {
            // The clock may have been set back.
            delay.observe(wall.duration_since(notice.happened).unwrap_or_default());
        }
    }

    fn random_share(&self) -> f64 {
        let mut random = [0; 2];
        self.backlog.random.fill(&mut random);
        f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX)
    }
}

/// Logs what a stopped node could not send.
pub(super) fn log_rest(backlog: &NoticeBacklog) {
    let results = &backlog.metrics.webhook_notices_total;
    let dead = results.of(NoticeResult::DeadLetter).get();
    let dropped = results.of(NoticeResult::Dropped).get();
    if dead + dropped > 0 {
        info!(dead_letters = dead, dropped; "webhook notices that were not delivered by this node");
    }
}
