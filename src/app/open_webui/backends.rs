//! The backends' REST interface: asked with the user's own token, never with rights of our own.
//!
//! One for each worker; all of a node share which backend is next and how many requests are on their way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use awc::{Client, Connector};
use bytes::Bytes;
use log::warn;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::node::Node;
use super::token::Token;
use crate::config::{OpenWebuiConfig, UpstreamUrl};
use crate::metrics::Metrics;
use crate::metrics::labels::Question;

/// Bytes of an answer: a whole chat comes along when one asks whether it may be read.
const LARGEST_ANSWER: usize = 64 << 20;
/// Backends close idle connections after 5 s.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// How long a backend that failed is only asked if no other is left.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Pauses between two rounds over all backends: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(4);

/// No backend answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no backend answers: {0}")]
pub(super) struct Unreachable(pub(super) String);

/// What a backend answered.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Reply {
    /// The body of a good answer.
    pub(super) fn read<T: for<'a> Deserialize<'a>>(&self) -> Option<T> {
        (self.status == 200)
            .then(|| serde_json::from_slice(&self.body).ok())
            .flatten()
    }

    /// The user may not, or there is no such thing.
    pub(super) fn is_no(&self) -> bool {
        matches!(self.status, 400 | 401 | 403 | 404)
    }

    /// A yes or a no.
    pub(super) fn may(&self) -> Option<bool> {
        let yes = self.status == 200;
        (yes || self.is_no()).then_some(yes)
    }
}

/// Which share of the requests a token may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A backend has verified the token before.
    Known,
    /// Never verified, possibly forged: such tokens share half of the requests, so that they cannot delay the others.
    Stranger,
}

/// The backends of a node.
pub(super) struct Fleet {
    urls: Vec<UpstreamUrl>,
    next: AtomicUsize,
    /// Until when each is spared.
    spared: Mutex<Vec<Option<Instant>>>,
    /// Requests that may be on their way.
    permits: Semaphore,
    /// The part of them that is available to [`Standing::Stranger`].
    strangers: Semaphore,
}

impl Fleet {
    pub(super) fn new(config: &OpenWebuiConfig) -> Self {
        Self {
            urls: config.upstreams.clone(),
            next: AtomicUsize::new(0),
            spared: Mutex::new(vec![None; config.upstreams.len()]),
            permits: Semaphore::new(config.max_requests),
            strangers: Semaphore::new((config.max_requests / 2).max(1)),
        }
    }

    /// All backends.
    pub(super) fn urls(&self) -> &[UpstreamUrl] {
        &self.urls
    }

    /// All backends in the order in which to ask: in turn, those that failed just now at the end.
    fn order(&self, now: Instant) -> Vec<usize> {
        let count = self.urls.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut order: Vec<usize> = (0..count).map(|n| (first + n) % count).collect();
        let spared = self.spared.lock().unwrap_or_else(PoisonError::into_inner);
        order.sort_by_key(|&index| spared[index].is_some_and(|until| until > now));
        order
    }

    /// Notes how a backend did; says whether that is news.
    fn note(&self, index: usize, failed: bool, now: Instant) -> bool {
        let mut spared = self.spared.lock().unwrap_or_else(PoisonError::into_inner);
        let was = spared[index].is_some();
        spared[index] = failed.then(|| now + REST_AFTER_FAILURE);
        was != failed
    }
}

/// The way of one worker to the backends.
pub(super) struct Backends {
    client: Client,
    fleet: Arc<Fleet>,
    timeout: Duration,
    patience: Duration,
    metrics: Arc<Metrics>,
}

impl Backends {
    pub(super) fn new(node: &Node) -> Self {
        let config = &node.config;
        let connector = Connector::new()
            .timeout(config.request_timeout)
            .conn_keep_alive(KEEP_ALIVE);
        Self {
            client: Client::builder()
                .connector(connector)
                .timeout(config.request_timeout)
                .disable_redirects()
                .finish(),
            fleet: Arc::clone(&node.fleet),
            timeout: config.request_timeout,
            patience: config.patience,
            metrics: Arc::clone(&node.metrics),
        }
    }

