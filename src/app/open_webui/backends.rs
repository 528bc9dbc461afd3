//! The REST interface of the backends, requested with the token of the user and never with privileges of our own.
//!
//! One client per worker. The workers of a node share the [`BackendSet`]: the order of backends, which of them failed
//! recently, and the number of concurrent requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use awc::{Client, Connector};
use bytes::Bytes;
use log::warn;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

use super::token::Token;
use crate::clock::now;
use crate::config::{OpenWebuiConfig, UpstreamUrl};
use crate::metrics::Metrics;
use crate::metrics::labels::BackendRequest;

/// Maximum size in bytes of a response body. Checking whether a chat may be read returns the whole chat.
const MAX_BODY: usize = 64 << 20;
/// Shorter than the 5 s after which backends close idle connections.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// Time after a failure in which a backend is tried last.
const FAILURE_COOLDOWN: Duration = Duration::from_secs(5);
/// Pause between two rounds over all backends; doubles from the first value to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(4);

/// No backend responded in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no backend responds: {0}")]
pub(super) struct Unavailable(pub(super) String);

/// A response of a backend.
#[derive(Debug, Clone)]
pub(super) struct BackendResponse {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl BackendResponse {
    /// The parsed body of a 200 response.
    pub(super) fn json<T: for<'a> Deserialize<'a>>(&self) -> Option<T> {
        (self.status == 200)
            .then(|| serde_json::from_slice(&self.body).ok())
            .flatten()
    }

    /// Whether the user lacks permission, or the resource does not exist.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self.status, 400 | 401 | 403 | 404)
    }

    /// Whether the user has permission; `None` for a response that does not decide it.
    pub(super) fn is_permitted(&self) -> Option<bool> {
        let permitted = self.status == 200;
        (permitted || self.is_denied()).then_some(permitted)
    }
}

/// Which share of the concurrent requests a token may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// A backend has verified the token before.
    Verified,
    /// The token was never verified and may be forged. Such tokens share half of the requests, so that they cannot
    /// delay the others.
    Unverified,
}

/// The backends of a node.
pub(super) struct BackendSet {
    urls: Vec<UpstreamUrl>,
    next: AtomicUsize,
    /// For each backend, the end of the cooldown after its last failure.
    cooldowns: Mutex<Vec<Option<Instant>>>,
    /// Permits of concurrent requests.
    permits: Semaphore,
    /// The permits available to [`Trust::Unverified`], which are taken in addition.
    unverified: Semaphore,
}

impl BackendSet {
    pub(super) fn new(config: &OpenWebuiConfig) -> Self {
        Self {
            urls: config.upstreams.clone(),
            next: AtomicUsize::new(0),
            cooldowns: Mutex::new(vec![None; config.upstreams.len()]),
            permits: Semaphore::new(config.max_requests),
            unverified: Semaphore::new((config.max_requests / 2).max(1)),
        }
    }

    /// All backends.
    pub(super) fn urls(&self) -> &[UpstreamUrl] {
        &self.urls
    }

    /// The indexes of all backends, round robin; those that failed recently come last.
    fn order(&self, now: Instant) -> Vec<usize> {
        let count = self.urls.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut order: Vec<usize> = (0..count).map(|n| (first + n) % count).collect();
        let cooldowns = self
            .cooldowns
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        order.sort_by_key(|&index| cooldowns[index].is_some_and(|until| until > now));
        order
    }

    /// Records the result of a request; returns whether it differs from the previous one.
    fn record(&self, index: usize, failed: bool, now: Instant) -> bool {
        let mut cooldowns = self
            .cooldowns
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let had_failed = cooldowns[index].is_some();
        cooldowns[index] = failed.then(|| now + FAILURE_COOLDOWN);
        had_failed != failed
    }

    /// Waits until `deadline` for a permit to send a request.
    async fn permit(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Unavailable> {
        acquire(&self.permits, deadline).await
    }

    /// Waits until `deadline` for the further permit that an unverified token requires.
    async fn unverified_permit(
        &self,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, Unavailable> {
        acquire(&self.unverified, deadline).await
    }
}

async fn acquire(
    permits: &Semaphore,
    deadline: Instant,
) -> Result<SemaphorePermit<'_>, Unavailable> {
    match timeout_at(deadline.into(), permits.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Unavailable(
            "too many requests are queued (app.open_webui.max_requests)".to_owned(),
        )),
    }
}

