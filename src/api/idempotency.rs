//! Requests that are executed once, even if they are sent again: `Idempotency-Key`.
//!
//! The first request claims its key in the store and stores its answer there; later ones with the same key receive that
//! answer. On nodes with Redis this holds for the whole cluster.

use std::time::Duration;

use actix_web::http::StatusCode;
use bytes::Bytes;
use log::warn;
use sha2::{Digest, Sha256};

use super::error::{ApiCode, ApiError};
use super::keys::HeldKey;
use super::state::Api;
use crate::logging::Burst;
use crate::model::Random;
use crate::model::random::OsRandom;

/// Longest value of the header, in bytes.
const MAX_KEY: usize = 255;
/// How long a claim is held without an answer: longer than the longest request.
const CLAIM_TIME: Duration = Duration::from_secs(180);
const CLAIMED: &str = "claimed";
const DONE: &str = "done";

/// The claim of a request that must be executed.
pub(super) struct IdempotencyClaim {
    key: String,
    value: String,
    fingerprint: String,
}

/// What to do with a request.
pub(super) enum Claimed {
    /// Execute it, then [`settle`] the claim.
    First(IdempotencyClaim),
    /// Respond with the stored answer.
    Before(StatusCode, Bytes),
}

/// Claims the key of a request.
///
/// # Errors
/// The first request is still running, the key was used for another request, or the store is unreachable.
pub(super) async fn claim(
    api: &Api,
    key: &HeldKey,
    header: &[u8],
    request: (&str, &[u8]),
) -> Result<Claimed, ApiError> {
    let header = header.trim_ascii();
    if header.is_empty() || header.len() > MAX_KEY {
        let message = format!("`Idempotency-Key` has 1 to {MAX_KEY} bytes");
        return Err(ApiError::new(ApiCode::InvalidIdempotencyKey, message));
    }
    let name = digest(&[key.name().as_bytes(), header]);
    let (verb, body) = request;
    let fingerprint = digest(&[verb.as_bytes(), body]);
    let mut random = [0; 16];
    OsRandom.fill(&mut random);
    let claim = IdempotencyClaim {
        key: format!("{}:api:idempotency:{name}", api.settings.store_prefix),
        value: format!("{CLAIMED} {fingerprint} {}", hex(&random)),
        fingerprint,
    };
    let acquired = api
        .store
        .acquire_lease(&claim.key, &claim.value, CLAIM_TIME)
        .await;
    if acquired.map_err(unavailable)? {
        return Ok(Claimed::First(claim));
    }
    let stored = api.store.get(&claim.key).await.map_err(unavailable)?;
    match stored {
        Some(stored) => former(&claim, &stored),
        // It was released between both commands.
        None => Err(in_use()),
    }
}

/// The answer of a former request with the same key.
fn former(claim: &IdempotencyClaim, stored: &Bytes) -> Result<Claimed, ApiError> {
    let end = stored.iter().position(|byte| *byte == b'\n');
    let (head, body) = match end {
        Some(end) => (&stored[..end], stored.slice(end + 1..)),
        None => (&stored[..], Bytes::new()),
    };
    let head = std::str::from_utf8(head).unwrap_or_default();
    let mut words = head.split(' ');
    let (state, fingerprint, status) = (words.next(), words.next(), words.next());
    if fingerprint != Some(claim.fingerprint.as_str()) {
        let message = "this `Idempotency-Key` was sent with another request";
        return Err(ApiError::new(ApiCode::IdempotencyReused, message));
    }
    let status = status.and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok());
    match (state, status) {
        (Some(DONE), Some(status)) => Ok(Claimed::Before(status, body)),
        _ => Err(in_use()),
    }
}

/// Stores the answer of a claimed request, or releases the claim after a failure that may pass.
pub(super) async fn settle(api: &Api, claim: IdempotencyClaim, status: StatusCode, body: &[u8]) {
    static FAILED: Burst = Burst::new();
    let store = &api.store;
    let settled = if status.is_server_error() {
        store.release(&claim.key, &claim.value).await
    } else {
        let head = format!("{DONE} {} {}\n", claim.fingerprint, status.as_u16());
        let value = Bytes::from([head.as_bytes(), body].concat());
        let time = api.settings.idempotency_time;
        store.set(&claim.key, value, Some(time)).await
    };
    if let Err(error) = settled
        && let Some(others) = FAILED.note()
    {
        warn!(error:%, others; "the answer to a request with an Idempotency-Key is not stored");
    }
}

fn in_use() -> ApiError {
    let message = "the first request with this `Idempotency-Key` is still running";
    ApiError {
        retry_after: Some(Duration::from_secs(1)),
        ..ApiError::new(ApiCode::IdempotencyConflict, message)
    }
}

fn unavailable(error: crate::store::StoreError) -> ApiError {
    ApiError::new(ApiCode::StoreUnavailable, error.to_string())
}

fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
