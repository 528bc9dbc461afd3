//! Requests about sockets that are gone: a bounded queue of each worker, drained by a few tasks.
//!
//! A request is repeated while the backend is away, for `app.webhook.disconnect_timeout`, always with the same id.
//! Requests that cannot be delivered are counted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use awc::http::header::HeaderMap;
use bytes::Bytes;
use log::warn;
use tokio::sync::oneshot;

use super::hook_state::HookState;
use crate::clock::now;
use crate::config::WebhookAppConfig;
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::store::Tenure;
use crate::webhook::{HookQueue, HookRequest, HookTarget, WebhookClient};

/// Maximum number of concurrent deliveries of a worker.
const MAX_RUNNING: usize = 16;
/// Pause before the first repetition; doubles up to `MAX_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The number of queued requests, shared by the workers of a node.
#[derive(Debug, Default)]
pub(super) struct QueuedDisconnects(AtomicUsize);

impl QueuedDisconnects {
    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// A socket that is gone.
pub(super) struct Departure {
    pub(super) target: Arc<HookTarget>,
    pub(super) id: String,
    pub(super) body: Bytes,
    pub(super) headers: HeaderMap,
    pub(super) state: Rc<HookState>,
    /// Completes when the last request for the socket has ended, if one is pending.
    pub(super) after: Option<oneshot::Receiver<()>>,
    /// The name of this node, if another node may announce the disconnect because this one may have lost its name.
    pub(super) in_doubt: Option<Arc<Tenure>>,
}

/// The queue of a worker.
pub(super) struct Disconnects {
    client: Rc<WebhookClient>,
    queue: RefCell<VecDeque<(Departure, Instant)>>,
    running: Cell<usize>,
    queued: Arc<QueuedDisconnects>,
    limit: usize,
    timeout: Duration,
}

impl Disconnects {
    pub(super) fn new(
        client: Rc<WebhookClient>,
        queued: Arc<QueuedDisconnects>,
        settings: &WebhookAppConfig,
    ) -> Rc<Self> {
        Rc::new(Self {
            client,
            queue: RefCell::default(),
            running: Cell::new(0),
            queued,
            limit: settings.disconnect_queue,
            timeout: settings.disconnect_timeout,
        })
    }

    /// Enqueues a request. It is lost if the queue is full.
    pub(super) fn push(self: &Rc<Self>, departure: Departure) {
        let metrics = self.client.node().metrics();
        if self.queued.0.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.queued.0.fetch_sub(1, Ordering::Relaxed);
            return lost(metrics, "app.webhook.disconnect_queue");
        }
        metrics.webhook_queued_disconnects.add(1);
        let deadline = now() + self.timeout;
        self.queue.borrow_mut().push_back((departure, deadline));
        if self.running.get() < MAX_RUNNING {
            self.running.set(self.running.get() + 1);
            let this = Rc::clone(self);
            actix_rt::spawn(async move { this.run().await });
        }
    }

    async fn run(&self) {
        let metrics = self.client.node().metrics();
        loop {
            let next = self.queue.borrow_mut().pop_front();
            let Some((departure, deadline)) = next else {
                return self.running.set(self.running.get() - 1);
            };
            self.deliver(departure, deadline).await;
            self.queued.0.fetch_sub(1, Ordering::Relaxed);
            metrics.webhook_queued_disconnects.add(-1);
        }
    }

    async fn deliver(&self, departure: Departure, deadline: Instant) {
        if let Some(after) = departure.after {
            // The receiver fails once the task of that request has ended, which is all that matters here.
            let _ = after.await;
        }
        if !departure.state.is_known_to_backend() {
            return;
        }
        let mut deadline = deadline;
        if let Some(tenure) = &departure.in_doubt {
            if !tenure.settled().await {
                return;
            }
            deadline = deadline.max(now() + self.timeout);
        }
        let request = || HookRequest {
            id: departure.id.clone(),
            body: departure.body.clone(),
            headers: departure.headers.clone(),
            lane: HookQueue::Notice,
        };
        deliver(&self.client, &departure.target, request, deadline).await;
    }
}

/// Sends a request about a socket that is gone, and repeats it until the backend has received it or `deadline`.
pub(super) async fn deliver(
    client: &WebhookClient,
    target: &Arc<HookTarget>,
    request: impl Fn() -> HookRequest,
    deadline: Instant,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let sent = client.send(target, request(), |_| Ok(()));
        // A backend that rejects the request has received it.
        let Some(failure) = sent.await.err().filter(|failure| failure.temporary) else {
            return;
        };
        let wait = failure.retry_after.unwrap_or(pause).clamp(pause, MAX_PAUSE);
        if now() + wait > deadline {
            return lost(client.node().metrics(), "app.webhook.disconnect_timeout");
        }
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

fn lost(metrics: &Metrics, key: &str) {
    static LINES: Burst = Burst::new();
    metrics.webhook_disconnects_lost_total.increment();
    if let Some(unreported) = LINES.note() {
        warn!(key, unreported; "disconnect of a socket not delivered to the backend");
    }
}
