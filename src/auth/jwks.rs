//! Fetches the key set of `auth.jwks_url`: one task per node, on the main thread.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use awc::error::{PayloadError, SendRequestError};
use awc::{Client, Connector};
use log::{info, warn};
use rustls::ClientConfig;
use tokio::task::JoinHandle;
use url::Url;

use super::key_set_settings::KeySetSettings;
use super::verifier::Verifier;
use crate::config::jwks_tls;
use crate::metrics::labels::KeySetFetch;
use crate::tls::InvalidTls;
use crate::token::{InvalidKeySet, VerifyingKey, read_key_set};

/// Maximum size of a key set: a hundred times that of usual ones.
const SIZE_LIMIT: usize = 256 << 10;

/// Time until the next attempt after the first failure; doubles with each further failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Why a key set was not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no response within auth.jwks_timeout")]
    Timeout,
    #[error("{0}")]
    Request(#[from] SendRequestError),
    #[error("{0}")]
    Tls(#[from] InvalidTls),
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("redirects are not followed (HTTP status {0}); configure the final URL")]
    Redirect(u16),
    #[error("the response is larger than 256 KiB")]
    TooLarge,
    #[error("the response was not complete: {0}")]
    Body(PayloadError),
    #[error("the response is not a key set: {0}")]
    KeySet(#[from] InvalidKeySet),
}

/// The task that fetches the key set of a node. Dropping it ends the task.
pub struct KeyFetcher(JoinHandle<()>);

impl KeyFetcher {
    /// Starts the task. Must run inside an actix system.
    pub fn start(verifier: Arc<Verifier>) -> Self {
        Self(actix_rt::spawn(keep_fetched(verifier)))
    }
}

impl Drop for KeyFetcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep_fetched(verifier: Arc<Verifier>) {
    let remote = verifier.remote();
    let mut failures = 0;
    // The authorities of the system are read once, because there are many.
    let mut system = None;
    loop {
        let settings = remote.settings();
        let Some(url) = settings.url.clone() else {
            remote.attempt_ended(&settings, None);
            remote.wake.notified().await;
            continue;
        };
        remote.attempt_begins();
        let fetched = fetch(&url, &settings, &mut system).await;
        record(&verifier, &url, &fetched, failures);
        let pause = match &fetched {
            Ok(_) => settings.refresh,
            Err(_) => LAST_RETRY.min(FIRST_RETRY * 2_u32.saturating_pow(failures)),
        };
        failures = match &fetched {
            Ok(_) => 0,
            Err(_) => failures.saturating_add(1).min(10),
        };
        remote.attempt_ended(&settings, fetched.ok());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = remote.wake.notified() => {}
        }
    }
}

/// Logs and counts an attempt after `failures` failed ones.
fn record(
    verifier: &Verifier,
    url: &Url,
    fetched: &Result<Vec<VerifyingKey>, FetchError>,
    failures: u32,
) {
    let metrics = verifier.metrics();
    let url = shown(url);
    match fetched {
        Ok(keys) => {
            metrics
                .jwks_fetches_total
                .of(KeySetFetch::Fetched)
                .increment();
            metrics.jwks_keys.set(keys.len() as i64);
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.unwrap_or_default().as_secs();
            metrics.jwks_fetched_timestamp_seconds.set(now as i64);
            if failures > 0 {
                info!(url, keys = keys.len(); "key set fetched again");
            }
        }
        Err(error) => {
            metrics
                .jwks_fetches_total
                .of(KeySetFetch::Failed)
                .increment();
            warn!(url; "key set not fetched (auth.jwks_url): {error}");
        }
    }
}

/// The URL without its query, which may contain an access key.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

async fn fetch(
    url: &Url,
    settings: &KeySetSettings,
    system: &mut Option<Arc<ClientConfig>>,
) -> Result<Vec<VerifyingKey>, FetchError> {
    let tls = match (&settings.ca, &system) {
        _ if url.scheme() != "https" => None,
        (Some(ca), _) => Some(Arc::new(jwks_tls(Some(ca.clone()))?)),
        (None, Some(known)) => Some(Arc::clone(known)),
        (None, None) => {
            let read = Arc::new(jwks_tls(None)?);
            *system = Some(Arc::clone(&read));
            Some(read)
        }
    };
    let fetched = tokio::time::timeout(settings.timeout, request(url, settings.timeout, tls));
    fetched.await.unwrap_or(Err(FetchError::Timeout))
}

async fn request(
    url: &Url,
    timeout: Duration,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Vec<VerifyingKey>, FetchError> {
    let connector = Connector::new().timeout(timeout);
    let connector = match tls {
        Some(tls) => connector.rustls_0_23(tls),
        None => connector,
    };
    let builder = Client::builder().timeout(timeout).disable_redirects();
    let client = builder.connector(connector).finish();
    let request = client
        .get(url.as_str())
        .insert_header(("Accept", "application/json, application/jwk-set+json"));
    let mut response = request.send().await.map_err(|error| match error {
        SendRequestError::Timeout => FetchError::Timeout,
        other => FetchError::Request(other),
    })?;
    let status = response.status();
    if status.is_redirection() {
        return Err(FetchError::Redirect(status.as_u16()));
    }
    if status.as_u16() != 200 {
        return Err(FetchError::Status(status.as_u16()));
    }
    let body = response.body().limit(SIZE_LIMIT).await;
    let body = body.map_err(|error| match error {
        PayloadError::Overflow => FetchError::TooLarge,
        other => FetchError::Body(other),
    })?;
    Ok(read_key_set(&body)?)
}
