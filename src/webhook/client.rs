//! Sends requests to the URLs of a node, with one client on each thread that sends.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use awc::http::Method;
use awc::http::header::{self, HeaderMap, HeaderValue};
use awc::{Client, ClientRequest, Connector};
use bytes::Bytes;
use log::{debug, info, warn};
use tokio_rustls::rustls::ClientConfig;

use super::breaker::{Attempt, BreakerChange};
use super::exchange::{ExchangeRules, Received, is_gateway_failure};
use super::failure::{HookFailure, HookFailureCode};
use super::signature::Signer;
use super::target::{HookQueue, HookTarget};
use crate::clock::now;
use crate::config::{HookRoute, Reloadable, WebhookConfig, WebhookUrl};
use crate::health::{BackendState, HttpBackends};
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::metrics::labels::{HookResult, Label as _};
use crate::model::Random;
use crate::tls::{ClientTlsFiles, ClientTlsKeys, InvalidTls, client_config};

const KEYS: ClientTlsKeys = ClientTlsKeys {
    ca: "webhook.tls_ca",
    certificate: "webhook.tls_cert",
    key: "webhook.tls_key",
};
pub(super) const USER_AGENT: &str = concat!("roomwire/", env!("CARGO_PKG_VERSION"));

/// What the threads of a node share.
pub struct Webhooks {
    targets: Vec<Arc<HookTarget>>,
    /// Each route, and the index of its target.
    routes: Vec<(HookRoute, usize)>,
    rules: ExchangeRules,
    keep_alive: Duration,
    tls: Option<Arc<ClientConfig>>,
    signer: Arc<Reloadable<Signer>>,
    metrics: Arc<Metrics>,
    random: Arc<dyn Random>,
}

/// A request to be sent.
pub struct HookRequest {
    /// Identifies the request to its receiver, also when it is repeated; see [`WebhookClient::new_id`].
    pub id: String,
    /// A JSON object.
    pub body: Bytes,
    /// Headers besides those of every request.
    pub headers: HeaderMap,
    pub lane: HookQueue,
}

impl Webhooks {
    /// The URLs of a configuration.
    ///
    /// # Errors
    /// A file for TLS cannot be used.
    pub fn new(
        config: &WebhookConfig,
        metrics: Arc<Metrics>,
        random: Arc<dyn Random>,
    ) -> Result<Arc<Self>, InvalidTls> {
        let urls = config.urls();
        let position = |url| urls.iter().position(|known| *known == url);
        let routes = config.route_table.iter();
        let routes = routes.filter_map(|route| Some((route.clone(), position(&route.url)?)));
        let targets = urls.iter().enumerate();
        let targets =
            targets.map(|(index, url)| Arc::new(HookTarget::new(index, url, config, now())));
        let names = urls.iter().map(ToString::to_string);
        metrics.webhook_breaker_open.name(names);
        Ok(Arc::new(Self {
            routes: routes.collect(),
            targets: targets.collect(),
            rules: ExchangeRules {
                timeout: config.timeout,
                response_limit: config.response_limit,
                status_codes: config.status_codes.clone(),
            },
            keep_alive: config.keep_alive,
            tls: tls(config, &urls)?,
            signer: Reloadable::new(Signer::new(&config.signing_secrets)),
            metrics,
            random,
        }))
    }

    /// Signs with the secrets of `config` from now on.
    pub fn replace_secrets(&self, config: &WebhookConfig) {
        self.signer.replace(Signer::new(&config.signing_secrets));
    }

    /// The URL that receives an event of a namespace; `None` if no route matches.
    pub fn route(&self, namespace: &str, event: &str) -> Option<&Arc<HookTarget>> {
        let mut routes = self.routes.iter();
        let (_, index) = routes.find(|(route, _)| route.matches(namespace, event))?;
        self.targets.get(*index)
    }

    /// Whether any URL receives events and requests for decisions.
    pub fn has_routes(&self) -> bool {
        !self.routes.is_empty()
    }

    /// The URL itself, if the configuration contains it.
    pub fn target(&self, url: &WebhookUrl) -> Option<&Arc<HookTarget>> {
        self.targets.iter().find(|target| target.url() == url)
    }

    /// The URLs.
    pub fn targets(&self) -> &[Arc<HookTarget>] {
        &self.targets
    }

    /// The metrics of the node.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// A random wait between a half and one and a half of `mean`, so that rejected clients do not return all at once.
    fn spread(&self, mean: Duration) -> Duration {
        let mut random = [0; 2];
        self.random.fill(&mut random);
        let share = f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX);
        mean.mul_f64(0.5 + share)
    }
}

