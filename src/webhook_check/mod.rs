//! `roomwire webhook test URL`: sends a backend every kind of request, and judges its responses.

mod shapes;
mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use shapes::{TestRequest, shapes};
pub use table::{Check, CheckResult, Row, render};

use crate::config::{HookRoute, Pattern, Secret, WebhookConfig, WebhookUrl};
use crate::metrics::Metrics;
use crate::metrics::labels::HookResult;
use crate::model::Random;
use crate::tls::InvalidTls;
use crate::webhook::{HookFailure, HookQueue, HookRequest, WebhookClient, Webhooks};

/// Sends each kind of request to `url`, signed, with a wrong signature and unsigned; without secrets, only unsigned. A
/// row for each kind, in the order of the documentation.
///
/// # Errors
/// A file for TLS cannot be used.
pub async fn run(
    config: &WebhookConfig,
    url: &WebhookUrl,
    random: &Arc<dyn Random>,
) -> Result<Vec<Row>, InvalidTls> {
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
    for shape in shapes() {
        let mut checks = vec![backend.valid(&valid, &shape).await];
        for client in &strangers {
            checks.push(backend.forged(client, &shape).await);
        }
        rows.push(Row {
            shape: shape.name,
            checks,
        });
    }
    Ok(rows)
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

    /// A request of this node must be accepted, with a response that can be used.
    async fn valid(&self, client: &WebhookClient, shape: &TestRequest) -> Check {
        let (result, took) = self.send(client, shape).await;
        let result = match result {
            Ok(()) => CheckResult::Passed("accepted".to_owned()),
            Err(failure) => CheckResult::Failed(format!("{}: {}", failure.code, failure.detail)),
        };
        Check { result, took }
    }

    /// A request that another program could have sent must be rejected.
    async fn forged(&self, client: &WebhookClient, shape: &TestRequest) -> Check {
        let (result, took) = self.send(client, shape).await;
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
        let result = client.send(target, request, shape.read).await;
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
