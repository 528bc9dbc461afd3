//! The verb `batch`: several requests in order, one answer each.

use std::time::Duration;

use tokio::time::Instant;

use super::answers::{Answer, BatchAnswer, DoneAnswer, EmitAnswer};
use super::audit;
use super::check::{CheckedRequest, check};
use super::error::{ApiCode, ApiError};
use super::execute::{execute, wait_for_capacity};
use super::keys::HeldKey;
use super::state::Api;
use crate::metrics::labels::Origin;
use crate::model::Command;
use crate::verbs::{BatchRequest, CheckedCall, EarlierJoins};

/// Time after which no further item of a batch is started.
const BATCH_TIME: Duration = Duration::from_secs(60);
/// Commands that are dispatched at once.
const DISPATCHED: usize = 256;

/// Checks all items before any has an effect.
pub(super) fn check_batch(
    api: &Api,
    key: &HeldKey,
    body: &[u8],
) -> Result<Vec<CheckedRequest>, ApiError> {
    let batch = BatchRequest::parse(body, api.settings.max_batch)?;
    let mut checked = Vec::with_capacity(batch.items.len());
    for (index, item) in batch.items.iter().enumerate() {
        let allowed = key.check_verb(item.verb());
        let item = allowed.and_then(|()| check(api, key, item));
        checked.push(item.map_err(|error| error.in_item(index))?);
    }
    for (item, checked) in batch.items.iter().zip(&checked) {
        audit::record(api, key, item.verb(), checked);
    }
    Ok(checked)
}

/// Executes the items in order. Consecutive commands are dispatched together.
///
/// # Errors
/// No item could be executed; the error is that of the first one.
pub(super) async fn run_batch(
    api: &Api,
    key: &HeldKey,
    items: Vec<CheckedRequest>,
) -> Result<BatchAnswer, ApiError> {
    let deadline = Instant::now() + BATCH_TIME;
    let mut answers = Vec::with_capacity(items.len());
    let mut first_error = None;
    let mut commands = Vec::new();
    let mut stopped: Option<ApiError> = None;
    let mut joined = EarlierJoins::default();
    for (index, mut item) in items.into_iter().enumerate() {
        if let Some(error) = &stopped {
            answers.push(rejected(error.clone(), index));
            continue;
        }
        prepare(&mut joined, &mut item);
        match item {
            CheckedRequest::Emit {
                emit,
                counts: false,
            } => {
                commands.push(Command::Emit(emit));
                answers.push(Answer::Emit(EmitAnswer::default()));
            }
            CheckedRequest::Change(command) => {
                commands.push(command);
                answers.push(Answer::Done(DoneAnswer {}));
            }
            other => {
                dispatch(api, &mut commands);
                let answer = match Instant::now() < deadline {
                    true => execute(api, key, other).await,
                    false => Err(too_late()),
                };
                answers.push(answer.unwrap_or_else(|error| {
                    first_error.get_or_insert_with(|| error.clone().in_item(index));
                    rejected(error, index)
                }));
            }
        }
        if commands.len() >= DISPATCHED {
            dispatch(api, &mut commands);
            stopped = wait_for_capacity(api).await.err();
        }
    }
    dispatch(api, &mut commands);
    let is_executed = |answer: &Answer| !matches!(answer, Answer::Error(_));
    match first_error {
        Some(error) if !answers.iter().any(is_executed) => Err(error),
        _ => Ok(BatchAnswer { answers }),
    }
}

/// Makes an item reach the members of rooms that earlier items have joined.
fn prepare(joined: &mut EarlierJoins, item: &mut CheckedRequest) {
    match item {
        CheckedRequest::Change(command) => joined.prepare(command),
        CheckedRequest::Emit { emit, .. } | CheckedRequest::Call(CheckedCall { emit, .. }) => {
            joined.widen(&mut emit.to);
        }
        _ => {}
    }
}

fn dispatch(api: &Api, commands: &mut Vec<Command>) {
    api.ingress
        .dispatch_all(std::mem::take(commands), Origin::Local);
}

fn rejected(error: ApiError, index: usize) -> Answer {
    Answer::Error(error.in_item(index).answer())
}

fn too_late() -> ApiError {
    let message = format!(
        "not executed: the batch took longer than {} s",
        BATCH_TIME.as_secs()
    );
    ApiError::new(ApiCode::Busy, message)
}