impl HttpBackends for Webhooks {
    fn states(&self) -> Vec<(String, BackendState)> {
        let now = now();
        let state = |target: &Arc<HookTarget>| (target.url.to_string(), target.breaker.state(now));
        self.targets.iter().map(state).collect()
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks")
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}

/// The settings of `https://` connections; `None` if no URL needs them.
fn tls(
    config: &WebhookConfig,
    urls: &[&WebhookUrl],
) -> Result<Option<Arc<ClientConfig>>, InvalidTls> {
    if !urls.iter().any(|url| url.has_tls()) {
        return Ok(None);
    }
    let files = ClientTlsFiles {
        ca: config.tls_ca.clone(),
        identity: config.tls_cert.clone().zip(config.tls_key.clone()),
    };
    let mut tls = client_config(&files, KEYS)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(tls)))
}

/// Sends requests from one thread, over connections that it keeps open.
pub struct WebhookClient {
    client: Client,
    node: Arc<Webhooks>,
}

impl WebhookClient {
    /// The client of the current thread, which must run an actix system.
    pub fn new(node: Arc<Webhooks>) -> Self {
        // The limit of concurrent requests is that of the target.
        let connector = Connector::new()
            .timeout(node.rules.timeout)
            .conn_keep_alive(node.keep_alive)
            .limit(0);
        let connector = match &node.tls {
            Some(tls) => connector.rustls_0_23(Arc::clone(tls)),
            None => connector,
        };
        let client = Client::builder()
            .connector(connector)
            .timeout(node.rules.timeout)
            .disable_redirects()
            .no_default_headers()
            .finish();
        Self { client, node }
    }

    /// What the threads of the node share.
    pub fn node(&self) -> &Arc<Webhooks> {
        &self.node
    }

    /// A new id for a request.
    pub fn new_id(&self) -> String {
        let mut random = [0; 16];
        self.node.random.fill(&mut random);
        let mut id = String::with_capacity(4 + 2 * random.len());
        id.push_str("msg_");
        for byte in random {
            // Writing to a string cannot fail.
            let _ = write!(id, "{byte:02x}");
        }
        id
    }

    /// Sends a request without a body, which the backend need not understand; returns the status of its response.
    ///
    /// # Errors
    /// Why there is no response.
    pub async fn probe(&self, target: &HookTarget) -> Result<u16, String> {
        let request = self.client.request(Method::HEAD, target.uri.clone());
        let status = self.node.rules.status(request).await;
        status
            .map(|status| status.as_u16())
            .map_err(|failure| failure.detail)
    }

    /// Sends a request once, when it is its turn, and interprets the body of a successful response by `read`.
    ///
    /// # Errors
    /// There is no response in time, it is not a success, or `read` cannot use its body.
    pub async fn send<T>(
        &self,
        target: &HookTarget,
        request: HookRequest,
        read: impl FnOnce(&[u8]) -> Result<T, HookFailure>,
    ) -> Result<T, HookFailure> {
        self.send_unless(target, request, std::future::pending(), read)
            .await
    }

    /// As [`Self::send`], but the request is not sent if `abandoned` completes before it is its turn.
    ///
    /// # Errors
    /// As [`Self::send`], and it was abandoned.
    pub async fn send_unless<T>(
        &self,
        target: &HookTarget,
        request: HookRequest,
        abandoned: impl Future<Output = ()>,
        read: impl FnOnce(&[u8]) -> Result<T, HookFailure>,
    ) -> Result<T, HookFailure> {
        let lane = request.lane;
        let exchanged = self.exchange(target, lane, self.node.rules.timeout, abandoned, || {
            self.message(target, request)
        });
        let result = exchanged.await.and_then(|received| {
            let body = self.node.rules.judge(received)?;
            read(&body)
        });
        self.count(target, &result);
        result
    }

    /// Counts and logs the result of a request.
    pub(super) fn count<T>(&self, target: &HookTarget, result: &Result<T, HookFailure>) {
        let label = match &result {
            Ok(_) => HookResult::Ok,
            Err(failure) => failure.result,
        };
        let requests = &self.node.metrics.webhook_requests_total;
        requests.of(label).increment();
        if let Err(failure) = result {
            log_failure(target, failure);
        }
    }

    /// The client of the current thread.
    pub(super) fn http(&self) -> &Client {
        &self.client
    }