/// The REST client of one worker.
pub(super) struct Backends {
    client: Client,
    backend_set: Arc<BackendSet>,
    timeout: Duration,
    retry_timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Backends {
    pub(super) fn new(
        config: &OpenWebuiConfig,
        backend_set: Arc<BackendSet>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let connector = Connector::new()
            .timeout(config.request_timeout)
            .conn_keep_alive(KEEP_ALIVE);
        Self {
            client: Client::builder()
                .connector(connector)
                .timeout(config.request_timeout)
                .disable_redirects()
                .finish(),
            backend_set,
            timeout: config.request_timeout,
            retry_timeout: config.retry_timeout,
            metrics,
        }
    }

    /// Requests `path`, retrying over all backends for `app.open_webui.retry_timeout`. `read` interprets the response;
    /// a response for which it returns `None`, such as one of a gateway or of another product, counts as a failure.
    ///
    /// # Errors
    /// No backend responded in time.
    pub(super) async fn fetch<T>(
        &self,
        trust: Trust,
        subject: BackendRequest,
        path: &str,
        token: &Token,
        read: impl Fn(&BackendResponse) -> Option<T>,
    ) -> Result<T, Unavailable> {
        let started = now();
        let deadline = started + self.retry_timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.try_backends(trust, path, token, deadline, &read).await {
                Err(error) if now() + pause > deadline => return Err(error),
                Err(_) => tokio::time::sleep(pause).await,
                Ok(value) => {
                    let metrics = &self.metrics;
                    metrics.open_webui_requests_total.of(subject).increment();
                    metrics
                        .open_webui_request_seconds
                        .observe(started.elapsed());
                    return Ok(value);
                }
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Tries each backend once until one responds. Waits for permits until `deadline`.
    async fn try_backends<T>(
        &self,
        trust: Trust,
        path: &str,
        token: &Token,
        deadline: Instant,
        read: impl Fn(&BackendResponse) -> Option<T>,
    ) -> Result<T, Unavailable> {
        let _unverified = match trust {
            Trust::Verified => None,
            Trust::Unverified => Some(self.backend_set.unverified_permit(deadline).await?),
        };
        let mut last = Unavailable("none is configured".to_owned());
        for index in self.backend_set.order(now()) {
            let url = &self.backend_set.urls[index];
            let _permit = self.backend_set.permit(deadline).await?;
            let result = self.get(&format!("{url}{path}"), Some(token)).await;
            let result = result.and_then(|response| {
                read(&response).ok_or_else(|| {
                    let status = response.status;
                    Unavailable(format!("{path}: unexpected response: HTTP {status}"))
                })
            });
            let changed = self.backend_set.record(index, result.is_err(), now());
            match result {
                Ok(value) => return Ok(value),
                Err(error) => {
                    self.metrics.open_webui_request_failures_total.increment();
                    if changed {
                        warn!(url:%, error:% = error.0; "backend request failed");
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Sends one GET request. A server error, or a status by which an overloaded backend rejects, counts as a failure.
    ///
    /// # Errors
    /// The backend did not respond in time, or failed.
    pub(super) async fn get(
        &self,
        url: &str,
        token: Option<&Token>,
    ) -> Result<BackendResponse, Unavailable> {
        let mut request = self.client.get(url);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        let response = async {
            let failed = |error: &dyn std::error::Error| Unavailable(error.to_string());
            let mut response = request.send().await.map_err(|error| failed(&error))?;
            let status = response.status().as_u16();
            let body = response.body().limit(MAX_BODY).await;
            let body = body.map_err(|error| failed(&error))?;
            match status {
                408 | 429 | 500.. => Err(Unavailable(format!("HTTP {status}"))),
                _ => Ok(BackendResponse { status, body }),
            }
        };
        match tokio::time::timeout(self.timeout, response).await {
            Ok(result) => result,
            Err(_elapsed) => Err(Unavailable(format!("no response in {:?}", self.timeout))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_take_turns_and_come_last_after_a_failure() {
        let mut config = crate::config::Config::default().app.open_webui;
        config.upstreams = ["http://a", "http://b", "http://c"]
            .map(|url| UpstreamUrl::parse(url).unwrap())
            .to_vec();
        let backend_set = BackendSet::new(&config);
        let now = now();
        assert_eq!(backend_set.order(now), [0, 1, 2]);
        assert_eq!(backend_set.order(now), [1, 2, 0]);
        assert!(backend_set.record(2, true, now));
        assert!(!backend_set.record(2, true, now), "already known");
        assert_eq!(
            backend_set.order(now),
            [0, 1, 2],
            "its turn, but in cooldown"
        );
        assert_eq!(backend_set.order(now), [0, 1, 2]);
        assert_eq!(backend_set.order(now + FAILURE_COOLDOWN), [1, 2, 0]);
        assert!(backend_set.record(2, false, now));
    }
}
