//! `roomwire webhook replay`: sends the dead letters of a cluster again.

use std::time::Duration;

use serde::Deserialize;

use super::dead_letters::DeadLetters;
use crate::config::WebhookUrl;
use crate::store::{LogEntry, StoreError};
use crate::webhook::{HookFailure, HookQueue, HookRequest, WebhookClient};

/// For how long a replay that is killed keeps others from starting.
const CLAIM_TIME: Duration = Duration::from_secs(60);
/// Number of attempts for each letter while the receiver does not respond.
const ATTEMPTS: u32 = 3;
/// Time between them.
const PAUSE: Duration = Duration::from_millis(500);

/// The result of a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Accepted by the receiver, and removed.
    pub accepted: u64,
    /// Rejected by the receiver, and kept.
    pub rejected: u64,
    /// Letters that are left, with those that were rejected.
    pub left: u64,
}

/// What is read of the body of a letter.
#[derive(Deserialize)]
struct LetterHead {
    id: String,
}

/// Sends the dead letters in their order, and removes each that is accepted. A rejected one is kept and skipped. Ends
/// with the last letter, or when the receiver does not respond. `report` receives lines about the progress.
///
/// # Errors
/// The store is unavailable, or another replay runs.
pub async fn replay(
    letters: &DeadLetters,
    client: &WebhookClient,
    url: &WebhookUrl,
    mut report: impl FnMut(&str),
) -> Result<Replayed, String> {
    let holder = client.new_id();
    let unavailable = |error: StoreError| format!("bus.redis_url: {error}");
    let claim = || letters.claim_replay(&holder, CLAIM_TIME);
    if !claim().await.map_err(unavailable)? {
        return Err("another replay is running".to_owned());
    }
    let mut result = Replayed::default();
    let total = letters.count().await.map_err(unavailable)?;
    let noun = if total == 1 { "letter" } else { "letters" };
    report(&format!("{total} dead {noun}"));
    let mut last: Option<String> = None;
    while let Some(letter) = letters.next(last.as_deref()).await.map_err(unavailable)? {
        if !claim().await.map_err(unavailable)? {
            return Err("another replay has started".to_owned());
        }
        match send(client, url, &letter).await {
            Ok(()) => {
                letters.remove(&letter.id).await.map_err(unavailable)?;
                result.accepted += 1;
                if result.accepted.is_multiple_of(100) {
                    report(&format!("{} of {total} accepted", result.accepted));
                }
            }
            Err(failure) if failure.temporary => {
                report(&format!("{url} is not available: {}", failure.detail));
                break;
            }
            Err(failure) => {
                result.rejected += 1;
                report(&format!(
                    "letter {} is rejected: {}",
                    letter.id, failure.detail
                ));
            }
        }
        last = Some(letter.id);
    }
    result.left = letters.count().await.map_err(unavailable)?;
    letters.release_replay(&holder).await.map_err(unavailable)?;
    report(&format!(
        "{} accepted, {} rejected, {} left",
        result.accepted, result.rejected, result.left
    ));
    Ok(result)
}

async fn send(
    client: &WebhookClient,
    url: &WebhookUrl,
    letter: &LogEntry,
) -> Result<(), HookFailure> {
    let Some(target) = client.node().target(url) else {
        return Err(HookFailure::bad_answer("the URL is not configured"));
    };
    let head = serde_json::from_slice(&letter.value);
    // A letter of another version may have no id; its position identifies it, too.
    let id = head.map_or_else(|_| letter.id.clone(), |head: LetterHead| head.id);
    let mut attempt = 1;
    loop {
        let request = HookRequest {
            id: id.clone(),
            body: letter.value.clone(),
            headers: Default::default(),
            lane: HookQueue::Notice,
        };
        match client.send(target, request, |_| Ok(())).await {
            Err(failure) if failure.temporary && attempt < ATTEMPTS => {
                attempt += 1;
                let pause = failure.retry_after.unwrap_or(PAUSE);
                tokio::time::sleep(pause.min(10 * PAUSE)).await;
            }
            result => return result,
        }
    }
}