    /// Sends what `message` makes once, when it is its turn, and receives the whole response within `timeout`.
    ///
    /// # Errors
    /// There is no response in time, or it was abandoned before it was its turn.
    pub(super) async fn exchange(
        &self,
        target: &HookTarget,
        lane: HookQueue,
        timeout: Duration,
        abandoned: impl Future<Output = ()>,
        message: impl FnOnce() -> (ClientRequest, Bytes),
    ) -> Result<Received, HookFailure> {
        let metrics = &self.node.metrics;
        target.breaker.check(now()).map_err(paused)?;
        let queued = now();
        let place = async {
            tokio::select! {
                biased;
                place = target.place(lane, &metrics.webhook_queued_requests) => place,
                () = abandoned => Err(HookFailure::abandoned()),
            }
        };
        // Clients that found the queue full return at different times.
        let mean = self.node.rules.timeout * 2;
        let _place = place
            .await
            .map_err(|failure| failure.after(self.node.spread(mean)))?;
        let attempt = target.breaker.admit(now()).map_err(paused)?;
        let started = now();
        metrics.webhook_queue_seconds.observe(started - queued);
        let (message, body) = message();
        let exchanged = self.node.rules.exchange(message, body, timeout).await;
        metrics.webhook_request_seconds.observe(started.elapsed());
        let responded = match &exchanged {
            Ok(received) => !is_gateway_failure(received.status),
            Err(failure) => failure.result == HookResult::BadAnswer,
        };
        self.record(target, attempt, responded, now());
        exchanged
    }

    /// The request with its headers and signature.
    fn message(&self, target: &HookTarget, request: HookRequest) -> (ClientRequest, Bytes) {
        let HookRequest {
            id, body, headers, ..
        } = request;
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH);
        let timestamp = timestamp.unwrap_or_default().as_secs();
        let signature = self.node.signer.read().sign(&id, timestamp, &body);
        let mut message = self.client.request(Method::POST, target.uri.clone());
        *message.headers_mut() = headers;
        let json = HeaderValue::from_static("application/json");
        message = message
            .insert_header((header::CONTENT_TYPE, json))
            .insert_header(("webhook-id", id))
            .insert_header(("webhook-timestamp", timestamp));
        // If the client's own header is passed on, it stays.
        if !message.headers().contains_key(header::USER_AGENT) {
            message = message.insert_header((header::USER_AGENT, USER_AGENT));
        }
        if let Some(signature) = signature {
            message = message.insert_header(("webhook-signature", signature));
        }
        (message, body)
    }

    fn record(&self, target: &HookTarget, attempt: Attempt, responded: bool, now: Instant) {
        let change = target.breaker.record(attempt, responded, now);
        let gauge = self.node.metrics.webhook_breaker_open.at(target.index);
        let (Some(change), Some(gauge)) = (change, gauge) else {
            return;
        };
        match change {
            BreakerChange::Opened => {
                gauge.set(1);
                warn!(url:% = target.url; "backend does not respond, no webhooks are sent for a while");
            }
            BreakerChange::Closed => {
                gauge.set(0);
                info!(url:% = target.url; "backend responds again");
            }
        }
    }
}

/// The failure of a request in a pause of the breaker.
fn paused(wait: Duration) -> HookFailure {
    let detail = "the circuit breaker is open";
    let code = HookFailureCode::Unavailable;
    HookFailure::temporary(code, HookResult::BreakerOpen, detail).after(wait)
}

fn log_failure(target: &HookTarget, failure: &HookFailure) {
    /// One for each result, so that a new kind of failure is logged at once.
    static LINES: [Burst; HookResult::VALUES.len()] =
        [const { Burst::new() }; HookResult::VALUES.len()];
    let (url, reason) = (&target.url, &failure.detail);
    let due = || LINES.get(failure.result.index())?.note();
    match failure.result {
        // A mistake in the configuration of the node or of the backend is more likely than a decision.
        HookResult::Rejected if failure.is_unexplained() => {
            if let Some(unreported) = due() {
                info!(url:%, code:% = failure.code, reason:%, unreported; "webhook request rejected without an `error`: check the path of the URL, and that webhook.secrets has the secret of the backend");
            }
        }
        // The decision of the backend is not a failure, and a pause of the breaker was logged when it began.
        HookResult::Ok | HookResult::Rejected | HookResult::BreakerOpen | HookResult::Abandoned => {
            debug!(url:%, code:% = failure.code, reason:%; "webhook request rejected");
        }
        _ => {
            if let Some(unreported) = due() {
                warn!(url:%, code:% = failure.code, reason:%, unreported; "webhook request failed");
            }
        }
    }
}