    /// Asks whoever answers, again and again for the configured time. `read` takes the answer; one of which it makes
    /// nothing, as of a gateway or of something that is no Open WebUI, counts as no answer.
    pub(super) async fn ask<T>(
        &self,
        standing: Standing,
        question: Question,
        path: &str,
        token: &Token,
        read: impl Fn(&Reply) -> Option<T>,
    ) -> Result<T, Unreachable> {
        let begun = Instant::now();
        let give_up = begun + self.patience;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.ask_each(standing, path, token, give_up, &read).await {
                Err(error) if Instant::now() + pause > give_up => return Err(error),
                Err(_) => tokio::time::sleep(pause).await,
                Ok(word) => {
                    self.metrics
                        .open_webui_requests_total
                        .of(question)
                        .increment();
                    self.metrics
                        .open_webui_request_seconds
                        .observe(begun.elapsed());
                    return Ok(word);
                }
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Asks each backend once until one answers. Waits for its turn until `give_up`.
    async fn ask_each<T>(
        &self,
        standing: Standing,
        path: &str,
        token: &Token,
        give_up: Instant,
        read: impl Fn(&Reply) -> Option<T>,
    ) -> Result<T, Unreachable> {
        let many = || {
            let many = "too many requests are queued before it (app.open_webui.max_requests)";
            Unreachable(many.to_owned())
        };
        let _stranger = match standing {
            Standing::Known => None,
            Standing::Stranger => {
                let permit = timeout_at(give_up.into(), self.fleet.strangers.acquire()).await;
                Some(permit.map_err(|_| many())?.map_err(|_| many())?)
            }
        };
        let mut last = Unreachable("none is configured".to_owned());
        for index in self.fleet.order(Instant::now()) {
            let url = &self.fleet.urls[index];
            let permit = timeout_at(give_up.into(), self.fleet.permits.acquire()).await;
            let Ok(Ok(_permit)) = permit else {
                return Err(many());
            };
            let outcome = self.get(&format!("{url}{path}"), Some(token)).await;
            let outcome = outcome.and_then(|reply| {
                read(&reply).ok_or_else(|| {
                    let status = reply.status;
                    Unreachable(format!("{path} makes no sense there, it answers {status}"))
                })
            });
            let news = self.fleet.note(index, outcome.is_err(), Instant::now());
            match outcome {
                Ok(word) => return Ok(word),
                Err(error) => {
                    self.metrics.open_webui_request_failures_total.increment();
                    if news {
                        warn!(url:%, error:% = error.0; "backend does not answer");
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// One request. That something failed there, or has too much to do, counts as no answer.
    pub(super) async fn get(&self, url: &str, token: Option<&Token>) -> Result<Reply, Unreachable> {
        let failed = |error: String| Unreachable(error);
        let mut request = self.client.get(url);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        let whole = async {
            let mut response = request
                .send()
                .await
                .map_err(|error| failed(error.to_string()))?;
            let status = response.status().as_u16();
            let body = response.body().limit(LARGEST_ANSWER).await;
            let body = body.map_err(|error| failed(error.to_string()))?;
            match status {
                408 | 429 | 500.. => Err(failed(format!("it answers {status}"))),
                _ => Ok(Reply { status, body }),
            }
        };
        match tokio::time::timeout(self.timeout, whole).await {
            Ok(outcome) => outcome,
            Err(_) => Err(failed(format!("no answer in {:?}", self.timeout))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_asked_in_turn_and_spared_after_a_failure() {
        let mut config = crate::config::Config::default().app.open_webui;
        config.upstreams = ["http://a", "http://b", "http://c"]
            .map(|url| UpstreamUrl::parse(url).unwrap())
            .to_vec();
        let fleet = Fleet::new(&config);
        let now = Instant::now();
        assert_eq!(fleet.order(now), [0, 1, 2]);
        assert_eq!(fleet.order(now), [1, 2, 0]);
        assert!(fleet.note(2, true, now));
        assert!(!fleet.note(2, true, now), "known by now");
        assert_eq!(fleet.order(now), [0, 1, 2], "its turn, but spared");
        assert_eq!(fleet.order(now), [0, 1, 2]);
        assert_eq!(fleet.order(now + REST_AFTER_FAILURE), [1, 2, 0]);
        assert!(fleet.note(2, false, now));
    }
}
