//! Executes checked requests.

use std::time::SystemTime;

use super::answers::{Answer, DoneAnswer, EmitAnswer, RevokeAnswer};
use super::call::call;
use super::check::CheckedRequest;
use super::error::{ApiCode, ApiError};
use super::history::history;
use super::keys::HeldKey;
use super::query::{QUERY_TIME, combined};
use super::reads;
use super::state::Api;
use crate::auth::{Remembered, RevocationError};
use crate::metrics::labels::Origin;
use crate::model::{Command, Emit, Query, QueryAnswer};
use crate::verbs::RevocationTarget;

/// Waits until the node has capacity for a request that adds work.
pub(super) async fn wait_for_capacity(api: &Api) -> Result<(), ApiError> {
    if api.ingress.wait_for_capacity().await {
        return Ok(());
    }
    let message = "the node has more work than it can do at the moment";
    Err(ApiError::new(ApiCode::Busy, message))
}

/// Executes a request of `key`.
pub(super) async fn execute(
    api: &Api,
    key: &HeldKey,
    request: CheckedRequest,
) -> Result<Answer, ApiError> {
    match request {
        CheckedRequest::Emit { emit, counts } => {
            if counts {
                return Ok(Answer::Emit(emit_counted(api, emit).await));
            }
            api.ingress.dispatch(Command::Emit(emit), Origin::Local);
            Ok(Answer::Emit(EmitAnswer::default()))
        }
        CheckedRequest::Call(checked) => Ok(Answer::Call(call(api, checked).await)),
        CheckedRequest::Change(command) => {
            api.ingress.dispatch(command, Origin::Local);
            Ok(Answer::Done(DoneAnswer {}))
        }
        CheckedRequest::ForceReconnect(selector) => {
            api.revocations.force_reconnect(&selector);
            Ok(Answer::Done(DoneAnswer {}))
        }
        CheckedRequest::Revoke(target, until) => revoke(api, target, until).await,
        CheckedRequest::Sockets(selector, limit) => reads::sockets(api, key, selector, limit).await,
        CheckedRequest::Members(filter) => reads::members(api, key, filter).await,
        CheckedRequest::History(filter) => history(api, filter).await,
        CheckedRequest::Rooms(filter) => reads::rooms(api, key, filter).await,
        CheckedRequest::Users(filter) => reads::users(api, key, filter).await,
        CheckedRequest::Info => reads::info(api).await,
    }
}

/// Emits after the count has been requested, so that each worker counts the sockets just before it sends to them.
async fn emit_counted(api: &Api, emit: Emit) -> EmitAnswer {
    let query = Query::Count {
        selector: emit.to.clone(),
    };
    let counts = api.ingress.query_with_servers(query.clone(), QUERY_TIME);
    api.ingress.dispatch(Command::Emit(emit), Origin::Local);
    let (answer, missing) = combined(&query, counts.finish().await);
    let QueryAnswer::Count { sockets, nodes } = answer else {
        return EmitAnswer::default();
    };
    EmitAnswer {
        sockets: Some(sockets),
        nodes: Some(nodes.len()),
        missing: Some(missing),
    }
}

async fn revoke(
    api: &Api,
    target: RevocationTarget,
    until: Option<SystemTime>,
) -> Result<Answer, ApiError> {
    let revoked = api.revocations.revoke(target.into(), until).await;
    let remembered = revoked.map_err(|error| match error {
        RevocationError::TooMany => ApiError::new(ApiCode::TooManyRevocations, error.to_string()),
    })?;
    Ok(Answer::Revoke(RevokeAnswer {
        stored: remembered == Remembered::InStore,
    }))
}
