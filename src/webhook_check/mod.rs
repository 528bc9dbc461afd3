//! `roomwire webhook test URL`: sends a backend the kinds of requests that it receives, and judges its responses.

mod shapes;
mod subscription;
mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use shapes::{TestRequest, shapes};
use subscription::HookKind;
pub use table::{Check, CheckResult, Row, render};

use crate::config::{Config, HookRoute, Pattern, Secret, WebhookConfig, WebhookUrl};
use crate::metrics::Metrics;
use crate::metrics::labels::HookResult;
use crate::model::Random;
use crate::tls::InvalidTls;
use crate::webhook::{HookFailure, HookQueue, HookRequest, WebhookClient, Webhooks};

/// The result of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One for each kind of request, in the order of the documentation.
    pub rows: Vec<Row>,
    /// The kinds that were left out, because the configuration does not send them to this URL.
    pub left_out: Vec<&'static str>,
}

/// Sends `url` the kinds of requests that the configuration sends there, signed, with a wrong signature and unsigned;
/// without secrets, only unsigned. If the configuration does not contain the URL, or with `all`, every kind is sent.
///
/// # Errors
/// A file for TLS cannot be used.
pub async fn run(
    config: &Config,
    url: &WebhookUrl,
    all: bool,
    random: &Arc<dyn Random>,
) -> Result<Report, InvalidTls> {
    let all = all || !config.webhook.urls().contains(&url);
    let is_sent = |kind: HookKind| all || kind.is_sent(config, url);
    let (shapes, left_out) = shapes(is_sent);
    let config = &config.webhook;
    let backend = Backend {
        url,
        config,
        random,
    };
    let valid = backend.client(config.signing_secrets.clone())?;
    let strangers = match config.signing_secrets.is_empty() {
        true => Vec::new(),
        false => vec![
            backend.client(vec![other_secret(&**random)])?,
            backend.client(Vec::new())?,
        ],
    };
    let mut rows = Vec::new();
    for shape in shapes {
        let mut checks = vec![backend.valid(&valid, &shape).await];
        for client in &strangers {
            checks.push(backend.forged(client, &shape).await);
        }
        rows.push(Row {
            shape: shape.name,
            checks,
        });
    }
    Ok(Report { rows, left_out })
}

/// A backend under test.
struct Backend<'a> {
    url: &'a WebhookUrl,
    config: &'a WebhookConfig,
    random: &'a Arc<dyn Random>,
}

impl Backend<'_> {
    fn client(&self, secrets: Vec<Secret>) -> Result<WebhookClient, InvalidTls> {
        let every = Pattern::from("*");
        let route = HookRoute {
            namespace: every.clone(),
            events: vec![every],
            url: self.url.clone(),
        };
        let config = WebhookConfig {
            route_table: vec![route],
            signing_secrets: secrets,
            // Each request is judged on its own.
            breaker_failures: u32::MAX,
            ..self.config.clone()
        };
        let metrics = Arc::new(Metrics::default());
        let node = Webhooks::new(&config, metrics, Arc::clone(self.random))?;
        Ok(WebhookClient::new(node))
    }

    /// A request of this node must have a response that can be used. It may reject what the request is about, such as an
    /// event that the backend does not have.
    async fn valid(&self, client: &WebhookClient, shape: &TestRequest) -> Check {
        let read = |body: &[u8]| match (shape.read)(body) {
            Err(failure) if failure.result == HookResult::Rejected => Ok(()),
            read => read,
        };
        let (result, took) = self.send(client, shape, read).await;
        let result = match result {
            Ok(()) => CheckResult::Passed("accepted".to_owned()),
            Err(failure) => CheckResult::Failed(format!("{}: {}", failure.code, failure.detail)),
        };
        Check { result, took }
    }

    /// A request that another program could have sent must be rejected.
    async fn forged(&self, client: &WebhookClient, shape: &TestRequest) -> Check {
        let (result, took) = self.send(client, shape, shape.read).await;
        let result = match result {
            Err(failure) if failure.result == HookResult::Rejected => {
                CheckResult::Passed(format!("rejected: {}", failure.detail))
            }
            Ok(()) => CheckResult::Failed("accepted: the signature is not verified".to_owned()),
            Err(failure) => CheckResult::Failed(format!("{}: {}", failure.code, failure.detail)),
        };
        Check { result, took }
    }

    async fn send(
        &self,
        client: &WebhookClient,
        shape: &TestRequest,
        read: impl FnOnce(&[u8]) -> Result<(), HookFailure>,
    ) -> (Result<(), HookFailure>, Duration) {
        let started = Instant::now();
        let Some(target) = client.node().target(self.url) else {
            let failure = HookFailure::bad_answer("the URL is not configured");
            return (Err(failure), started.elapsed());
        };
        let id = client.new_id();
        let request = HookRequest {
            body: shape.body(&id),
            id,
            headers: Default::default(),
            lane: HookQueue::Event,
        };
        let result = client.send(target, request, read).await;
        (result, started.elapsed())
    }
}

/// A secret that no backend has.
fn other_secret(random: &dyn Random) -> Secret {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Secret::from(text.as_str())
}
