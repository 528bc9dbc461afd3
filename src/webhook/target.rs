//! One URL that receives requests: how many are sent at once, how many wait, and whether any are sent at all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use awc::http::Uri;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::breaker::Breaker;
use super::failure::{HookFailure, HookFailureCode};
use crate::config::{WebhookConfig, WebhookUrl};
use crate::metrics::Gauge;
use crate::metrics::labels::HookResult;

/// What a request is about. Each kind has its own queue, so that none of them delays the others for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookQueue {
    /// An event of a connected client, or a request for a decision about one.
    Event,
    /// A client that connects. Such requests use at most half of the concurrent requests.
    Connect,
    /// A notice about something that has happened. Such requests use at most a quarter of the concurrent requests.
    Notice,
}

impl HookQueue {
    const ALL: [Self; 3] = [Self::Event, Self::Connect, Self::Notice];
}

/// A URL and its limits, shared by the workers of a node.
#[derive(Debug)]
pub struct HookTarget {
    /// Its position among the URLs of the node.
    pub(super) index: usize,
    pub(super) url: WebhookUrl,
    pub(super) uri: Uri,
    pub(super) breaker: Breaker,
    requests: Semaphore,
    queues: [QueueLimits; HookQueue::ALL.len()],
    queue_timeout: Duration,
}

#[derive(Debug)]
struct QueueLimits {
    /// The requests of this queue, in addition to `requests`.
    requests: Semaphore,
    waiting: AtomicUsize,
    max_waiting: usize,
}

/// A request that may be sent; holds its place among the concurrent ones.
pub(super) struct Place<'a> {
    _queue: SemaphorePermit<'a>,
    _request: SemaphorePermit<'a>,
}

impl HookTarget {
    pub(super) fn new(
        index: usize,
        url: &WebhookUrl,
        config: &WebhookConfig,
        now: Instant,
    ) -> Self {
        let max = config.max_requests;
        let queue = |queue| {
            let requests = match queue {
                HookQueue::Event => max,
                HookQueue::Connect => max.div_ceil(2),
                HookQueue::Notice => max.div_ceil(4),
            };
            QueueLimits {
                requests: Semaphore::new(requests),
                waiting: AtomicUsize::new(0),
                max_waiting: config.queue_limit,
            }
        };
        Self {
            index,
            url: url.clone(),
            // A URL is a URI.
            uri: Uri::try_from(url.as_str()).unwrap_or_default(),
            breaker: Breaker::new(config.breaker_failures, config.breaker_pause, now),
            requests: Semaphore::new(max),
            queues: HookQueue::ALL.map(queue),
            queue_timeout: config.queue_timeout,
        }
    }

    /// The URL.
    pub fn url(&self) -> &WebhookUrl {
        &self.url
    }

    /// Waits for a place in the order of the calls. `queued` is the gauge of requests that wait.
    ///
    /// # Errors
    /// Too many requests wait, or there is no place for `webhook.queue_timeout`.
    pub(super) async fn place(
        &self,
        queue: HookQueue,
        queued: &Gauge,
    ) -> Result<Place<'_>, HookFailure> {
        let limits = &self.queues[queue as usize];
        if let (Ok(queue), Ok(request)) =
            (limits.requests.try_acquire(), self.requests.try_acquire())
        {
            return Ok(Place {
                _queue: queue,
                _request: request,
            });
        }
        let _waiting = Waiting::join(limits, queued).ok_or_else(|| {
            let detail = "webhook.queue_limit requests wait already";
            HookFailure::temporary(HookFailureCode::Unavailable, HookResult::QueueFull, detail)
        })?;
        let both = async {
            // A closed semaphore does not occur.
            let queue = limits.requests.acquire().await.ok()?;
            let request = self.requests.acquire().await.ok()?;
            Some(Place {
                _queue: queue,
                _request: request,
            })
        };
        match timeout(self.queue_timeout, both).await {
            Ok(Some(place)) => Ok(place),
            _ => Err(HookFailure::temporary(
                HookFailureCode::Unavailable,
                HookResult::QueueTimeout,
                "no place among webhook.max_requests for webhook.queue_timeout",
            )),
        }
    }
}

/// Counts a request that waits.
struct Waiting<'a> {
    limits: &'a QueueLimits,
    queued: &'a Gauge,
}

impl<'a> Waiting<'a> {
    fn join(limits: &'a QueueLimits, queued: &'a Gauge) -> Option<Self> {
        let before = limits.waiting.fetch_add(1, Ordering::Relaxed);
        queued.add(1);
        let waiting = Self { limits, queued };
        // Leaves the queue when dropped.
        (before < limits.max_waiting).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.limits.waiting.fetch_sub(1, Ordering::Relaxed);
        self.queued.add(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn target(max_requests: usize, queue_limit: usize) -> HookTarget {
        let mut config = Config::default().webhook;
        config.max_requests = max_requests;
        config.queue_limit = queue_limit;
        config.queue_timeout = Duration::from_secs(1);
        let url = WebhookUrl::parse("http://localhost/hook").unwrap();
        HookTarget::new(0, &url, &config, crate::clock::now())
    }

    #[tokio::test(start_paused = true)]
    async fn connecting_clients_leave_half_of_the_places_to_events() {
        let (target, queued) = (target(4, 10), Gauge::default());
        let _first = target.place(HookQueue::Connect, &queued).await.unwrap();
        let _second = target.place(HookQueue::Connect, &queued).await.unwrap();
        let failure = target
            .place(HookQueue::Connect, &queued)
            .await
            .err()
            .unwrap();
        assert_eq!(failure.result, HookResult::QueueTimeout);
        assert!(failure.temporary);
        let _third = target.place(HookQueue::Event, &queued).await.unwrap();
        let _fourth = target.place(HookQueue::Event, &queued).await.unwrap();
        assert!(target.place(HookQueue::Event, &queued).await.is_err());
        assert_eq!(queued.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_waiting_line_rejects_at_once_and_each_queue_has_its_own() {
        let (target, queued) = (target(1, 1), Gauge::default());
        let place = target.place(HookQueue::Event, &queued).await.unwrap();
        let waiting = target.place(HookQueue::Event, &queued);
        let other_queue = target.place(HookQueue::Connect, &queued);
        let full = async {
            tokio::task::yield_now().await;
            assert_eq!(queued.get(), 2);
            let failure = target.place(HookQueue::Event, &queued).await.err().unwrap();
            assert_eq!(failure.result, HookResult::QueueFull);
            assert_eq!(failure.code, "backend_unavailable");
            drop(place);
        };
        let (first, second, ()) = tokio::join!(
            async { waiting.await.is_ok() },
            async { other_queue.await.is_ok() },
            full
        );
        assert!(first && second);
    }
}
